"""Compare what a rendered Dockerfile takes from with the parents that the manifest declares.

In: the text of a Dockerfile and the targets that it serves. Out: problems. A difference would let bake build from
another image than the graph says.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bakegen.errors import Position, Problem, line_at, narrowed
from bakegen.graph.draft import build_args
from bakegen.graph.model import Parent, Target
from bakegen.manifest.model import Manifest
from bakegen.spec.dockerfile import Dockerfile, Reference, parse_dockerfile, references, syntax_problem
from bakegen.spec.dockerfile_rules import check_instructions, check_lines
from bakegen.spec.dockerfile_words import DockerfileError
from bakegen.spec.references import familiar

# Build args that need no ARG: https://docs.docker.com/reference/dockerfile/#predefined-args and #buildkit-built-in-build-args
_PREDEFINED = frozenset(
    "HTTP_PROXY http_proxy HTTPS_PROXY https_proxy FTP_PROXY ftp_proxy NO_PROXY no_proxy ALL_PROXY all_proxy "
    "SOURCE_DATE_EPOCH".split()
)

_NAME = re.compile(r"\$\{?(\w+)\}?")  # $NAME and ${NAME}, but not ${NAME:-default}


def check_dockerfile(text: str, path: str, manifest: Manifest, targets: Sequence[Target]) -> list[Problem]:
    """Return every difference between a Dockerfile and the declarations of its targets."""
    try:
        dockerfile = parse_dockerfile(text)
        mistakes = [*check_lines(text), *check_instructions(dockerfile)]
        if not mistakes:
            return [
                problem for target in targets for problem in _check_target(dockerfile, text, path, manifest, target)
            ]
    except DockerfileError as error:
        mistakes = [error]
    return [syntax_problem(mistake, text, path) for mistake in mistakes]


def _check_target(
    dockerfile: Dockerfile, text: str, path: str, manifest: Manifest, target: Target
) -> Iterator[Problem]:
    args = {name: value.with_defaults() for name, value in target.args.items()}
    declared: Mapping[str, Parent] = {
        image: parent for parent in target.parents if (image := parent.reference.with_defaults()) != "scratch"
    }
    named = {*target.contexts}
    used: dict[str, Reference] = {}
    stage = target.bake["target"].with_defaults() if "target" in target.bake else None
    for platform in target.platforms:
        for reference in references(dockerfile, args, platform, stage):
            image = familiar(reference.image)
            name, pinned, _ = image.partition("@")  # a digest need not be said twice
            used.setdefault(name if pinned and image not in declared and name in declared else image, reference)
    source = manifest.source
    undeclared = {image: use for image, use in used.items() if image not in declared and image not in named}
    unused = {image: parent for image, parent in declared.items() if image not in used}
    unset = list(_unset(dockerfile, undeclared.values(), args))
    above = {arg.name for arg in dockerfile.args}
    for name, reference in unset:
        problem = Problem(
            code="unset-arg",
            message=f"{name} has no value here, so the image is `{reference.image}`",
            position=Position(path, reference.line),
            source=line_at(text, reference.line),
            hint=f"give ARG {name} a default, or pass the build arg"
            if name in above
            else f"declare ARG {name} above the first FROM",
        )
        yield narrowed(problem, rf"\$\{{?{name}\b\}}?")
    if unset:
        return  # which image is meant cannot be told
    stages = [stage.name for stage in dockerfile.stages if stage.name]
    for image, reference in undeclared.items():
        near = difflib.get_close_matches(image, stages, n=1) if not set(image) & set(":/@") else []
        if near:
            problem = Problem(
                code="undeclared-parent",
                message=f'"{image}" is neither an earlier stage nor a parent of {target.name}',
                position=Position(path, reference.line),
                source=line_at(text, reference.line),
                hint=f'did you mean "{near[0]}"?',
            )
            yield narrowed(problem, re.escape(image))
            continue
        hint = f"add it to `from`, which declares {', '.join(declared) or 'nothing'}"
        if unused:
            mend = "use {{ parent }} in the template" if target.template else "change the Dockerfile"
            hint = f"`from` declares {', '.join(unused)}: {mend}, or change `from`"
        yield source.problem(
            "undeclared-parent",
            f"{path} uses `{image}` ({reference.kind} on line {reference.line}), which {target.name} does not declare",
            _from_path(target),
            hint=hint,
        )
    for image, parent in unused.items() if not undeclared else ():
        yield source.problem(
            "unused-parent",
            f"{target.name} declares the parent `{image}`, which {path} does not use",
            parent.path,
            hint=f"remove it, or use it; the Dockerfile uses {', '.join(used) or 'nothing'}",
        )
    passed = build_args(manifest, manifest.release(target.release), target.values)
    for name in target.args:
        if name not in dockerfile.declared and name not in _PREDEFINED and not name.startswith("BUILDKIT_"):
            yield source.problem(
                "unused-arg",
                f"the build arg {name} is passed to {path}, which has no ARG {name}",
                passed[name].path,
                hint=f"declare it in the {'template' if target.template else 'Dockerfile'}, or remove it",
                at_key=True,
            )


def _unset(
    dockerfile: Dockerfile, uses: Iterable[Reference], args: Mapping[str, str]
) -> Iterator[tuple[str, Reference]]:
    """Yield the names without a value that stand in the name of an image."""
    known = {arg.name for arg in dockerfile.args if arg.default is not None or arg.name in args}
    for use in uses:
        for name in _NAME.findall(use.written):
            if name not in known and not name.startswith(("TARGET", "BUILD")):
                yield name, use


def _from_path(target: Target) -> tuple[str | int, ...]:
    return target.parents[0].path if target.parents else target.path
