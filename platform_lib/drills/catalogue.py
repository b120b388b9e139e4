"""How does the whole catalogue run, or one scenario several times, without one failure hiding the rest?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from platform_lib.drills import score, steady, undo
from platform_lib.drills.engine import run_drill
from platform_lib.drills.scenario import Scenario, load, names
from platform_lib.drills.score import Result, Status
from platform_lib.errors import DrillSkipped, InvalidInput, PlatformError, UndoFailed
from platform_lib.model import App, Platform, to_json
from platform_lib.wait import now

Progress = Callable[[str], None]
SETTLE_S = 60.0
"""How long a platform may take to be steady before the next drill starts."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of each drill of a batch; fields as in ``run_drill``."""

    confirm: str = ""
    rate_rps: float = 100.0
    timeout_s: float = 120.0
    repeat: int = 1


def order(scenarios: Iterable[str] = ()) -> list[Scenario]:
    """Return scenarios in the order they run: those that destroy the cluster last.

    Raises:
        InvalidInput: An unknown scenario, or a wrong file; nothing was touched.
    """
    return sorted((load(name) for name in (list(scenarios) or names())), key=lambda one: one.destroys_cluster)


def run_all(
    platform: Platform,
    app: App,
    *,
    scenarios: Iterable[str] = (),
    wanted: Order | None = None,
    progress: Progress = lambda _line: None,
) -> list[Result]:
    """Run scenarios one after the other; each is undone, and a failed one does not stop the rest.

    Args:
        platform: Where.
        app: The application.
        scenarios: Names; all of the catalogue when empty.
        wanted: Rate, deadline, repetitions and the confirmation for scenarios that destroy the cluster; without
            it those are skipped.
        progress: Receives one line per step.

    Returns:
        One result per drill in the order they ran; ends early only when a fault could not be removed.

    Raises:
        InvalidInput: A scenario is unknown or its file is wrong, or ``repeat`` is below 1.
        Locked: A fault of an earlier drill may still be in place.
    """
    asked = wanted or Order()
    if asked.repeat < 1:
        raise InvalidInput(f"repeat {asked.repeat} - expected 1 or more")
    drills = order(scenarios)
    undo.require_none(platform.home)
    batch, found = f"{now():%Y%m%dT%H%M%S.%fZ}", list[Result]()
    for number, drill in enumerate(drills, 1):
        for turn in range(1, asked.repeat + 1):
            again = f" ({turn} of {asked.repeat})" if asked.repeat > 1 else ""
            progress(f"[{number}/{len(drills)}] {drill.name}{again}: {drill.title}")
            result = run_one(platform, app, drill, asked, batch, lambda line: progress(f"  {line}"))
            progress(f"  {result.status}: {result.reason}")
            found.append(result)
            if result.status == "skipped":
                break
            if result.status == "undo_failed":
                return found
    return found


def run_one(platform: Platform, app: App, drill: Scenario, wanted: Order, batch: str, progress: Progress) -> Result:
    """Run one drill of a batch; every end but Ctrl-C is a result."""
    if drill.destroys_cluster and wanted.confirm != platform.name:
        reason = f"it destroys cluster {platform.name}; pass --confirm {platform.name}"
        return _kept(platform, drill, batch, "skipped", reason)
    steady.again(platform, app, drill, SETTLE_S)
    since = f"{now():%Y%m%dT%H%M%S.%fZ}"
    try:
        return run_drill(
            platform,
            app,
            scenario=drill,
            confirm=wanted.confirm,
            rate_rps=wanted.rate_rps,
            timeout_s=wanted.timeout_s,
            batch=batch,
            progress=progress,
        ).result
    except DrillSkipped as error:
        return _kept(platform, drill, batch, "skipped", str(error.reason))
    except UndoFailed as error:
        return _retried(platform, drill, batch, since, error, progress)
    except PlatformError as error:
        return _newest(platform, drill, since) or _kept(platform, drill, batch, "aborted", error.message)


def _retried(
    platform: Platform, drill: Scenario, batch: str, since: str, error: UndoFailed, progress: Progress
) -> Result:
    """Try the undo once more: a fault that stays would spoil every drill after it."""
    progress(f"{error.message}; trying the undo again")
    failed = _newest(platform, drill, since) or _kept(platform, drill, batch, "undo_failed", error.message)
    try:
        undo.undo(platform.home, failed.id)
    except PlatformError:
        return failed
    gone = replace(failed, status="fail", reason=f"{failed.reason}; a second undo removed it")
    score.keep(gone, platform.home)
    return gone


def _newest(platform: Platform, drill: Scenario, since: str) -> Result | None:
    """Return what the engine kept of this drill before it raised; None when it broke nothing."""
    found = [one for one in score.results(platform.home) if one.scenario == drill.name and one.id >= since]
    return found[-1] if found else None


def _kept(platform: Platform, drill: Scenario, batch: str, status: Status, reason: str) -> Result:
    """Keep a drill that broke nothing: skipped, or without a steady state to start from."""
    moment = now()
    result = Result(
        id=f"{moment:%Y%m%dT%H%M%S.%fZ}-{drill.name}",
        batch=batch,
        scenario=drill.name,
        title=drill.title,
        why=drill.why,
        expected=drill.expect.text,
        weight=drill.weight,
        status=status,
        reason=reason,
        proved=score.proof(drill.expect.text, status, reason, {}),
        started_at=to_json(moment),
        finished_at=to_json(moment),
        platform=platform.name,
    )
    score.keep(result, platform.home)
    return result
