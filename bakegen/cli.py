"""The command line: argv in; calls, data on stdout, talk on stderr, exit code out.

Exit codes: 0 done, 1 the input has problems, 2 the command was misused, 3 a bug of ours, 130 interrupted.
Everything heavy is imported by the command that needs it, so that `--help` stays instant.
"""

from __future__ import annotations

import atexit
import gc
import json
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
import typer.core

from bakegen import __version__
from bakegen.errors import BakegenError, Problem, format_problem

if TYPE_CHECKING:
    from bakegen.model import Manifest
    from bakegen.output import Changes, OutputFile
    from bakegen.project import Project

app = typer.Typer(
    name="bakegen",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Families of container images: one manifest in; Dockerfiles and one docker-bake.hcl out.",
    epilog="Selectors pick targets: runtime, python=3.9, distro=debian*, platform=linux/ppc64le, python!=3.7. "
    "Words about one thing add up, words about different things narrow.",
)


class Format(StrEnum):
    """How data is printed."""

    table = "table"
    json = "json"
    names = "names"


class TextFormat(StrEnum):
    """How an explanation is printed."""

    text = "text"
    json = "json"


class ProblemFormat(StrEnum):
    """How problems are printed."""

    text = "text"
    json = "json"
    github = "github"


class Kind(StrEnum):
    """What there is a schema of."""

    manifest = "manifest"
    dockerfiles = "dockerfiles"
    images = "images"


class Tool(StrEnum):
    """What reads a bake file."""

    buildx = "buildx"
    hcl2 = "hcl2"


Images = Annotated[
    list[str] | None, typer.Argument(metavar="[IMAGE]...", help="Image families; all of them if left out.")
]
Selectors = Annotated[
    list[str] | None, typer.Argument(metavar="[SELECTOR]...", help="What to pick, such as runtime python=3.9.")
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bakegen {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    directory: Annotated[
        Path,
        typer.Option(
            "-C", "--directory", metavar="DIR", help="Work as if started in DIR.", exists=True, file_okay=False
        ),
    ] = Path(),
    version: Annotated[  # noqa: ARG001 - typer calls it by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hold the options of all commands."""
    context.obj = directory


@app.command()
def generate(
    context: typer.Context,
    images: Images = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; show what has drifted and exit 1 if anything has.")
    ] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Write nothing; show what would change.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite outputs that were edited by hand.")] = False,
    dockerfiles: Annotated[bool, typer.Option("--dockerfiles", help="Only Dockerfiles and their side files.")] = False,
    docs: Annotated[bool, typer.Option("--docs", help="Only READMEs.")] = False,
    bake: Annotated[bool, typer.Option("--bake", help="Only docker-bake.hcl and versions.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of these, as if none were named.")] = False,
    save_metadata: Annotated[
        bool, typer.Option("--save-metadata", help="Write dockerfiles.json and images.json too.")
    ] = False,
    version: Annotated[
        str | None,
        typer.Option("--target-version", metavar="V", help="Set the default of VERSION, in the manifest as well."),
    ] = None,
) -> None:
    """Write Dockerfiles, READMEs and docker-bake.hcl.

    Only what differs is touched, and what is no longer made is removed. Files that bakegen did not make, or that were
    edited by hand since, are reported instead of overwritten.
    """
    from bakegen import cache, output
    from bakegen.paths import find_root

    root = find_root(context.obj)
    named = {"dockerfiles": dockerfiles, "docs": docs, "bake": bake}
    parts = () if everything else tuple(part for part, wanted in named.items() if wanted)
    run = _Run(
        tuple(images or ()), parts, version, save_metadata=save_metadata, writes=not (check or diff), force=force
    )
    with output.lock(root, waiting=lambda: _say("waiting for another bakegen to finish")):
        inputs = cache.fingerprint(root) if run.is_plain else ""
        if settled := cache.recall(root, inputs):
            changes = output.Changes(unchanged=settled)
        else:
            changes = _generate(root, inputs, run)
    _say_changes(changes, done=not (check or diff))
    if check and changes.drifted:
        _say("run `bakegen generate` and commit the result")
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Run:
    """What a run of `generate` is asked to do."""

    images: tuple[str, ...]
    parts: tuple[Any, ...]  # of `render.extent`; none stands for all
    version: str | None
    save_metadata: bool
    writes: bool
    force: bool

    @property
    def is_plain(self) -> bool:
        """Whether a record of the last run can tell that there is nothing to do."""
        return not (self.images or self.parts or self.save_metadata or self.version is not None)


def _generate(root: Path, inputs: str, run: _Run) -> Changes:
    from bakegen import cache, output
    from bakegen.render.extent import PARTS, Extent
    from bakegen.render.files import render
    from bakegen.render.metadata import metadata, metadata_paths

    project = _load(root)
    manifests: dict[str, OutputFile] = {}
    chosen = [manifest.image for manifest in project.graph.restrict(run.images)]
    if run.version is not None:
        project, manifests = _with_version(project, chosen, run.version)
    rendering = render(project)
    asked = {path for image in chosen for path in metadata_paths(image)}
    also = frozenset(asked if run.save_metadata else ())
    extent = Extent(run.images, frozenset(run.parts or PARTS), also)
    files = {**rendering.files, **metadata(project, rendering, also or output.made_before(root, asked))}
    wanted = {path: file for path, file in files.items() if extent(path)}
    if run.writes:
        changes = output.write(root, wanted, extent, force=run.force)
        for path, file in manifests.items():
            output.replace_file(root, path, file.content)
    else:
        changes = output.compare(root, wanted, extent)
    changes = replace(changes, changed=tuple(sorted((*changes.changed, *manifests))))
    if not run.writes:
        _print(output.unified_diff(root, {**wanted, **manifests}, changes))
    if run.is_plain and (run.writes or not changes.drifted):
        cache.remember(root, inputs, rendering.looked, wanted)
    return changes


def _with_version(project: Project, images: Sequence[str], version: str) -> tuple[Project, dict[str, OutputFile]]:
    """Return a project as it is with another VERSION, and the manifests to be rewritten for that."""
    from bakegen.manifest.version import check_version, rewritten, with_version
    from bakegen.output import OutputFile

    check_version(version)
    new = rewritten(project.root, project.graph.manifests, images, version)
    adapted = _load(
        project.root, lambda manifest: with_version(manifest, version) if manifest.image in images else manifest
    )
    return adapted, {
        path: OutputFile(content) for path, content in new.items() if content != (project.root / path).read_bytes()
    }


@app.command("create-context")
def create_context(
    context: typer.Context,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Image families.", show_default=False)],
    validate: Annotated[
        bool, typer.Option("--validate", help="Check what is written against the published schemas, too.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were edited by hand.")] = False,
) -> None:
    """Write dockerfiles.json and images.json of an image.

    They tell what is rendered and what is built. Nothing is written if any manifest or template has a problem.
    """
    from bakegen import output
    from bakegen.paths import find_root
    from bakegen.render.files import render
    from bakegen.render.metadata import check_metadata, metadata, metadata_paths

    root = find_root(context.obj)
    with output.lock(root, waiting=lambda: _say("waiting for another bakegen to finish")):
        project = _load(root)
        paths = [path for manifest in project.graph.restrict(images) for path in metadata_paths(manifest.image)]
        made = metadata(project, render(project), paths)
        if validate:
            check_metadata(made)
        changes = output.write(root, made, tuple(paths), force=force)
    _say_changes(changes, done=True)
    if validate:
        _say(f"{_count(len(made), 'file')} as the schemas say")


@app.command()
def validate(
    context: typer.Context,
    images: Images = None,
    form: Annotated[ProblemFormat, typer.Option("--format", help="How problems are printed.")] = ProblemFormat.text,
) -> None:
    """Report all problems at once; write nothing.

    All manifests and templates are checked, and all Dockerfiles are rendered.
    """
    from bakegen.paths import find_root
    from bakegen.render.files import render_project

    try:
        project = _load(find_root(context.obj))
        manifests = project.graph.restrict(images or [])
        render_project(project)
    except BakegenError as error:
        if form is ProblemFormat.text:
            raise
        for line in _problem_lines(error.problems, form):
            typer.echo(line)
        raise typer.Exit(1) from error
    if form is ProblemFormat.json:
        typer.echo("[]")
    count = sum(len(project.graph.by_image[manifest.image]) for manifest in manifests)
    _say(f"{', '.join(manifest.source.file for manifest in manifests)}: no problems in {_count(count, 'target')}")


WHAT = {
    "targets": ("target", "platforms", "dockerfile"),
    "groups": ("group", "kind", "targets"),
    "tags": ("tag", "platforms", "target"),
    "dockerfiles": ("dockerfile", "template", "targets"),
}


@app.command("list")
def list_(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[targets|groups|tags|dockerfiles] [SELECTOR]...",
            help="What to list (targets if left out), and which.",
        ),
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.table,
) -> None:
    """List what there is: targets, groups, tags or Dockerfiles."""
    from bakegen.paths import find_root
    from bakegen.views import listing

    what, *selectors = words if words and words[0] in WHAT else ["targets", *(words or [])]
    graph = _load(find_root(context.obj)).graph
    targets = graph.select(selectors)
    match what:
        case "groups":
            rows = listing.group_rows(graph, targets)
        case "tags":
            rows = listing.tag_rows(graph, targets)
        case "dockerfiles":
            rows = listing.dockerfile_rows(targets)
        case _:
            rows = [listing.target_row(graph, target) for target in targets]
    columns = WHAT[what]
    match form:
        case Format.json:
            _print_json(rows)
        case Format.names:
            _print(row["references"][0] if what == "tags" else row[columns[0]] for row in rows)
        case Format.table:
            if what in {"groups", "dockerfiles"}:
                rows = [{**row, "targets": len(row["targets"])} for row in rows]
            _print(listing.table(rows, columns))


@app.command()
def explain(
    context: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="TARGET|TAG|SELECTOR...", help="A target, a tag, or selectors that pick one target."),
    ],
    form: Annotated[TextFormat, typer.Option("--format", help="How it is printed.")] = TextFormat.text,
) -> None:
    """Explain a target, and where each of its parts was said.

    Its tags, platforms, parents, groups and build args, and the commands that build it.

    For a target that does not exist, say why.
    """
    from bakegen.paths import find_root
    from bakegen.views.explain import explain as explain_target

    graph = _load(find_root(context.obj)).graph
    explanation = explain_target(graph, words)
    if form is TextFormat.json:
        _print_json(explanation.as_data(graph))
    else:
        _print(explanation.as_text())


@app.command()
def verify(
    context: typer.Context,
    tool: Annotated[
        Tool | None, typer.Option("--with", help="What reads the file; buildx if there is one, else python-hcl2.")
    ] = None,
) -> None:
    """Compare what bake reads with what the manifests say.

    Neither a daemon nor a network is needed.
    """
    from bakegen.bake.file import BAKE_FILE
    from bakegen.bake.verify import find_tool, judge, read_content
    from bakegen.paths import find_root

    project = _load(find_root(context.obj))
    buildx = find_tool(project.graph, tool)
    content = read_content(project.root)
    _say(f"{BAKE_FILE} is read by {f'buildx {buildx.text}' if buildx else 'python-hcl2'}")
    targets, groups = judge(project.graph, content, buildx)
    _say(f"{_count(targets, 'target')} and {_count(groups, 'group')} are what the manifests say")


class _BakeCommand(typer.core.TyperCommand):
    """A command whose words after `--` are for bake."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what stands after `--`, and parse the rest."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[BAKE_ARGS] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])


BAKE_ARGS = "bakegen.bake_args"


@app.command(
    cls=_BakeCommand,
    context_settings={"ignore_unknown_options": True},
    options_metavar="[OPTIONS] [--AXIS VALUE]...",
)
def build(
    context: typer.Context,
    selectors: Selectors = None,
    push: Annotated[bool, typer.Option("--push", help="Push what is built to its registries.")] = False,
    load: Annotated[
        bool, typer.Option("--load", help="Load what is built, for one platform, into the engine.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Build everything if nothing is selected.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Build nothing; show the command, and print the bake file that it reads.")
    ] = False,
    builder: Annotated[str, typer.Option(metavar="NAME", help="The builder to use.", show_default=False)] = "",
    platform: Annotated[
        str,
        typer.Option(metavar="PLATFORM[,...]", help="Only these of the declared platforms.", show_default=False),
    ] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Build without the cache.")] = False,
    metadata_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep what bake writes about the build.", show_default=False)
    ] = None,
    form: Annotated[TextFormat, typer.Option("--format", help="How the summary is printed.")] = TextFormat.text,
) -> None:
    """Build what the selectors pick, by docker buildx bake.

    Bake gets a bake file of just these targets and what they are built from. Its progress is shown, and its exit code
    is that of bakegen.

    An axis may be an option too: --releases cudnn --python-version 3.9. What stands after -- is for bake.
    """
    from bakegen.engine import build as building
    from bakegen.engine.docker import shell_line
    from bakegen.engine.words import MisuseError, selectors_of
    from bakegen.graph.selectors import FIXED_KEYS
    from bakegen.paths import find_root

    if push and load:
        context.fail("--push and --load exclude each other")
    project = _load(find_root(context.obj))
    axes = [axis.name for manifest in project.graph.manifests for axis in manifest.axes]
    try:
        options = [name for option in context.command.params for name in option.opts if name.startswith("--")]
        words = selectors_of(selectors or [], [*FIXED_KEYS, *axes], options)
    except MisuseError as error:
        context.fail(str(error))
    if not words and not everything:
        there_is = "\n".join(building.choices(project.graph))
        context.fail(f"say what to build, or --all for everything:\n{there_is}")
    request = building.Request(
        push=push, load=load, platforms=platform, builder=builder, no_cache=no_cache, extra=context.meta[BAKE_ARGS]
    )
    order = building.make_order(project, project.graph.select(words), request)
    kept = (context.obj / metadata_file).absolute() if metadata_file else None
    if dry_run:
        _say(shell_line(order.command(("docker", "buildx"), kept), order.environment))
        _print([order.bake_file.decode().removesuffix("\n")])
        return
    code, rows = building.carry_out(order, project.root, builder, kept)
    if code:
        raise typer.Exit(code)
    if form is TextFormat.json:
        _print_json(rows)
    elif rows:
        _print_build(rows)


@app.command()
def schema(
    kind: Annotated[
        Kind, typer.Argument(metavar="[manifest|dockerfiles|images]", help="What the schema is of.", show_default=False)
    ] = Kind.manifest,
) -> None:
    """Print the JSON Schema of manifests, for editors.

    Or that of what create-context writes.
    """
    from bakegen.render.metadata import schema_of

    _print_json(schema_of(kind.value))


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
    if argv is None:  # the process is ours: it is short and keeps nearly all that it makes, so that looking for garbage
        gc.disable()  # would take a quarter of the time
        atexit.register(gc.freeze)  # or the interpreter looks once more before it ends
    try:
        app(argv, prog_name="bakegen")
    except BakegenError as error:
        for line in _problem_lines(error.problems, ProblemFormat.text):
            typer.echo(line, err=True)
        if len(error.problems) > 1:
            _say(_count(len(error.problems), "problem"))
        sys.exit(1)
    except Exception:  # noqa: BLE001 - whatever arrives here is our mistake, and the user must be told so
        import platform
        import traceback

        typer.echo(traceback.format_exc(), err=True)
        _say(
            f"this is a bug in bakegen {__version__} (Python {platform.python_version()}); please report it with the lines above"
        )
        sys.exit(3)
    sys.exit(0)


def _load(root: Path, *adapt: Callable[[Manifest], Manifest]) -> Project:
    from bakegen.project import load_project

    return load_project(root, *adapt)


def _problem_lines(problems: Iterable[Problem], form: ProblemFormat) -> Iterable[str]:
    match form:
        case ProblemFormat.text:
            for index, problem in enumerate(problems):
                yield ("\n" if index else "") + format_problem(problem)
        case ProblemFormat.json:
            yield json.dumps([_problem_data(problem) for problem in problems], indent=2, ensure_ascii=False)
        case ProblemFormat.github:
            for problem in problems:
                where = problem.position
                place = f" file={where.file},line={max(1, where.line)},col={max(1, where.column)}," if where else " "
                hint = f" ({problem.hint})" if problem.hint else ""
                text = f"{problem.message}{hint}".replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
                yield f"::error{place}title={problem.code}::{text}"


def _problem_data(problem: Problem) -> dict[str, Any]:
    where = problem.position
    return {
        "code": problem.code,
        "message": problem.message,
        "file": where.file if where else None,
        "line": where.line if where else None,
        "column": where.column if where else None,
        "hint": problem.hint,
    }


_SHOWN = 20  # paths of one kind that are named


def _print_build(rows: Sequence[dict[str, Any]]) -> None:
    from bakegen.views.listing import table

    shown = [{column: "-" if value in (None, []) else value for column, value in row.items()} for row in rows]
    _print(table(shown, tuple(shown[0])))


def _say_changes(changes: Changes, *, done: bool) -> None:
    for kind in ("new", "changed", "removed", "edited", "foreign"):
        paths = getattr(changes, kind)
        for path in paths[:_SHOWN]:
            _say(f"{kind:>9}  {path}")
        if len(paths) > _SHOWN:
            _say(f"{kind:>9}  … and {len(paths) - _SHOWN} more")
    if changes.stale_records:
        _say("  records  generated/bakegen.sums")
    verb = "written" if done else "would change"
    _say(f"{_count(len(changes.differing), 'file')} {verb}, {len(changes.unchanged)} up to date")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _print_json(data: Any) -> None:
    json.dump(data, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
