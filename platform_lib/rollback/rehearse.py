"""How fast is a bad version found and taken back? Rehearsed for real, timed from the evidence.

The three times: *detect* from the first pod of the bad version to the failing verdict, *decide* from there to the
chosen target, *recover* from the decision until users and cluster are back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from platform_lib import deploy, journal
from platform_lib.errors import PlatformError, UndoFailed
from platform_lib.model import App, Check, Outcome, Platform, Verdict
from platform_lib.rollback.act import rollback
from platform_lib.rollback.choice import Method, targets
from platform_lib.rollout import RolloutRecord, Watch, record_of, watch_rollout
from platform_lib.rules import downtime, verdict
from platform_lib.rules.verdict import Limits
from platform_lib.wait import now, pause

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Detection:
    """When a fault could be seen, was seen and was certain.

    Attributes:
        verdict: The failing verdict; another status means that nothing was detected in time.
        changed_at: When the version was committed.
        exposed_at: First pod or first answer of the version; None when there was none.
        symptom_at: First failed or slow request after the change; None when there was none.
        detected_at: When the verdict failed; None when it did not.
    """

    verdict: Verdict
    changed_at: datetime
    exposed_at: datetime | None
    symptom_at: datetime | None
    detected_at: datetime | None

    @property
    def detect_s(self) -> float | None:
        """Seconds from exposure to the failing verdict; None when nothing was detected."""
        start = self.exposed_at or self.changed_at
        return None if self.detected_at is None else (self.detected_at - start).total_seconds()


def detect(
    watch: Watch,
    *,
    version: str,
    timeout_s: float = 60.0,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Watch the live verdict on a version and return as soon as it fails.

    Args:
        watch: An entered watch that saw the old version and carries the mark ``change``.
        version: The new version.
        timeout_s: Seconds to watch at most.
        limits: What it is held to.
        progress: Called with each new reason.
    """
    found = watch_rollout(watch, version=version, timeout_s=timeout_s, limits=limits, progress=progress)
    detected = now() if found.status == "fail" else None
    changed = dict(watch.marks).get("change", watch.started_at)
    samples = watch.probe.samples(since=changed)
    slow_ms = watch.limits(limits).slow_ms or np.inf
    symptoms = samples.intended[~samples.good | (samples.latency_ms > slow_ms)]
    answers = samples.intended[samples.version == version]
    moments = [watch.first_pod_of(version), downtime.utc(float(answers[0])) if len(answers) else None]
    return Detection(
        verdict=found,
        changed_at=changed,
        exposed_at=min((moment for moment in moments if moment is not None), default=None),
        symptom_at=downtime.utc(float(symptoms[0])) if len(symptoms) else None,
        detected_at=detected,
    )


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
    settle_s: float = 3.0,
    timeout_s: float = 120.0,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RolloutRecord:
    """Deploy a faulty version under load, detect it from the data, roll it back and prove the recovery.

    The faulty version is taken back also when it was not detected, and after an error or Ctrl-C.

    Args:
        platform: Where.
        app: What.
        image: Image by digest of the faulty version.
        version: Its name.
        env: Its fault switches.
        method: ``revert`` or ``history``.
        rate_rps: Probe rate in requests per second.
        warmup_s: Load before the change.
        settle_s: Load after the recovery.
        timeout_s: Deadline for the detection, and for the recovery.
        limits: What the version is held to.
        progress: Called with each new observation.

    Returns:
        The record; its verdict is about the rehearsal (detected, named, recovered). Figures ``detect_s``,
        ``decide_s``, ``recover_s``, ``rollback_s`` (their sum), ``commit_to_detect_s``, ``requests_failed``, ...
    """
    said = progress or (lambda _line: None)
    with Watch(platform, app, rate_rps=rate_rps) as watch:
        said(f"probing {app.host} at {rate_rps:g} requests/s, {warmup_s:g} s before the change")
        pause(warmup_s)
        watch.mark("change", version=version)
        try:
            deploy.deploy(platform, app, image=image, version=version, env=env, wait=False)
            found = detect(watch, version=version, timeout_s=timeout_s, limits=limits, progress=said)
            watch.mark("detected" if found.detected_at else "not_detected", reason=found.verdict.reason)
        except BaseException:
            _undo(platform, app, version, said)
            raise
        outcome, problem = _take_back(watch, method, timeout_s, said)
        watch.mark("recovered" if problem is None else "not_recovered")
        pause(settle_s)
        watch.mark("end")
        if outcome is not None and method == "history":
            _correct_git(platform, app, outcome, said)
        served = watch.deployed_version()
    return _record(watch, version, found, outcome, problem, served)


def _undo(platform: Platform, app: App, version: str, progress: Progress) -> None:
    """Take the faulty version back after an interruption, if git names it; do not wait.

    Raises:
        UndoFailed: It could not be taken back; it is still what git asks for.
    """
    try:
        newest = targets(platform, app, limit=1)
        if newest and newest[0].revision.version == version:
            progress("interrupted: taking the faulty version back")
            rollback(platform, app, wait=False)
    except PlatformError as error:
        raise UndoFailed(
            f"{app.name} - faulty version {version} could not be taken back: {error.message}",
            hint=f"run apqx rollback {app.name} now",
        ) from error


def _correct_git(platform: Platform, app: App, outcome: Outcome, progress: Progress) -> None:
    """Take the faulty version out of git after a rollback by history, which resumes automation safely."""
    progress("correcting git, so that automation can be resumed")
    rollback(platform, app, to=str(outcome.figures["to_commit"]), progress=progress)


def _take_back(
    watch: Watch, method: Method, timeout_s: float, progress: Progress
) -> tuple[Outcome | None, PlatformError | None]:
    """Roll back; an error of ours becomes part of the record."""
    try:
        outcome = rollback(watch.platform, watch.app, method=method, timeout_s=timeout_s, progress=progress)
    except PlatformError as error:
        progress(f"rollback failed: {error.message}")
        return None, error
    return outcome, None


def _record(
    watch: Watch,
    version: str,
    found: Detection,
    outcome: Outcome | None,
    problem: PlatformError | None,
    served: str,
) -> RolloutRecord:
    """Judge the rehearsal and build its record."""
    figures = _figures(watch, found, outcome)
    checks = [_detected(found), _recovered(outcome, problem, watch.old_version, served), _quiet(watch)]
    decided = verdict.combine(checks)
    message = f"{version}: {found.verdict.reason}" if decided.ok else decided.reason
    journal.current().append("rollback", "rehearsal", watch.app.name, cause=version, figures=figures)
    return record_of(watch, decided, version, operation="rollback", figures=figures, message=message)


def _figures(watch: Watch, found: Detection, outcome: Outcome | None) -> dict[str, float | str | None]:
    """Return the times; recovery ends when the cluster is back and the last request of a user went wrong."""
    if outcome is None or found.detected_at is None:
        return {"detected": str(found.detected_at is not None).lower()}
    decide_s = float(outcome.figures["decide_s"])
    decided = found.detected_at.timestamp() + decide_s
    samples = watch.probe.samples(since=found.detected_at)
    wrong = samples.intended[~samples.good]
    last_wrong_s = float(wrong[-1]) + 1.0 / watch.probe.rate_rps - decided if len(wrong) else 0.0
    recover_s = max(float(outcome.figures["recover_s"]), last_wrong_s)
    detect_s = found.detect_s or 0.0
    return {
        "detect_s": round(detect_s, 3),
        "decide_s": decide_s,
        "recover_s": round(recover_s, 3),
        "rollback_s": round(detect_s + decide_s + recover_s, 3),
        "users_recovered_s": round(max(last_wrong_s, 0.0), 3),
        "commit_to_detect_s": round((found.detected_at - found.changed_at).total_seconds(), 3),
        "symptom_to_detect_s": _between(found.symptom_at, found.detected_at),
        "detected_by": found.verdict.reason,
        "commit": str(outcome.figures["commit"]),
        "to_version": str(outcome.figures["to_version"]),
    }


def _between(first: datetime | None, last: datetime | None) -> float | None:
    """Return seconds between two moments, None when one never came."""
    return None if first is None or last is None else round((last - first).total_seconds(), 3)


def _detected(found: Detection) -> Check:
    """Check that the evidence failed the version."""
    rule = "the rollout verdict fails while the faulty version runs"
    if found.detected_at is None:
        reason = f"the fault was not detected: {found.verdict.reason}"
        return Check("detected", "fail", found.verdict.status, rule, reason)
    return Check("detected", "pass", f"after {found.detect_s:.1f} s", rule, found.verdict.reason)


def _recovered(outcome: Outcome | None, problem: PlatformError | None, before: str, served: str) -> Check:
    """Check that the version from before runs again."""
    rule = f"the version from before ({before or 'none'}) runs again on every pod"
    if outcome is None:
        return Check("recovered", "fail", served, rule, problem.message if problem else "no rollback")
    if before and served != before:
        return Check("recovered", "fail", served, rule, f"{served} runs, {before} was expected")
    return Check("recovered", "pass", served, rule, "")


def _quiet(watch: Watch) -> Check:
    """Check that no request failed after the recovery."""
    since = dict(watch.marks).get("recovered")
    result = watch.probe.result(since=since) if since else None
    rule = "no request fails after the recovery"
    if result is None or result.sent == 0:
        return Check("service", "not_enough_data", "no request after the recovery", rule, "settle longer")
    value = f"{result.failed} of {result.sent} failed"
    reason = f"{value} after the recovery" if result.failed else ""
    return Check("service", "fail" if result.failed else "pass", value, rule, reason)
