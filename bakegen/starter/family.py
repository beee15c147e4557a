"""The first files of a family: a manifest that works as it is, and its templates.

In: the name of the image, its releases and its registry. Out: files by their path from the root, and the same on disk.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bakegen.docker.process import holding_signals
from bakegen.errors import BakegenError, MisuseError, printable
from bakegen.manifest.load import variable_prefix
from bakegen.output.files import blaming, look, open_root, output_problem
from bakegen.output.lock import lock
from bakegen.project import load_project
from bakegen.render.files import render
from bakegen.source.open_folder import OpenFolder
from bakegen.source.paths import MANIFESTS, TEMPLATES, folders_of
from bakegen.source.resources import resource, schema_of
from bakegen.spec.references import is_repository
from bakegen.starter.releases import BASE, NewRelease

NOWHERE = "registry.invalid"  # RFC 2606 keeps this top-level domain from ever existing
SCHEMA = "manifest.schema.json"

_STARTER = Path(__file__).parent
_PLAIN = re.compile(r"[A-Za-z][\w./-]*\Z", re.ASCII)  # text that YAML reads as it stands, but for these words
_WORDS = frozenset({"false", "n", "no", "null", "off", "on", "true", "y", "yes"})


def check_names(image: str, registry: str | None) -> None:
    """Raise `MisuseError` if this cannot be an image, or its images cannot be pushed there."""
    declared = schema_of("manifest")["properties"]["image"]
    if not re.search(declared["pattern"], image) or image.endswith("\n") or len(image) > declared["maxLength"]:
        rule = "use lower-case letters and digits, separated by `.`, `_` or `-`"
        raise MisuseError(f'"{printable(image)}" is not a valid image name: {rule}')
    if registry is not None and not is_repository(f"{registry}/{image}"):
        raise MisuseError(f'--registry: "{printable(registry)}" is not a valid prefix; use one like ghcr.io/acme')


def first_files(image: str, releases: Collection[NewRelease], registry: str | None) -> dict[str, str]:
    """Return the manifest and the templates; without releases, those of a single image."""
    made = Environment(  # noqa: S701 - no HTML; other brackets than those of what is written
        loader=FileSystemLoader(_STARTER),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    made.filters["scalar"] = _scalar
    others = [release for release in releases if release.name != BASE]
    manifest = made.get_template("manifest.yml.j2").render(
        image=image,
        variable=f"{variable_prefix(image)}_VERSION",
        registry=registry,
        repository=f"{registry or NOWHERE}/{image}",
        releases=others,
        properties=list(dict.fromkeys(need for release in others for need in release.needs)),
    )
    templates = {BASE: "base.Dockerfile.j2", **{release.name: "release.Dockerfile.j2" for release in others}}
    files = {f"{MANIFESTS}/{image}.yml": manifest}
    if not others:
        files[f"{TEMPLATES}/{image}/Dockerfile.j2"] = made.get_template("Dockerfile.j2").render(image=image)
        return files
    for release, template in templates.items():
        path = f"{TEMPLATES}/{image}/{release}.Dockerfile.j2"
        files[path] = made.get_template(template).render(image=image, release=release)
    return files


def _scalar(text: str) -> str:
    """Return text as a manifest writes it: in quotes where it could be read as something else."""
    return text if _PLAIN.match(text) and text.lower() not in _WORDS else json.dumps(text)


def write_family(root: Path, files: Mapping[str, str], waiting: Callable[[], None]) -> list[str]:
    """Write the files, and the schema that editors read if there is none; return what was written.

    Nothing is overwritten. If the project does not load and render with the files, they are taken away again. `waiting`
    is called if another run is at work. Raises `BakegenError` with every problem found.
    """
    with lock(root, waiting=waiting), open_root(root) as folder:
        _check_free(folder, files)
        wanted = dict(files)
        if look(folder, SCHEMA).is_missing:
            wanted[SCHEMA] = resource(f"schema/{SCHEMA}").read_text(encoding="utf-8")
        with _undone_on_failure(folder) as made:
            for path, text in wanted.items():
                _write_new(folder, path, text, made)
            render(load_project(root))
    return list(wanted)


def _check_free(folder: OpenFolder, paths: Iterable[str]) -> None:
    """Raise `BakegenError` with everything that is in the place of a new file."""
    problems = []
    for path in paths:
        seen = look(folder, path)
        if seen.is_missing:
            continue
        if seen.at == path:
            message = "already exists"
        elif seen.is_link:
            message = "this is a symbolic link"
        else:
            message = "this is not a folder"
        hint = "use another name for the family, or move this; init does not overwrite anything"
        problems.append(output_problem("file-exists", seen.at, message, hint))
    if problems:
        raise BakegenError(problems)


@contextmanager
def _undone_on_failure(folder: OpenFolder) -> Iterator[list[str]]:
    """Remove the files and folders that are put on the list if what is done with them fails."""
    made: list[str] = []
    try:
        yield made
    except BaseException:
        with holding_signals():
            for path in reversed(made):
                with suppress(OSError):  # somebody has put something into a folder
                    if folder.look(path).is_folder:
                        folder.remove_folder(path)
                    else:
                        folder.remove(path)
        raise


def _write_new(folder: OpenFolder, path: str, text: str, made: list[str]) -> None:
    with blaming(path, "written"):
        for above in reversed(list(folders_of(path))):
            if folder.look(above).is_missing:
                with holding_signals():
                    folder.enter(above, make=True)
                    made.append(above)
        with holding_signals():
            folder.create(path, text.encode())
            made.append(path)
