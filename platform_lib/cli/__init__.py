"""``apqx``: parse the command line, call the library, print. No decisions here, and no heavy import at start.

One file per group of commands; a command that is not here is not listed by ``--help``.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from platform_lib.cli import (
    addons,
    application,
    apps,
    cost,
    dashboard,
    dora,
    drill,
    gitops,
    journal,
    place,
    postmortem,
    promotion,
    runs,
    slo,
    streams,
)
from platform_lib.errors import EXIT_FAILED, PlatformError

app = typer.Typer(
    help="SRE workbench: bring a platform up, run parameterised runbooks on it, keep the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes cost 0.15 s at every --help
)
for group in (place, runs, apps, dora, cost):
    app.add_typer(group.commands)
app.add_typer(application.app, name="app")
app.add_typer(addons.addon_app, name="addon")
app.add_typer(promotion.image_app, name="image")  # the commands of images, and promote
app.add_typer(gitops.gitops_app, name="gitops")
app.add_typer(journal.journal_app, name="journal")
app.add_typer(slo.slo_app, name="slo")
app.add_typer(dashboard.dashboard_app, name="dashboard")
app.add_typer(drill.drill_app, name="drill")
app.add_typer(postmortem.postmortem_app, name="postmortem")


def _print_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"apqx {version('apqx')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point: errors become one line and an exit code, never a traceback."""
    streams.prepare()
    try:
        app(standalone_mode=True)
    except PlatformError as error:
        sys.stderr.write(f"apqx: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("apqx: interrupted\n")
        raise SystemExit(EXIT_FAILED) from None
