"""Command about delivery performance: dora."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AppName, AsJson, show, table
from platform_lib.cli.times import begin_of

commands = typer.Typer()


@commands.command()
def dora(
    name: AppName = "sample-app",
    since: Annotated[str, typer.Option(help="Begin of the window: a date, or a length such as 30d or 12h.")] = "",
    source: Annotated[Path | None, typer.Option("--from", help="Folder with a recorded history; no platform.")] = None,
    deployments: Annotated[bool, typer.Option("--deployments", help="List the deployments instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the five DORA metrics of one service, with intervals."""
    from platform_lib import cluster
    from platform_lib import dora as dora_
    from platform_lib.cli.output import target_of
    from platform_lib.wait import now

    target = target_of(name)
    history = dora_.load(source.absolute(), app=target) if source else dora_.read(cluster.connect(), target)
    if deployments:
        _list(history.frame(), as_json)
        return
    start = begin_of("--since", since, now()) if since else None
    end = now() if since and not source else None
    show(dora_.measure(history, target, start=start, end=end), as_json)


def _list(frame: Any, as_json: bool) -> None:
    """Print one row per deployment, oldest first."""
    if as_json:
        print(frame.to_json(orient="records", date_format="iso", indent=1))
        return
    rows = [
        [f"{row.utc:%Y-%m-%d %H:%M:%S}", row.commit[:7], row.kind, row.subject,
         f"failed, back after {row.recovery_s:.0f} s" if row.failed else ""]
        for row in frame.itertuples()
    ]  # fmt: skip
    table("", ["deployed (UTC)", "commit", "kind", "change", "result"], rows)
