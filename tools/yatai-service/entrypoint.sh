#!/usr/bin/env bash
# Starts Yatai; options go to `bentoml yatai-service-start`, and a command runs instead of it.
set -euo pipefail

if (($# == 0)) || [[ $1 == -* ]]; then
  set -- bentoml yatai-service-start "$@"
fi
exec "$@"
