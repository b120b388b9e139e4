"""How fast is a bad version found and taken back? The gate, with a version that is known to be bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from platform_lib import journal, restore
from platform_lib.gate.live import Release, run
from platform_lib.gate.record import GateRecord
from platform_lib.model import App, Check, Platform, Verdict
from platform_lib.operation import operation
from platform_lib.rollback import Method
from platform_lib.rollout import RolloutRecord
from platform_lib.rules import verdict
from platform_lib.rules.verdict import Limits

Progress = Callable[[str], None]


@operation("rehearse", still=restore.moved, undo=restore.take_back)
def rehearse(
    platform: Platform,
    app: App,
    *,
    image: str,
    version: str,
    env: Mapping[str, str | None] | None = None,
    method: Method = "revert",
    rate_rps: float = 200.0,
    warmup_s: float = 3.0,
    settle_s: float = 20.0,
    timeout_s: float = 120.0,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RolloutRecord:
    """Deploy a faulty version through the gate, which has to find it, take it back and prove the recovery.

    The faulty version is taken back also when it was not found, and after an error or Ctrl-C.

    Args:
        platform: Where.
        app: What.
        image: Image by digest of the faulty version.
        version: Its name.
        env: Its fault switches.
        method: ``revert`` or ``history``.
        rate_rps: Probe rate in requests per second.
        warmup_s: Load before the change.
        settle_s: How long the fault may take to show once the version runs everywhere.
        timeout_s: Deadline of the rollout, and of the recovery.
        limits: What the version is held to.
        progress: Called with each new observation.

    Returns:
        The record; its verdict is about the rehearsal (detected, recovered, service). Figures as ``gate.deploy``.
    """
    release = Release(
        platform, app, image, version, env, rate_rps, warmup_s, settle_s, timeout_s, limits or Limits(), method,
        frozenset({"pass", "fail", "not_enough_data", "inconclusive"}), progress or (lambda _line: None),
    )  # fmt: skip
    return _rehearsed(run(release), app)


def _rehearsed(gated: GateRecord, app: App) -> RolloutRecord:
    """Turn the verdict on the version into one on the rehearsal."""
    recovery = gated.recovery.checks if gated.recovery is not None else ()
    decided = verdict.combine([_detected(gated), *recovery])
    message = f"{gated.new_version}: {gated.verdict.reason}" if decided.ok else decided.reason
    outcome = replace(
        gated.outcome, operation="rollback", ok=decided.ok, verdict=decided, message=message,
        figures={**gated.outcome.figures, "detected": str(gated.verdict.status == "fail").lower()},
    )  # fmt: skip
    journal.current().append("rollback", "rehearsal", app.name, cause=gated.new_version, status=decided.status)
    return RolloutRecord(
        **{name: value for name, value in vars(gated).items() if name not in _OF_THE_GATE}
        | {"verdict": decided, "outcome": outcome}
    )


_OF_THE_GATE = ("detection", "rolled_back", "recovery")


def _detected(gated: GateRecord) -> Check:
    """Check that the evidence failed the version."""
    found: Verdict = gated.verdict
    rule = "the rollout verdict fails while the faulty version runs"
    if found.status != "fail" or gated.detection is None:
        return Check("detected", "fail", found.status, rule, f"the fault was not detected: {found.reason}")
    return Check("detected", "pass", f"after {gated.detection.detect_s or 0.0:.1f} s", rule, found.reason)
