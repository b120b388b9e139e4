"""Commands about the record: collect, show, compact."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, steps, table
from platform_lib.cli.times import begin_of

journal_app = typer.Typer(help="The record of what happened.", no_args_is_help=True)


@journal_app.command("show")
def show_records(
    since: Annotated[str, typer.Option(help="Begin: a date, or a length such as 10m or 2d.")] = "1h",
    source: Annotated[str | None, typer.Option(help="Only this source, for example argocd.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind, for example operation.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only about this, for example sample-app.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the records of a time window, oldest first."""
    from platform_lib import journal
    from platform_lib.rules.wording import sentence
    from platform_lib.settings import settings
    from platform_lib.wait import now

    start = begin_of("--since", since, now())
    found = journal.frame(settings().home, start=start, source=source, kind=kind, subject=subject)
    records: list[dict[str, Any]] = found.to_dict("records")  # type: ignore[assignment]
    if as_json:
        for record in records:
            typer.echo(json.dumps({**record, "utc": f"{record['utc']:%FT%T.%fZ}"}, default=str))
        return
    rows = [[f"{r['utc']:%F %T}", f"{r['source']} {r['kind']}", r["subject"], sentence(r)] for r in records]
    table("", ["UTC", "what", "subject", "facts"], rows)


@journal_app.command("compact")
def compact_days() -> None:
    """Turn the files of closed days into Parquet; safe while the platform runs."""
    from platform_lib import journal
    from platform_lib.settings import settings

    made = journal.compact(settings().home / journal.FOLDER)
    typer.echo("\n".join(path.name for path in made) or "nothing to do: no closed day is left as lines")


@journal_app.command("collect")
def collect_records() -> None:
    """Follow the cluster, git and Prometheus and write down what they say, until Ctrl-C.

    The embedded platform runs it by itself; start it by hand beside any other cluster.
    """
    from platform_lib import cluster
    from platform_lib.collect import program

    with steps() as progress:
        platform = cluster.connect()
        progress(f"collecting from {platform.name}; Ctrl-C ends it")
        program.run(platform)
