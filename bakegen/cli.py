"""The command line: argv in, exit code out.

Exit codes: 0 done, 1 the input has problems, 2 the command was misused, 3 a bug of ours, 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import io
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core

from bakegen import __version__
from bakegen.commands import (
    authenticate,
    build,
    builder,
    create_context,
    doctor,
    explain,
    generate,
    init,
    push_readme,
    schema,
    validate,
    verify,
)
from bakegen.commands import list as listing
from bakegen.commands import test as testing
from bakegen.commands.options import Command
from bakegen.commands.selection import SELECTING
from bakegen.console import be_quiet, show_problems, warn
from bakegen.errors import BakegenError


class Commands(typer.core.TyperGroup):
    """The commands in the order in which they stand below; those that have commands themselves come last."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        return sorted(
            super().list_commands(ctx), key=lambda name: isinstance(self.commands[name], typer.core.TyperGroup)
        )


app = typer.Typer(
    name="bakegen",
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Generate Dockerfiles and a docker-bake.hcl for a family of container images.",
    epilog="Selectors pick targets: runtime, python=3.9, distro=debian*, platform=linux/ppc64le, python!=3.7. "
    "Selectors with the same key: any may match. Different keys: all must match.",
)
app.command("init", cls=Command)(init.init)
app.command("generate", cls=Command)(generate.generate)
app.command("create-context", cls=Command)(create_context.create_context)
app.command("validate", cls=Command)(validate.validate)
app.command("list", cls=Command)(listing.list_)
app.command("explain", cls=Command)(explain.explain)
app.command("verify", cls=Command)(verify.verify)
app.command("build", cls=build.BakeCommand, **SELECTING)(build.build)
app.command("authenticate", cls=Command)(authenticate.authenticate)
app.command("push-readme", cls=Command)(push_readme.push_readme)
app.command("test", cls=Command, **SELECTING)(testing.run_tests)
app.command("doctor", cls=Command)(doctor.doctor)
app.command("schema", cls=Command)(schema.schema)
app.add_typer(builder.app, name="builder")


_UsageError: Any = typer.BadParameter.__base__  # older releases of typer import it from click, newer bring their own


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
            "-C", "--directory", metavar="DIR", help="Run as if started in DIR.", exists=True, file_okay=False
        ),
    ] = Path(),
    version: Annotated[  # noqa: ARG001 - typer calls it by its callback
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hold the options of all commands."""
    context.obj = directory


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    be_quiet(wanted=False)
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
    warnings.showwarning = lambda message, *_, **__: warn(f"warning: {message}")
    if argv is None:  # the process is ours: it is short and keeps nearly all that it makes, so that looking for garbage
        gc.disable()  # would take a quarter of the time
        atexit.register(gc.freeze)  # or the interpreter looks once more before it ends
    try:
        code = app(argv, prog_name="bakegen", standalone_mode=False)
    except BakegenError as error:
        show_problems(error.problems)
        sys.exit(1)
    except _UsageError as error:
        text = io.StringIO()
        error.show(text)
        warn(text.getvalue().rstrip("\n"))  # it repeats words of the command line, whatever they contain
        sys.exit(2)
    except Exception:  # noqa: BLE001 - whatever arrives here is our mistake, and the user must be told so
        import platform
        import traceback

        warn(traceback.format_exc())
        warn(
            f"this is a bug in bakegen {__version__} (Python {platform.python_version()}); please report it with the lines above"
        )
        sys.exit(3)
    sys.exit(code or 0)
