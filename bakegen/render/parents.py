"""How a Dockerfile refers to its parents: FROM must be written once for all targets that share the file.

In: the targets of a Dockerfile. Out: a reference for each parent, in which what differs between targets is the build arg
that carries it; or a `BakegenError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bakegen.errors import BakegenError
from bakegen.expressions.text import Text, Variable
from bakegen.graph.model import Parent, Target
from bakegen.manifest.model import Manifest


def parents_as_written(manifest: Manifest, targets: Sequence[Target]) -> list[str]:
    """Return the parents' references as the Dockerfile of these targets writes them, those of each stage in turn."""
    stages: dict[object, list[Target]] = {}
    for target in targets:
        stages.setdefault(target.bake.get("target"), []).append(target)
    written = [text for sharing in stages.values() for text in _of_stage(manifest, sharing)]
    return list(dict.fromkeys(written)) if len(stages) > 1 else written


def _of_stage(manifest: Manifest, targets: Sequence[Target]) -> Iterator[str]:
    path = targets[0].dockerfile
    counts = {len(target.parents) for target in targets}
    if len(counts) > 1:
        raise manifest.source.failure(
            "shared-dockerfile",
            f'targets that share "{path}" have {" and ".join(map(str, sorted(counts)))} parents',
            next((target.parents[0].path for target in reversed(targets) if target.parents), targets[0].path),
            hint="use different paths under `dockerfile`, for example with {{ release }}",
        )
    for parents in zip(*(target.parents for target in targets), strict=True):
        text = parametrize([parent.reference for parent in parents], [target.args for target in targets])
        if text is None:
            raise _not_writable(manifest, path, targets, parents)
        yield text


def _not_writable(manifest: Manifest, path: str, targets: Sequence[Target], parents: Sequence[Parent]) -> BakegenError:
    """Say why no text names the parents of all targets: a variable or a difference that no build arg carries."""
    carried = {variable for target in targets for text in target.args.values() for variable in text.variables}
    for parent in parents:
        for variable in parent.reference.variables:
            if variable not in carried:
                name, shown = variable.name, parent.reference.as_written()
                return manifest.source.failure(
                    "not-available",
                    f'the parent is "{shown}", and {name} can be set at bake time, so a Dockerfile cannot contain it',
                    parent.path,
                    hint=f"pass it as a build arg: args: {{{name}: '{{{{ {name} }}}}'}}",
                )
    shown = ", ".join(dict.fromkeys(parent.reference.with_defaults() for parent in parents))
    return manifest.source.failure(
        "shared-dockerfile",
        f'targets that share "{path}" have different parents ({shown}), and no build arg has the part that differs',
        parents[0].path,
        hint="add a build arg with the part that differs, or use different paths",
    )


def parametrize(texts: Sequence[Text], args: Sequence[Mapping[str, Text]]) -> str | None:
    """Return one text that gives `texts[i]` when `${NAME}` is replaced by `args[i][NAME]`; None if there is none.

    >>> slim = [Text.literal("python:3.8-slim"), Text.literal("python:3.9-slim")]
    >>> parametrize(slim, [{"PYTHON": Text.literal("3.8")}, {"PYTHON": Text.literal("3.9")}])
    'python:${PYTHON}-slim'
    """
    if len(set(texts)) == 1 and not texts[0].variables:
        return texts[0].with_defaults()
    first = {name: _tokens(text) for name, text in args[0].items()}
    carriers = [name for name, text in args[0].items() if text.variables or len({arg.get(name) for arg in args}) > 1]
    tokens = _tokens(texts[0])
    for name in sorted(carriers, key=lambda name: (-len(first[name]), name)):
        tokens = list(_carried(tokens, first[name], name))
    for text, arg in zip(texts, args, strict=True):
        if Text.joined(arg.get(token.name, Text()) if isinstance(token, _Arg) else token for token in tokens) != text:
            return None
    if any(isinstance(token, Variable) for token in tokens):
        return None
    return "".join(f"${{{token.name}}}" if isinstance(token, _Arg) else str(token) for token in tokens)


@dataclass(frozen=True, slots=True)
class _Arg:
    """A build arg that carries a part of a reference."""

    name: str


_Token = str | Variable | _Arg  # a character, a variable, a build arg


def _tokens(text: Text) -> list[_Token]:
    return [token for part in text.parts for token in (part if isinstance(part, str) else (part,))]


def _carried(tokens: Sequence[_Token], value: Sequence[_Token], name: str) -> Iterator[_Token]:
    """Yield tokens with each occurrence of `value` as the build arg of that name."""
    index = 0
    while index < len(tokens):
        found = bool(value) and tokens[index : index + len(value)] == value
        yield _Arg(name) if found else tokens[index]
        index += len(value) if found else 1
