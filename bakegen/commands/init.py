"""`bakegen init`."""

from __future__ import annotations

from typing import Annotated

import typer

from bakegen.commands.changes import say_waiting
from bakegen.console import say


def init(
    context: typer.Context,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Name of the image family.", show_default=False)],
    releases: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE[(PROPERTY)],...",
            help="Releases of the family. One with a property in parentheses is only built for distributions that have it.",
            show_default=False,
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="PREFIX", help="Where to push its images, such as ghcr.io/acme.", show_default=False),
    ] = None,
) -> None:
    """Create a manifest and its templates.

    They are added to the project that contains the current folder, or to a new one. Existing files are never overwritten.

    --releases "runtime,cudnn(gpu),devel" declares three releases, built on an unpublished base; cudnn is only built for
    distributions with gpu: true. Without --releases, the family is a single image.
    """
    from bakegen.docker.process import ending_on_signals
    from bakegen.errors import BakegenError, MisuseError
    from bakegen.source.paths import absolute, find_root
    from bakegen.starter.family import check_names, first_files, write_family
    from bakegen.starter.releases import parse_releases

    try:
        check_names(image, registry)
        wanted = () if releases is None else parse_releases(releases)
    except MisuseError as error:
        context.fail(str(error))
    try:
        root = find_root(context.obj)
    except BakegenError:  # there is no project yet
        root = absolute(context.obj)
    try:
        with ending_on_signals():
            written = write_family(root, first_files(image, wanted, registry), say_waiting)
    except BakegenError:
        say("nothing was written")
        raise
    for path in written:
        say(f"{'new':>9}  {path}")
    say("next:")
    for words in ("generate", "list", f"build {image} --dry-run", f"build {image} --load --platform linux/amd64"):
        say(f"  bakegen {words}")
