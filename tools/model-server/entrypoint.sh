#!/usr/bin/env bash
# Serves the bundle at $BUNDLE_PATH; options go to `bentoml serve-gunicorn`, and a command runs instead of it.
set -euo pipefail

if (($# == 0)) || [[ $1 == -* ]]; then
  set -- bentoml serve-gunicorn "$@" "${BUNDLE_PATH:-/home/bentoml/bundle}"
fi
exec "$@"
