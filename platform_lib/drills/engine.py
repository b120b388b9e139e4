"""In which order does a drill happen, and what is promised whatever goes wrong?

Steady state is required first; the undo is armed before the fault is injected and runs on success, failure
and Ctrl-C; the steady state is required again afterwards. The probe runs from before the fault until after the
recovery, and every figure about the service comes from it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_lib import journal
from platform_lib.drills import faults, measure
from platform_lib.drills.faults import Fault
from platform_lib.drills.scenario import Scenario, load
from platform_lib.errors import DrillAborted, GuardRefused, PlatformError, UndoFailed
from platform_lib.model import App, Check, Outcome, Plan, Platform, ProbeResult, Step, Verdict
from platform_lib.sync import state
from platform_lib.wait import Deadline, monotonic, now, pause
from platform_lib.wire.probe import start_probe

Progress = Callable[[str], None]
WARMUP_S = 3.0
SETTLE_S = 2.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """Everything a drill measured.

    Attributes:
        scenario: What was drilled.
        outcome: Result and figures.
        verdict: Whether the platform recovered as expected, check by check.
        probe: What a client saw.
        samples: One row per probe request (intended_at, latency_ms, status, error, version, pod).
        marks: Named moments for the plot.
    """

    scenario: Scenario
    outcome: Outcome
    verdict: Verdict
    probe: ProbeResult
    samples: Any
    marks: tuple[tuple[str, datetime], ...]

    def require_recovered(self) -> None:
        """Raise unless the drill passed.

        Raises:
            DrillAborted: Names the checks that failed.
        """
        if not self.verdict.ok:
            raise DrillAborted(
                f"drill {self.scenario.name} - {self.verdict.reason}", hint="see the checks above", undone=True
            )


@dataclass(slots=True)
class _Timeline:
    """Moments of one drill, filled in as it goes."""

    marks: list[tuple[str, datetime]] = field(default_factory=list)
    seen: str = ""

    def mark(self, name: str, *, run_journal: journal.Journal, subject: str, **data: Any) -> datetime:
        """Note a moment, in the journal too."""
        moment = now()
        self.marks.append((name, moment))
        run_journal.append("drill", name, subject, **data)
        return moment

    def at(self, name: str) -> datetime | None:
        """Return the moment of that name."""
        return next((moment for mark, moment in self.marks if mark == name), None)


def plan_drill(platform: Platform, app: App, *, scenario: str) -> Plan:
    """Say exactly what a drill would break; reads only.

    Raises:
        InvalidInput: Unknown scenario, or nothing to break.
    """
    drill = load(scenario)
    steps = faults.choose(drill.fault.action, platform, app).steps()
    expected = Step("expect", app.name, drill.expected)
    return Plan(title=f"drill {drill.name}: {drill.title}", steps=(*steps, expected), inputs={"scenario": scenario})


def run_drill(
    platform: Platform,
    app: App,
    *,
    scenario: str,
    confirm: str = "",
    rate_rps: float = 100.0,
    timeout_s: float = 120.0,
    progress: Progress = lambda _line: None,
) -> DrillRecord:
    """Inject a fault, measure the recovery, undo the fault.

    Args:
        platform: Where.
        app: The application whose service is measured.
        scenario: Name of a scenario file.
        confirm: The platform's name; required by scenarios that destroy the cluster.
        rate_rps: Probe rate, requests per second.
        timeout_s: Deadline for the recovery, seconds.
        progress: Receives one line per step.

    Returns:
        The record with verdict and figures.

    Raises:
        InvalidInput: Unknown scenario.
        GuardRefused: A destroying scenario without the right ``confirm``.
        DrillAborted: No steady state before the fault; nothing was touched.
        UndoFailed: The fault is still there.
    """
    drill = load(scenario)
    if drill.destroys_cluster and confirm != platform.name:
        raise GuardRefused(
            f"drill {drill.name} - destroys cluster {platform.name!r}, confirm was {confirm!r}",
            hint=f"pass confirm={platform.name}",
        )
    fault = faults.choose(drill.fault.action, platform, app)
    _require_steady(platform, app)
    notes, started, clock = _Timeline(), now(), monotonic()
    run_journal = journal.current()
    with start_probe(platform, app, rate_rps=rate_rps) as probe:
        progress(f"steady state holds; probing at {rate_rps:g} requests/s")
        pause(WARMUP_S)
        _strike(drill, fault, notes, run_journal, timeout_s, progress)
        _require_steady_again(platform, app, timeout_s, progress)
        notes.mark("verified", run_journal=run_journal, subject=drill.name)
        pause(SETTLE_S)
    result, samples = probe.result(), probe.frame()
    figures = {
        "scenario": drill.name,
        **measure.figures(samples, result, dict(notes.marks), rate_rps=rate_rps),
        **fault.figures(dict(notes.marks)["fault"]),
    }
    verdict = _judge(drill, figures, notes, timeout_s)
    run_journal.append("drill", "measured", drill.name, figures=figures, verdict=verdict.status)
    outcome = Outcome(
        operation=f"drill {drill.name}",
        ok=verdict.ok,
        started_at=started,
        finished_at=now(),
        figures={**figures, "total_s": round(monotonic() - clock, 3)},
        message=f"{drill.title}: {verdict.reason}",
        verdict=verdict,
    )
    return DrillRecord(drill, outcome, verdict, result, samples, tuple(notes.marks))


def _strike(
    drill: Scenario,
    fault: Fault,
    notes: _Timeline,
    run_journal: journal.Journal,
    timeout_s: float,
    progress: Progress,
) -> None:
    """Inject, restore, wait for the recovery; undo whatever happens."""
    try:
        fault.prepare()
        progress(f"fault: {drill.title}")
        notes.mark("fault", run_journal=run_journal, subject=drill.name, action=drill.fault.action)
        fault.inject()
        notes.mark("injected", run_journal=run_journal, subject=drill.name)
        fault.restore(progress)
        _wait_recovered(fault, notes, run_journal, drill, timeout_s, progress)
    finally:
        _undo(drill, fault, run_journal, progress)


def _wait_recovered(
    fault: Fault, notes: _Timeline, run_journal: journal.Journal, drill: Scenario, timeout_s: float, progress: Progress
) -> None:
    """Look until the fault struck and is over; note when the platform itself first reported it."""
    deadline = Deadline(timeout_s)
    last = ""
    while True:
        done, seen = fault.recovered()
        if seen != last:
            progress(seen)
            last = seen
        if not done and notes.at("detected") is None:
            notes.mark("detected", run_journal=run_journal, subject=drill.name, seen=seen)
        if done:
            notes.mark("recovered", run_journal=run_journal, subject=drill.name, seen=seen)
            return
        if deadline.expired():
            raise deadline.fail(f"recovery from {drill.name}", last, hint="the fault is being undone; see apqx status")
        pause(LOOK_S)


def _undo(drill: Scenario, fault: Fault, run_journal: journal.Journal, progress: Progress) -> None:
    """Remove the fault; signals wait until it is done."""
    progress(f"undo: {drill.undo.text}")
    with _uninterrupted():
        try:
            fault.undo()
        except PlatformError as error:
            run_journal.append("drill", "undo_failed", drill.name, error=str(error))
            raise UndoFailed(
                f"drill {drill.name} - {drill.undo.text} failed: {error.message}", hint="see apqx status"
            ) from error
    run_journal.append("drill", "undone", drill.name, action=drill.undo.text)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done; it is delivered afterwards."""
    held: list[int] = []
    try:
        previous = signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    except ValueError:  # not in the main thread: Ctrl-C does not arrive here
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if held:
            raise KeyboardInterrupt


def _require_steady(platform: Platform, app: App) -> None:
    """Raise unless the application is healthy, synced and complete."""
    seen = state(platform, app)
    if (seen.health_status, seen.sync_status) != ("Healthy", "Synced") or seen.ready_replicas < seen.desired_replicas:
        raise DrillAborted(
            f"{app.name} - is {seen.sync_status}, {seen.health_status}, {seen.ready_replicas} of "
            f"{seen.desired_replicas} ready; a drill wants a steady state before it breaks anything",
            hint="see apqx status",
            undone=True,
        )


def _require_steady_again(platform: Platform, app: App, timeout_s: float, progress: Progress) -> None:
    """Wait until the steady state holds after the undo."""
    progress("verifying the steady state")
    deadline = Deadline(timeout_s)
    while True:
        try:
            return _require_steady(platform, app)
        except PlatformError as error:
            if deadline.expired():
                raise deadline.fail(f"steady state of {app.name}", error.message, hint="see apqx status") from error
        pause(LOOK_S)


def _judge(drill: Scenario, figures: dict[str, Any], notes: _Timeline, timeout_s: float) -> Verdict:
    """Hold the measures to the drill's rules."""
    struck = notes.at("detected") is not None or figures["requests_lost"] > 0
    checks: tuple[Check, ...] = (
        Check(
            "fault struck",
            "pass" if struck else "inconclusive",
            f"{figures['requests_lost']} requests lost, platform {'saw' if notes.at('detected') else 'did not see'} it",
            "the fault must be visible to the platform or to a client",
            "" if struck else "a fault that nobody can see proves nothing",
        ),
        Check(
            "recovered",
            "pass" if figures["rto_s"] <= timeout_s else "fail",
            f"{figures['rto_s']:.2f} s",
            f"within {timeout_s:g} s",
            drill.expected,
        ),
        Check(
            "probe honest",
            "pass" if figures["probe_lag_p99_ms"] < 250 else "inconclusive",
            f"lag p99 {figures['probe_lag_p99_ms']:.1f} ms",
            "below 250 ms",
            "a starved probe cannot tell the service's delay from its own",
        ),
    )
    if "sentinels_lost" in figures:
        checks = (*checks, _judge_sentinels(figures))
    worst = next((check for check in checks if check.status != "pass"), None)
    reason = (
        f"recovered in {figures['rto_s']:.2f} s, {figures['requests_lost']} of {figures['requests_sent']} requests lost"
    )
    return (
        Verdict("pass", reason, checks)
        if worst is None
        else Verdict(worst.status, f"{worst.name}: {worst.value}", checks)
    )


def _judge_sentinels(figures: dict[str, Any]) -> Check:
    """Every commit that git acknowledged must be in the rebuilt cluster."""
    lost, pushed, rpo_s = figures["sentinels_lost"], figures["sentinels_pushed"], figures["rpo_s"]
    return Check(
        "desired state kept",
        "fail" if lost else "pass",
        f"{lost} of {pushed} sentinels lost, newest one {'none' if rpo_s is None else f'{rpo_s:.2f} s old'}",
        "no acknowledged commit is lost",
        f"the rebuilt cluster does not hold {lost} commits" if lost else "",
    )


def headline(outcome: Outcome) -> str:
    """One line for the summary table."""
    figures = outcome.figures
    if "rto_s" not in figures:
        return outcome.message
    rpo_s = figures.get("rpo_s")
    rpo = "" if rpo_s is None else f"RPO {rpo_s:.1f} s, "
    return (
        f"{figures['scenario']}: RTO {figures['rto_s']:.1f} s, {rpo}"
        f"{figures['requests_lost']} of {figures['requests_sent']} requests lost"
    )
