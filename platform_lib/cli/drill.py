"""Commands about drills: list, run, undo, all, score."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, TimeoutS, show, steps, table, target_of
from platform_lib.errors import EXIT_FAILED, EXIT_REFUSED, EXIT_UNDO_FAILED

drill_app = typer.Typer(
    help="Break one thing on purpose, measure the recovery, undo it.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Option("--app", help="Application name.")]
Rate = Annotated[float, typer.Option("--rate-rps", min=1, max=2000, help="Probe rate, requests per second.")]
Confirm = Annotated[str, typer.Option(help="Cluster name; required by scenarios that destroy the cluster.")]
Repeat = Annotated[int, typer.Option(min=1, max=100, help="Drills per scenario; gives median and range.")]


@drill_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the scenarios with their newest result, and drills whose fault may still be in place."""
    from platform_lib.drills import scenario, score, undo
    from platform_lib.settings import settings

    home = settings().home
    newest = {result.scenario: result for result in score.results(home)}
    drills = [scenario.load(name) for name in scenario.names()]
    if as_json:
        show({"scenarios": [one.model_dump(mode="json") for one in drills], "pending": undo.pending(home)}, True)
        return
    rows = [[one.name, str(one.weight), _newest(newest.get(one.name)), one.title] for one in drills]
    table("", ["scenario", "weight", "newest result", "what happens"], rows)
    for pending in undo.pending(home):
        print(f"pending drill {pending.line()}; undo it: apqx drill undo {pending.id}")


@drill_app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="Name from the catalogue, or path of a scenario file.")],
    name: Name = "sample-app",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    confirm: Confirm = "",
    rate_rps: Rate = 100.0,
    timeout_s: TimeoutS = 120.0,
    repeat: Repeat = 1,
    as_json: AsJson = False,
) -> None:
    """Run one scenario. Exit code 1: it did not pass; 3: refused or skipped; 4: the fault is still there."""
    from platform_lib import cluster, drills

    platform, target = cluster.connect(), target_of(name)
    plan = drills.plan_drill(platform, target, scenario=scenario)
    if dry_run:
        show(plan, as_json)
        return
    _leave(_carry_out(platform, target, [scenario], confirm, rate_rps, timeout_s, repeat, as_json), as_json)


@drill_app.command("all")
def all_(
    name: Name = "sample-app",
    confirm: Confirm = "",
    rate_rps: Rate = 100.0,
    timeout_s: TimeoutS = 120.0,
    repeat: Repeat = 1,
    as_json: AsJson = False,
) -> None:
    """Run the whole catalogue and write one page; a failed drill does not stop the rest."""
    from platform_lib import cluster

    platform = cluster.connect()
    _leave(_carry_out(platform, target_of(name), [], confirm, rate_rps, timeout_s, repeat, as_json), as_json)


@drill_app.command()
def undo(
    drill: Annotated[str, typer.Argument(help="Id of a pending drill; all of them when omitted.")] = "",
    as_json: AsJson = False,
) -> None:
    """Remove the faults that a crashed workbench left behind. Exit code 4: one is still there."""
    from platform_lib import lock
    from platform_lib.drills import undo as undo_
    from platform_lib.settings import settings

    home = settings().home
    with steps(as_json) as progress, lock.exclusive(home, purpose=f"drill undo {drill}".strip()):
        undone = undo_.undo(home, drill, progress=progress)
    if as_json:
        show({"undone": undone}, True)
    else:
        print("\n".join(f"undone {one.id}" for one in undone) or "nothing was pending")


@drill_app.command()
def score(as_json: AsJson = False) -> None:
    """Show the score across drills, its trend and what each drill proved; writes the page."""
    from platform_lib.drills import score as score_
    from platform_lib.settings import settings

    found = score_.results(settings().home)
    now = score_.score(found)
    if as_json:
        show({"score": now, "trend": [(one.finished_at, one.value) for one in score_.trend(found)]}, True)
        return
    rows = [[line.scenario, str(line.weight), _share(line), line.newest.proved] for line in now.lines]
    table(now.words(), ["scenario", "weight", "passed", "what it proved"], rows)
    print(f"page {_page()}")


def _carry_out(
    platform: Any,
    target: Any,
    scenarios: list[str],
    confirm: str,
    rate_rps: float,
    timeout_s: float,
    repeat: int,
    as_json: bool,
) -> list[Any]:
    """Run scenarios under the platform's lock; the page is written also when it is interrupted."""
    from platform_lib import lock
    from platform_lib.drills import catalogue

    wanted = catalogue.Order(confirm=confirm, rate_rps=rate_rps, timeout_s=timeout_s, repeat=repeat)
    try:
        with steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"drill {' '.join(scenarios) or 'all'}"):
            return catalogue.run_all(platform, target, scenarios=scenarios, wanted=wanted, progress=progress)
    finally:
        _page()


def _leave(found: list[Any], as_json: bool) -> None:
    """Print the results and leave with the exit code of the worst one."""
    from platform_lib.drills import score as score_

    spreads = score_.spreads([one for one in found if one.figures]) if len(found) > 1 else {}
    if as_json:
        show({"results": found, "spread": spreads}, True)
    else:
        table("", ["scenario", "result", "RTO", "lost", "why"], [_row(one) for one in found])
        if len({one.scenario for one in found}) == 1 and len(found) > 1:
            rows = [[key, *(f"{value:g}" for value in values)] for key, values in spreads.items()]
            table(f"{len(found)} drills", ["measure", "median", "smallest", "largest"], rows)
        print(f"page {_page()}")
    code = _exit_code({one.status for one in found})
    if code:
        raise typer.Exit(code)


def _exit_code(statuses: set[str]) -> int:
    """A fault that is still there is the worst; a skipped drill alone was refused, among others it is none."""
    if "undo_failed" in statuses:
        return EXIT_UNDO_FAILED
    if statuses - {"pass", "skipped"}:
        return EXIT_FAILED
    return EXIT_REFUSED if statuses == {"skipped"} else 0


def _row(one: Any) -> list[str]:
    """One result as a line of the table."""
    rto_s, lost = one.figures.get("rto_s"), one.figures.get("requests_lost")
    return [one.scenario, one.status, "" if rto_s is None else f"{rto_s:.2f} s", str(lost or 0), one.reason]


def _share(line: Any) -> str:
    """Passed of tried, or why it was skipped."""
    return f"{line.passed} of {line.tried}" if line.tried else f"skipped: {line.skipped}"


def _newest(result: Any) -> str:
    """Newest result of a scenario in a few words."""
    return "never" if result is None else f"{result.status}, {result.finished_at[:16].replace('T', ' ')}"


def _page() -> Any:
    """Write the page of the drills."""
    from platform_lib import scorecard
    from platform_lib.settings import settings

    current = settings()
    return scorecard.write(current.home, current.runs_dir)
