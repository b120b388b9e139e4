"""In which order does a drill happen, and what is promised whatever goes wrong?

Steady state is required first; the undo is on disk before the fault strikes and runs on success, failure and
Ctrl-C, and from another process after a crash; the steady state is required again afterwards. The probe and the
watch run from before the fault until after the recovery; every figure comes from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_lib.drills import faults, undo
from platform_lib.drills.conduct import Conduct
from platform_lib.drills.measure import Objective
from platform_lib.drills.scenario import Scenario, load
from platform_lib.drills.score import Result
from platform_lib.errors import DrillAborted, DrillSkipped, GuardRefused
from platform_lib.model import App, Outcome, Plan, Platform, ProbeResult, Step, Verdict
from platform_lib.operation import operation

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DrillRecord:
    """Everything a drill measured.

    Attributes:
        scenario: What was drilled.
        outcome: Result and figures.
        verdict: Whether the platform did what was expected, check by check.
        probe: What a client saw.
        samples: One row per probe request (intended_at, latency_ms, status, error, version, pod).
        marks: Named moments for the plot.
        result: The same, as it is kept for the score and the page.
    """

    scenario: Scenario
    outcome: Outcome
    verdict: Verdict
    probe: ProbeResult
    samples: Any
    marks: tuple[tuple[str, datetime], ...]
    result: Result

    def require_recovered(self) -> None:
        """Raise unless the drill passed.

        Raises:
            DrillAborted: Names the checks that failed.
        """
        if not self.verdict.ok:
            raise DrillAborted(
                f"drill {self.scenario.name} - {self.verdict.reason}", hint="see the checks above", undone=True
            )


def plan_drill(platform: Platform, app: App, *, scenario: str) -> Plan:
    """Say exactly what a drill would break; reads only.

    Raises:
        InvalidInput: Unknown scenario, or nothing to break.
        DrillSkipped: This platform cannot have that fault.
    """
    drill = load(scenario)
    _require_supported(drill, platform, app)
    steps = faults.choose(drill.fault.action, platform, app, drill.fault.parameters).steps()
    further = (Step("expect", app.name, drill.expect.text), Step("undo", drill.name, drill.undo.text))
    return Plan(title=f"drill {drill.name}: {drill.title}", steps=(*steps, *further), inputs={"scenario": scenario})


@operation("drill", git=False)
def run_drill(
    platform: Platform,
    app: App,
    *,
    scenario: str | Scenario,
    confirm: str = "",
    rate_rps: float = 100.0,
    timeout_s: float = 120.0,
    batch: str = "",
    objective: Objective | None = None,
    progress: Progress = lambda _line: None,
) -> DrillRecord:
    """Inject a fault, measure the recovery, undo the fault.

    Args:
        platform: Where.
        app: The application whose service is measured.
        scenario: Name of a scenario of the catalogue, path of a scenario file, or what ``load`` made of one.
        confirm: The platform's name; required by scenarios that destroy the cluster.
        rate_rps: Probe rate, requests per second.
        timeout_s: Deadline for the recovery, seconds; the scenario may set a shorter one.
        batch: Joins drills that belong together in the score.
        objective: Whose budget is burned; default 99.9 % over 30 days.
        progress: Receives one line per step.

    Returns:
        The record with verdict and figures; a platform that did not recover is a verdict, not an error.

    Raises:
        InvalidInput: Unknown scenario, or a wrong file.
        GuardRefused: A destroying scenario without the right ``confirm``.
        Locked: A fault of another drill may still be in place.
        DrillSkipped: This platform cannot have that fault.
        DrillAborted: No steady state before the fault, or a safeguard stopped the drill.
        UndoFailed: The fault is still there.
    """
    drill = scenario if isinstance(scenario, Scenario) else load(scenario)
    if drill.destroys_cluster and confirm != platform.name:
        raise GuardRefused(
            f"drill {drill.name} - destroys cluster {platform.name!r}, confirm was {confirm!r}",
            hint=f"pass confirm={platform.name}",
        )
    undo.require_none(platform.home)
    _require_supported(drill, platform, app)
    fault = faults.choose(drill.fault.action, platform, app, drill.fault.parameters)
    limit_s = min(timeout_s, drill.limits.timeout_s)
    conduct = Conduct(platform, app, drill, fault, rate_rps=rate_rps, timeout_s=limit_s, batch=batch, progress=progress)
    if objective is not None:
        conduct.objective = objective
    found = conduct.run()
    return DrillRecord(
        drill, found.outcome, found.verdict, found.probe, found.samples, tuple(found.marks), found.result
    )


def _require_supported(drill: Scenario, platform: Platform, app: App) -> None:
    """Refuse what this platform cannot do.

    Raises:
        DrillSkipped: Carries the reason; a skipped drill is never a passed one.
    """
    reason = faults.supported(drill.fault.action, platform, app)
    if reason:
        raise DrillSkipped(f"drill {drill.name} - skipped: {reason}", hint="see: apqx drill list", reason=reason)


def headline(outcome: Outcome) -> str:
    """One line for the summary table."""
    figures = outcome.figures
    if figures.get("rto_s") is None:
        return outcome.message
    rpo_s = figures.get("rpo_s")
    rpo = "" if rpo_s is None else f"RPO {rpo_s:.1f} s, "
    return (
        f"{figures['scenario']}: RTO {figures['rto_s']:.1f} s, {rpo}"
        f"{figures['requests_lost']} of {figures['requests_sent']} requests lost"
    )
