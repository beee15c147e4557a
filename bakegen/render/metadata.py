"""The build metadata of image families: what is rendered (`dockerfiles.json`) and what is built (`images.json`).

In: a `Project` and its `Rendering`. Out: `{path from the root: OutputFile}`, JSON that fits the schemas beside that of
manifests. There is no time and no place of the machine in it: it changes when what it tells of changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from bakegen.expressions.text import Text
from bakegen.graph.draft import OUTPUT
from bakegen.graph.graph import Graph
from bakegen.graph.model import Target
from bakegen.manifest.model import Manifest
from bakegen.output.files import OutputFile
from bakegen.project import Project
from bakegen.render.files import METADATA, Origin, Rendering
from bakegen.source.resources import schema_of

FORMAT = 1  # grows when a reader of the documents would have to change


def metadata_paths(image: str) -> tuple[str, ...]:
    """Return where the metadata of an image family lies."""
    return tuple(f"{OUTPUT}/{image}/{name}" for name in METADATA)


def metadata(project: Project, rendering: Rendering, paths: Iterable[str]) -> dict[str, OutputFile]:
    """Return those of the metadata files that are asked for."""
    wanted = set(paths)
    made = {}
    for manifest in project.graph.manifests:
        for path, kind in zip(metadata_paths(manifest.image), KINDS, strict=True):
            if path in wanted:
                data = (
                    dockerfiles_data(project, rendering, manifest)
                    if kind == "dockerfiles"
                    else images_data(project.graph, manifest)
                )
                made[path] = OutputFile(f"{json.dumps(data, indent=2, ensure_ascii=False)}\n".encode())
    return made


def dockerfiles_data(project: Project, rendering: Rendering, manifest: Manifest) -> dict[str, Any]:
    """Return what is rendered for an image family."""
    return {
        "format": FORMAT,
        "image": manifest.image,
        "manifest": manifest.source.file,
        "files": [
            _file_data(project, manifest, path, origin, rendering.files[path])
            for path, origin in sorted(rendering.origins.items())
            if origin.image == manifest.image
        ],
    }


def _file_data(project: Project, manifest: Manifest, path: str, origin: Origin, file: OutputFile) -> dict[str, Any]:
    templates = {name: project.loader.shown[name] for name in origin.templates}
    return {
        "path": path,
        "kind": origin.kind,
        "template": templates[origin.template] if origin.template else None,
        "copied": origin.copied,
        "platform": origin.platform,
        "inputs": list(dict.fromkeys((*manifest.inputs, *templates.values(), *filter(None, [origin.copied])))),
        "executable": file.executable,
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "targets": list(origin.targets),
    }


def images_data(graph: Graph, manifest: Manifest) -> dict[str, Any]:
    """Return what is built for an image family."""
    return {
        "format": FORMAT,
        "image": manifest.image,
        "description": manifest.description.strip(),
        "manifest": manifest.source.file,
        "variables": {
            variable.name: {
                "bake": variable.bake_name,
                "default": variable.default,
                "description": variable.description,
            }
            for variable in manifest.variables.values()
        },
        "targets": [_target_data(target) for target in graph.by_image[manifest.image]],
    }


def _target_data(target: Target) -> dict[str, Any]:
    return {
        "name": target.name,
        "release": target.release,
        "axes": dict(target.values),
        "published": target.publish,
        "platforms": list(target.platforms),
        "tags": [_text(tag) for tag in target.tags] if target.publish else [],
        "references": [_text(reference) for reference in target.references] if target.publish else [],
        "args": _texts(target.args),
        "labels": _texts(target.labels),
        "parents": [{"reference": _text(parent.reference), "target": parent.target} for parent in target.parents],
        "contexts": _texts(target.contexts),
        "context": target.context.with_defaults(),
        "dockerfile": target.dockerfile,
    }


def _text(text: Text) -> dict[str, str]:
    return {"value": text.with_defaults(), "pattern": pattern(text)}


def _texts(texts: Mapping[str, Text]) -> dict[str, Any]:
    return {name: _text(text) for name, text in texts.items()}


def pattern(text: Text) -> str:
    """Return a text with its variables as the bake file writes them; a `${` that means itself is `$${`, as there."""
    return "".join(
        part.replace("${", "$${") if isinstance(part, str) else f"${{{part.bake_name}}}" for part in text.parts
    )


KINDS: tuple[Literal["dockerfiles"], Literal["images"]] = ("dockerfiles", "images")


def check_metadata(made: Mapping[str, OutputFile]) -> None:
    """Raise jsonschema's ValidationError if a metadata file does not fit its schema, which would be our mistake."""
    from jsonschema import Draft202012Validator  # only whoever asks for it pays

    for path, file in made.items():
        kind = next(kind for kind, name in zip(KINDS, METADATA, strict=True) if path.endswith(f"/{name}"))
        Draft202012Validator(schema_of(kind)).validate(json.loads(file.content))
