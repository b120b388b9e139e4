"""What does a gate hand back? The record with its verdict, the times, and which error it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_lib import journal
from platform_lib.errors import GateFailed, GateUndecided, UndoFailed
from platform_lib.gate.detection import Detection
from platform_lib.gate.proof import TakenBack, judged, requests_after
from platform_lib.model import Check, Outcome, Verdict
from platform_lib.rollout import RolloutRecord, Watch, record_of
from platform_lib.rules import verdict
from platform_lib.rules.verdict import Limits


@dataclass(frozen=True)
class GateRecord(RolloutRecord):
    """Everything that was seen of a gated deploy.

    ``verdict`` is about the version: ``pass``, ``fail``, ``not_enough_data`` or ``inconclusive``.

    Attributes:
        detection: When the fault could be seen, was seen and was certain.
        rolled_back: Whether the version was taken back.
        recovery: Whether that worked: ``recovered`` (the old version runs everywhere) and ``service`` (its users
            have it back). None when nothing was taken back.
    """

    detection: Detection | None = None
    rolled_back: bool = False
    recovery: Verdict | None = None

    def require_pass(self) -> None:
        """Raise unless the version passed.

        Raises:
            GateFailed: It failed and was taken back; carries the verdict.
            GateUndecided: The evidence does not decide; the version still runs, or was taken back if asked.
            UndoFailed: It failed and the recovery is not proven.
        """
        if self.verdict.ok:
            return
        if self.recovery is not None and not self.recovery.ok:
            raise UndoFailed(
                f"gate {self.new_version} - {self.verdict.reason}; taken back, but {self.recovery.reason}",
                hint="see apqx status and apqx logs",
                verdict=self.verdict,
            )
        said = f"gate {self.new_version} - {self.verdict.status}: {self.verdict.reason}"
        if self.verdict.status == "fail":
            raise GateFailed(
                f"{said}; rolled back to {self.old_version}",
                hint="correct it and deploy it under a new version",
                verdict=self.verdict,
            )
        what = f"rolled back to {self.old_version}" if self.rolled_back else f"{self.new_version} still runs"
        raise GateUndecided(f"{said}; {what}", hint="judge it again with more requests", verdict=self.verdict)

    def require_recovered(self) -> None:
        """Raise unless a bad version was found, taken back, and the recovery proven.

        Raises:
            GateFailed: It was not found.
            UndoFailed: It was not taken back, or the recovery is not proven.
        """
        if self.verdict.status != "fail":
            raise GateFailed(
                f"gate {self.new_version} - not found out: {self.verdict.status}, {self.verdict.reason}",
                hint="probe longer or at a higher rate, or make the fault larger",
                verdict=self.verdict,
            )
        if self.recovery is None or not self.recovery.ok:
            self.require_pass()


def headline(record: GateRecord) -> str:
    """Return the one line that a summary shows of a gated deploy."""
    figures = record.outcome.figures
    if not record.rolled_back or "detect_s" not in figures:
        return f"{record.verdict.status}: {record.verdict.reason}"
    times = ", ".join(f"{name} {figures[f'{name}_s']:.1f} s" for name in ("detect", "decide", "recover"))
    return f"{record.verdict.status}, rolled back: {times}"


def build(
    watch: Watch, version: str, found: Detection, taken: TakenBack | None, served: str, limits: Limits
) -> GateRecord:
    """Build the record of a finished watch and write it to the journal.

    Args:
        watch: The watch, left.
        version: The version under judgement.
        found: Its detection.
        taken: The rollback, None when there was none.
        served: The version that the Deployment asked for at the end.
        limits: What the version, and the service after a recovery, were held to.
    """
    recovery = _recovery(watch, version, taken, served, limits.error_objective) if taken is not None else None
    decided = _confirmed(watch, version, found.verdict, limits) if taken is not None else found.verdict
    figures = times(watch, version, found, taken.outcome if taken else None) | {
        "rolled_back": taken is not None and taken.outcome is not None
    }
    message = f"{watch.old_version} to {version}: {decided.reason}"
    message += f"; {_said(watch, taken, recovery)}" if recovery is not None else ""
    made = record_of(watch, decided, version, operation="gate", figures=figures, message=message)
    journal.current().append(
        "gate",
        "outcome",
        watch.app.name,
        cause=version,
        status=decided.status,
        recovered=recovery.status if recovery is not None else "",
        **figures,
    )
    return GateRecord(**vars(made), detection=found, rolled_back=bool(figures["rolled_back"]), recovery=recovery)


def _confirmed(watch: Watch, version: str, found: Verdict, limits: Limits) -> Verdict:
    """Hold a failure by latency against the old version after the rollback."""
    samples, after = watch.probe.samples(), requests_after(watch, version)
    new = samples.latency_ms[samples.good & (samples.version == version)]
    return verdict.confirmed(found, new, after.latency_ms[after.good], watch.limits(limits))


def _said(watch: Watch, taken: TakenBack | None, recovery: Verdict) -> str:
    """Say in a few words how the way back ended."""
    if taken is None or taken.outcome is None:
        return f"NOT rolled back: {recovery.reason}"
    return f"rolled back to {watch.old_version}, " + (
        "recovery proven" if recovery.ok else f"recovery NOT proven: {recovery.reason}"
    )


def _recovery(watch: Watch, version: str, taken: TakenBack, served: str, objective: float) -> Verdict:
    """Judge the way back: the cluster first, then the users."""
    checks = [_back(taken, watch.old_version, served)]
    if taken.outcome is not None:
        checks.append(judged(watch, version, objective))
    return verdict.combine(checks)


def _back(taken: TakenBack, before: str, served: str) -> Check:
    """Check that the version from before runs again."""
    rule = f"the version from before ({before or 'none'}) runs again on every pod"
    if taken.outcome is None:
        return Check("recovered", "fail", served, rule, taken.problem.message if taken.problem else "no rollback")
    if before and served != before:
        return Check("recovered", "fail", served, rule, f"{served} runs, {before} was expected")
    return Check("recovered", "pass", served, rule, "")


def times(watch: Watch, version: str, found: Detection, outcome: Outcome | None) -> dict[str, Any]:
    """Return the times of detection and recovery; empty when nothing was taken back.

    Recovery ends when the cluster is back, the last request of a user went wrong, and the bad version answered
    for the last time, whichever is latest.
    """
    if outcome is None:
        return {}
    decide_s = float(outcome.figures["decide_s"])
    base = {"commit": outcome.figures["commit"], "to_version": outcome.figures["to_version"], "decide_s": decide_s}
    if found.detected_at is None:
        return base | {"recover_s": float(outcome.figures["recover_s"])}
    detect_s = found.detect_s or 0.0
    wrong_s = _users_wrong_until_s(watch, version, found.detected_at.timestamp() + decide_s)
    recover_s = max(float(outcome.figures["recover_s"]), wrong_s)
    return (
        base
        | {
            "detect_s": round(detect_s, 3),
            "recover_s": round(recover_s, 3),
            "rollback_s": round(detect_s + decide_s + recover_s, 3),
            "users_recovered_s": round(wrong_s, 3),
            "commit_to_detect_s": _between(found.changed_at, found.detected_at),
            "symptom_to_detect_s": _between(found.symptom_at, found.detected_at),
            "detected_by": found.verdict.reason,
        }
        | _proof_figures(watch, version)
    )


def _users_wrong_until_s(watch: Watch, version: str, decided: float) -> float:
    """Return seconds from the decision to the last request that failed or met the bad version."""
    samples = watch.probe.samples().between(decided)
    wrong = samples.intended[~samples.good | (samples.version == version)]
    return float(wrong[-1]) + 1.0 / watch.probe.rate_rps - decided if len(wrong) else 0.0


def _proof_figures(watch: Watch, version: str) -> dict[str, Any]:
    """Return what the recovery was proven with."""
    after, marks = requests_after(watch, version), dict(watch.marks)
    verified = marks.get("proven") or marks.get("not_proven")
    return {
        "proof_requests": len(after.intended),
        "proof_failed": int((~after.good).sum()),
        "verify_s": _between(marks.get("recovered"), verified),
    }


def _between(first: datetime | None, last: datetime | None) -> float | None:
    """Return seconds between two moments, None when one never came."""
    return None if first is None or last is None else round((last - first).total_seconds(), 3)
