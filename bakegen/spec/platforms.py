"""Platforms in OCI form: `linux/ppc64le`, `linux/arm/v7`.

In: text from a manifest or a command line. Out: a `Platform`, or what is wrong with the text.
"""

from __future__ import annotations

import difflib

# What Go can build for and containerd can name (https://github.com/containerd/platforms), as far as images exist.
KNOWN = (
    "linux/386",
    "linux/amd64",
    "linux/amd64/v2",
    "linux/amd64/v3",
    "linux/amd64/v4",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/loong64",
    "linux/mips",
    "linux/mips64",
    "linux/mips64le",
    "linux/mipsle",
    "linux/ppc64",
    "linux/ppc64le",
    "linux/riscv64",
    "linux/s390x",
    "freebsd/amd64",
    "freebsd/arm64",
    "wasi/wasm",
    "windows/amd64",
    "windows/arm64",
)

# Other spellings of architectures, and of architectures with their variant (containerd/platforms, database.go).
_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "arm64v8": "arm64",
    "i386": "386",
    "ppc64el": "ppc64le",
    "armhf": "arm/v7",
    "armel": "arm/v6",
}
_MACHINES = {"amd64/v1": "amd64", "arm64/v8": "arm64", "arm64/8": "arm64", "arm": "arm/v7", "arm/7": "arm/v7"}


class Platform(str):
    """A platform as text, with its parts: `os`, `arch`, `variant` (empty for most) and `name` (`arm64`, `armv7`)."""

    __slots__ = ()

    @property
    def os(self) -> str:
        """The operating system, BuildKit's TARGETOS."""
        return self.split("/")[0]

    @property
    def arch(self) -> str:
        """The architecture, BuildKit's TARGETARCH."""
        return self.split("/")[1]

    @property
    def variant(self) -> str:
        """The variant, BuildKit's TARGETVARIANT; empty for most."""
        return "".join(self.split("/")[2:])

    @property
    def name(self) -> str:
        """Architecture and variant in one word: `${TARGETARCH}${TARGETVARIANT}` of a Dockerfile."""
        return self.arch + self.variant


def platform_mistake(text: str) -> str:
    """Return what is wrong with a platform (bake would pass it on unchecked), or an empty string."""
    if text in KNOWN:
        return ""
    right = normal_platform(text if "/" in text else f"linux/{text}")
    if right in KNOWN:
        return f'write "{right}"'
    near = difflib.get_close_matches(text, KNOWN, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else "use OS/ARCH, such as linux/arm64"


def platform_of(os: str, arch: str, variant: str) -> str:
    """Return a platform in the one spelling that manifests have, from its parts in the index of an image."""
    return normal_platform("/".join(filter(None, (os, arch, variant))))


def normal_platform(text: str) -> str:
    """Return OS/ARCH or OS/ARCH/VARIANT in the one spelling that manifests have.

    >>> normal_platform("linux/arm64/v8"), normal_platform("linux/armhf"), normal_platform("Linux/x86_64")
    ('linux/arm64', 'linux/arm/v7', 'linux/amd64')
    """
    system, _, machine = text.lower().partition("/")
    architecture, slash, variant = machine.partition("/")
    machine = _ARCHITECTURES.get(architecture, architecture) + slash + variant
    return f"{system}/{_MACHINES.get(machine, machine)}"
