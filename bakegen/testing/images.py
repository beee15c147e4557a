"""The images behind tags: in the engine, or in a registry.

In: references of targets. Out: the distinct images of each target, and the references that lead to none, and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from bakegen.spec.platforms import platform_of
from bakegen.spec.references import is_reference
from bakegen.testing.containers import DockerError, DockerSession

_BUSY = re.compile(r": (429|5[0-9]{2}) ")  # what a registry answers that may do better in a moment
_CLOSED = re.compile(r": 40[13] |authorization|denied")
_WAITS = (1, 3, 9)  # seconds


@dataclass(frozen=True, slots=True)
class Image:
    """One image under some tags: the engine's by its `digest`, or a registry's, whose platforms have digests too."""

    digest: str
    references: tuple[str, ...]
    platforms: Mapping[str, str] | None = None  # platform -> digest; None for what lies in the engine

    def name(self, platform: str) -> str:
        """Return what docker calls the image of a platform, so that it is the same image whatever tags do meanwhile."""
        if self.platforms is None:
            return self.digest
        return f"{self.references[0].rpartition(':')[0]}@{self.platforms.get(platform, self.digest)}"

    def shown(self, platform: str) -> str:
        """Return what a user calls it."""
        return self.references[0] if self.platforms is None else self.name(platform)


@dataclass(frozen=True, slots=True)
class MissingReference:
    """A reference that leads to no image, and why."""

    reference: str
    reason: str


class ImageLookup:
    """Looks references up in the engine, unless everything is pulled, then in their registries."""

    def __init__(self, docker: DockerSession, buildx: Sequence[str], *, pull: bool) -> None:
        self.docker = docker
        self.buildx = buildx
        self.pull = pull

    def images(
        self, wanted: Mapping[str, Sequence[str]], pool: Executor
    ) -> dict[str, tuple[list[Image], list[MissingReference]]]:
        """Return the images of targets, given the references of each, and the references that lead to none."""
        references = dict.fromkeys(reference for references in wanted.values() for reference in references)
        found = dict(zip(references, pool.map(self.image, references), strict=True))
        return {
            target: _together([found[reference] for reference in references]) for target, references in wanted.items()
        }

    def image(self, reference: str) -> Image | MissingReference:
        """Return what a reference leads to."""
        if not is_reference(reference):
            return MissingReference(reference, "is not a valid image reference")
        if not self.pull:
            try:
                known = self.docker.call("docker", "image", "inspect", "--format={{.Id}}", reference)
            except DockerError:
                pass  # the registry may have it
            else:
                return Image(known.strip(), (reference,))
        try:
            return self._registered(reference)
        except DockerError as error:
            return MissingReference(reference, _why_missing(str(error).removeprefix(f"{reference}: "), pull=self.pull))

    def _registered(self, reference: str) -> Image:
        index = self._asked(reference, "Manifest")
        parts = index.get("manifests") or [{"platform": self._asked(reference, "Image"), "digest": index["digest"]}]
        platforms: dict[str, str] = {}
        for part in parts:
            platform = part.get("platform", {})
            if platform.get("os") == "unknown":  # an attestation
                continue
            name = platform_of(platform.get("os", ""), platform.get("architecture", ""), platform.get("variant", ""))
            platforms.setdefault(name, part["digest"])
        return Image(index["digest"], (reference,), platforms)

    def _asked(self, reference: str, what: str) -> dict[str, Any]:
        command = [*self.buildx, "imagetools", "inspect", f"--format={{{{json .{what}}}}}", reference]
        answer: dict[str, Any] = json.loads(self._patiently(command))
        return answer

    def _patiently(self, command: Sequence[str]) -> str:
        for seconds in _WAITS:
            try:
                return self.docker.call(*command)
            except DockerError as error:
                if not _BUSY.search(str(error)):
                    raise
            self.docker.pause(seconds)
        return self.docker.call(*command)


def _why_missing(said: str, *, pull: bool) -> str:
    if said.endswith("not found"):
        return "was not found in its registry" if pull else "was not found in the engine or in its registry"
    help_ = "; log in to the registry first" if _CLOSED.search(said) else ""
    return f"cannot be looked up in its registry: {said}{help_}"


def _together(found: Sequence[Image | MissingReference]) -> tuple[list[Image], list[MissingReference]]:
    images: dict[tuple[str, bool], list[Image]] = {}
    for image in found:
        if isinstance(image, Image):
            images.setdefault((image.digest, image.platforms is None), []).append(image)
    merged = [
        Image(same[0].digest, tuple(image.references[0] for image in same), same[0].platforms)
        for same in images.values()
    ]
    return merged, [missing for missing in found if isinstance(missing, MissingReference)]
