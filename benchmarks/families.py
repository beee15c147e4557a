"""Synthetic image families of any size: the same arguments always give the same files.

In: a shape, a number of targets, targets per Dockerfile. Out: the files of a project, by path.

    python benchmarks/families.py FOLDER --shape mixed --targets 1000 --share 10

- wide: one level; one axis with as many values as targets.
- deep: up to a hundred releases, each built from the one before.
- mixed: like real families. Three axes with properties, five releases on each other, two platforms and one distribution
  with a single one, `when` and `exclude`, names and tags with a variable, labels, build args.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

Shape = Literal["wide", "deep", "mixed"]
Share = Literal[1, 10]
SHAPES: tuple[Shape, ...] = get_args(Shape)
SHARES: tuple[Share, ...] = get_args(Share)
STEP = 100  # every shape can make multiples of this many targets

_HEAD = """\
image: bench
description: A synthetic family for measurements.
variables:
  VERSION: {default: "1.2.3", description: Version of the software}
platforms: [linux/amd64, linux/arm64]
registries:
  - docker.io/acme/bench
  - ghcr.io/acme/bench
"""

_LABELS = """\
labels:
  org.opencontainers.image.title: "bench {{ release }}"
  org.opencontainers.image.version: "{{ VERSION }}"
  org.opencontainers.image.source: https://example.com/acme/bench
"""

_PLAIN_TEMPLATE = """\
ARG VERSION
ARG VALUE
FROM {{ parent }}
ARG VERSION
ARG VALUE
RUN echo "${VERSION} ${VALUE}" >/etc/bench-{{ release }} \\
 && chmod 0444 /etc/bench-{{ release }}
USER 1000:1000
CMD ["cat", "/etc/bench-{{ release }}"]
"""

# Four releases at (5 distributions x 5 versions of Python - 1 exclusion), one at 4 points: 100 targets per track.
_MIXED = """\
properties:
  distro:
    family: {type: string, required: true}
    gpu: {type: boolean, default: false}
    packages: {type: list, default: [ca-certificates, curl]}
    from: {type: string, default: "{{ distro.family }}:{{ distro }}"}
names:
  distro:
    - "{{ distro }}"
    - {name: "", for: debian12}
define:
  place: "/opt/bench/{{ track }}"
exclude:
  - {distro: ubi8, python: "3.12", because: the distribution has no such Python}
args:
  VERSION: "{{ VERSION }}"
  DISTRO: "{{ distro }}"
  PYTHON: "{{ python }}"
  PLACE: "{{ place }}"
template: Dockerfile.j2
"""

_MIXED_RELEASES = """\
releases:
  base:
    from: "{{ distro.from }}"
    args: {BASE: "{{ distro.from }}", PACKAGES: "{{ distro.packages | join(' ') }}"}
    tags: ["base-{{ track }}-py{{ python }}-{{ distro }}"]
    publish: false
  runtime:
    from: base
    tags: ["{{ VERSION }}-{{ track }}-py{{ python }}-{{ distro }}", "{{ track }}-py{{ python }}-{{ distro }}"]
  devel:
    from: runtime
    tags: ["{{ VERSION }}-{{ track }}-devel-py{{ python }}-{{ distro }}"]
    args: {EXTRA: "{{ 'full' if distro.gpu else 'small' }}"}
  docs:
    from: devel
    platforms: [linux/amd64]
    tags: ["{{ VERSION }}-{{ track }}-docs-py{{ python }}-{{ distro }}"]
  cuda:
    from: runtime
    when: distro.gpu and python != '3.8'
    tags: ["{{ VERSION }}-{{ track }}-cuda-py{{ python }}-{{ distro }}"]
    labels: {org.example.gpu: "yes"}
"""

_MIXED_TEMPLATE = """\
ARG VERSION
ARG DISTRO
ARG PYTHON
{% if release == "base" %}
ARG BASE
{% endif %}
FROM {{ parent }}
ARG VERSION
ARG DISTRO
ARG PYTHON
ARG PLACE
{% if release == "devel" %}
ARG EXTRA
{% endif %}
ARG TARGETARCH
{% if release == "base" %}
{% include "packages.j2" %}
ENV LANG=C.UTF-8 \\
    PATH=${PLACE}/bin:${PATH}
WORKDIR ${PLACE}
{% elif release == "runtime" %}
RUN --mount=type=cache,target=/root/.cache \\
    python${PYTHON} -m venv "${PLACE}" \\
 && "${PLACE}/bin/pip" install "bench==${VERSION}"
USER 1000:1000
ENTRYPOINT ["bench"]
{% elif release == "devel" %}
USER root
RUN make-{{ release }} "${DISTRO}" "${EXTRA}" "${TARGETARCH}"
{% else %}
# What {{ release }} adds, for {{ platforms | map(attribute="name") | join(" and ") }}.
RUN case "${TARGETARCH}" in \\
{% for platform in platforms %}
      {{ platform.arch }}) install-{{ release }} --for={{ platform.name }} ;; \\
{% endfor %}
      *) exit 1 ;; \\
    esac
{% endif %}
"""

_PACKAGES = """\
ARG PACKAGES
{% for step in ["refresh", "install", "clean"] %}
RUN packages-{{ step }} "${DISTRO}" ${PACKAGES}
{% endfor %}
"""

_DISTROS = """\
    debian11: {family: debian}
    debian12: {family: debian, packages: [ca-certificates, curl, tini]}
    ubuntu2404: {family: debian, gpu: true, from: "nvidia/cuda:{{ distro }}"}
    ubi8: {family: redhat, platforms: [linux/amd64]}
    ubi9: {family: redhat}
"""


def project_files(shape: Shape, targets: int, share: Share) -> dict[str, str]:
    """Return the files of a project with `targets` targets and about `share` targets per Dockerfile."""
    if targets % STEP:
        raise ValueError(f"the number of targets must be a multiple of {STEP}")
    match shape:
        case "wide":
            return _plain(targets, ["only"], share)
        case "deep":
            levels = min(100, targets // 10)
            return _plain(targets // levels, [f"level{level:03}" for level in range(levels)], share)
        case "mixed":
            return _mixed(targets // STEP, share)


def _plain(values: int, releases: list[str], share: Share) -> dict[str, str]:
    """Return a family with one axis; ten neighbours on it share a Dockerfile or not."""
    folder = "{{ value }}" if share == 1 else "{{ value.ten }}"
    lines = [
        "axes:",
        "  value:",
        *(f"    v{number:05}: {{ten: t{number // 10:04}}}" for number in range(values)),
        'args: {VERSION: "{{ VERSION }}", VALUE: "{{ value }}"}',
        f'dockerfile: "{folder}/{{{{ release }}}}/Dockerfile"',
        "template: Dockerfile.j2",
        "releases:",
    ]
    for parent, release in zip(["debian:{{ value }}", *releases], releases, strict=False):
        tag = f"{{{{ VERSION }}}}-{release}-{{{{ value }}}}"
        lines.append(f'  {release}: {{from: "{parent}", tags: ["{tag}"]}}')
    return {
        "manifest/bench.yml": _HEAD + _LABELS + _text(lines),
        "templates/Dockerfile.j2": _PLAIN_TEMPLATE,
    }


def _mixed(tracks: int, share: Share) -> dict[str, str]:
    """Return a family with three axes; the versions of Python and a family of distributions share a Dockerfile or not."""
    folder = "{{ track }}/{{ python }}/{{ distro }}" if share == 1 else "{{ track }}/{{ distro.family }}"
    axes = [
        "axes:",
        f"  track: [{', '.join(f't{number:03}' for number in range(tracks))}]",
        '  python: ["3.8", "3.9", "3.10", "3.11", "3.12"]',
        "  distro:",
    ]
    path = f'dockerfile: "{folder}/{{{{ release }}}}/Dockerfile"\n'
    return {
        "manifest/bench.yml": _HEAD + _LABELS + _MIXED + path + _text(axes) + _DISTROS + _MIXED_RELEASES,
        "templates/Dockerfile.j2": _MIXED_TEMPLATE,
        "templates/packages.j2": _PACKAGES,
    }


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def write_project(folder: Path, shape: Shape, targets: int, share: Share) -> None:
    """Write a project; what is in the folder already stays, unless it is one of the files."""
    for path, text in project_files(shape, targets, share).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def main() -> None:
    """Write one project, to look at it or to profile with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="mixed")
    parser.add_argument("--targets", type=int, default=1000)
    parser.add_argument("--share", type=int, choices=SHARES, default=1, help="targets per Dockerfile, about")
    arguments = parser.parse_args()
    write_project(arguments.folder, arguments.shape, arguments.targets, arguments.share)


if __name__ == "__main__":
    main()
