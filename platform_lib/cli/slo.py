"""Commands about service level objectives: budget now, generated rules, soundness, back-test."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, Verify, Write, generated, show, table
from platform_lib.errors import EXIT_FAILED

slo_app = typer.Typer(help="Objectives of the services: budget, alert rules, back-test.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Objective such as sample-app-availability; default: all.")]


def _chosen(name: str) -> list[Any]:
    """Return one objective or all."""
    from platform_lib import slo

    return [slo.one(name)] if name else list(slo.load().values())


@slo_app.command()
def status(name: Name = "", as_json: AsJson = False) -> None:
    """Show budget left, burn rates and what each alert rule says, and why."""
    from platform_lib import cluster, slo

    platform = cluster.connect()
    found = [slo.status(platform, objective) for objective in _chosen(name)]
    if as_json:
        print(json.dumps([one.facts() for one in found], indent=1))
        return
    for one in found:
        print(f"{one}\n")


@slo_app.command()
def check(name: Name = "", as_json: AsJson = False) -> None:
    """Tell whether objectives can do their work; 1 when one cannot."""
    from platform_lib import cluster, slo
    from platform_lib.model import to_json

    platform = cluster.connect()
    found = {objective.uid: slo.check(platform, objective) for objective in _chosen(name)}
    if as_json:
        print(json.dumps(to_json(found), indent=1))
    else:
        rows = [[uid, one.name, one.status, one.reason] for uid, checks in found.items() for one in checks]
        table("", ["objective", "check", "status", "reason"], rows)
    if any(one.status == "fail" for checks in found.values() for one in checks):
        raise typer.Exit(EXIT_FAILED)


@slo_app.command()
def rules(
    write: Write = False,
    verify: Verify = False,
) -> None:
    """Print the Prometheus rules that the objectives become."""
    from platform_lib import slo
    from platform_lib.settings import settings

    text, path = slo.rules_manifest(), settings().project_dir / slo.spec.MANIFEST
    generated(text, path, write=write, verify=verify)


@slo_app.command()
def backtest(
    name: Annotated[str, typer.Argument(help="Objective such as sample-app-availability.")],
    window_s: Annotated[float, typer.Option(min=60, help="Look back so many seconds.")] = 21_600.0,
    frame: Annotated[str, typer.Option(help="Exported counts (CSV: time, bad, total) instead of Prometheus.")] = "",
    journal_path: Annotated[str, typer.Option("--journal", help="Record with labelled incidents.")] = "",
    export: Annotated[str, typer.Option(help="Write the counts to this CSV file.")] = "",
    as_json: AsJson = False,
) -> None:
    """Replay the alert rules on history: what would have paged, and how well that fits labelled incidents."""
    from platform_lib import slo

    objective = slo.one(name)
    counts = _read_counts(frame) if frame else _asked(objective, window_s)
    if export:
        counts.to_csv(export, float_format="%.6g")
    found = slo.backtest(counts, objective, slo.incidents(_record(counts, journal_path), objective.service))
    if as_json:
        print(json.dumps(found.facts(), indent=1))
    else:
        show(found, False)


def _read_counts(path: str) -> Any:
    """Read exported counts."""
    import pandas as pd

    from platform_lib.errors import InvalidInput

    try:
        counts = pd.read_csv(path, index_col="time", parse_dates=["time"])
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} - not readable as counts: {error}", hint="columns time, bad, total") from error
    counts.index = pd.to_datetime(counts.index, utc=True)
    return counts


def _asked(objective: Any, window_s: float) -> Any:
    """Ask Prometheus for counts."""
    from datetime import timedelta

    from platform_lib import cluster, slo
    from platform_lib.wait import now

    end = now()
    return slo.history(cluster.connect(), objective, start=end - timedelta(seconds=window_s), end=end)


def _record(counts: Any, path: str) -> Any:
    """Return the record of the time of the counts."""
    from pathlib import Path

    from platform_lib import journal
    from platform_lib.settings import settings

    place = Path(path) if path else settings().home / "journal"
    if counts.empty:
        return journal.frame(place)
    return journal.frame(place, start=counts.index.min().to_pydatetime(), end=counts.index.max().to_pydatetime())
