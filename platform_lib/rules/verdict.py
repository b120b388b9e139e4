"""Is this rollout good? One verdict from Argo CD, Deployment, pods, errors, latency and probe; pure.

Every check states the value it saw, the rule it was held to and the reason. ``not_enough_data`` is an answer
of its own and says what would be enough. Any failure fails the whole; more failures never turn it to pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from platform_lib.model import Check, Status, Verdict, joined
from platform_lib.rules.downtime import Samples, failure_upper_bound
from platform_lib.rules.sequential import Bin, against_objective, alarms_after, compare, pair
from platform_lib.rules.workload import PodFailure, hopeless

_BIN_S, _WIDEST_BIN_S, _PER_BIN = 0.25, 2.0, 50
"""A bin is as short as the rate allows: with a handful of requests in it, its share of traffic is mostly noise,
and that noise costs the comparison its power (a fifth of 20 requests/s, twice as many errors: found after 28
minutes with bins of 1 s, after 18 with bins of 2 s; see benchmarks/gate.py)."""
_TESTS = 5
"""Lost requests, errors of new, errors against old, slow requests, latency: each may raise a false alarm."""
_FEW = 20
"""Fewer requests do not make a ratio."""
_MAX_PAIRS = 1500
"""Values per side for the shift; its cost grows with the product of both."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a rollout is held to.

    Attributes:
        alpha: Chance of a false alarm over a whole rollout, however often it is judged; its tests share it.
        error_objective: Allowed ratio of failed requests of the new version (SLO of 99 %).
        lost_objective: Allowed ratio of failed requests whoever answered; a rolling update should lose none.
        slow_ms: A request above this is slow; 0 disables the check.
        slow_ratio: Ratio of slow requests of the new version that matters; below it no alarm is raised.
        latency_margin_ms: Shift of the median that is accepted in any case.
        latency_margin_ratio: Shift accepted as a part of the old median.
        min_latency_samples: Successful requests wanted of each version.
        ready_within_s: A pod of the new version that is not ready after this fails the rollout; a good one
            takes about two seconds, and a Deployment's own deadline is a minute or ten.
    """

    alpha: float = 0.01
    error_objective: float = 0.01
    lost_objective: float = 0.001
    slow_ms: float = 0.0
    slow_ratio: float = 0.05
    latency_margin_ms: float = 20.0
    latency_margin_ratio: float = 0.5
    min_latency_samples: int = 50
    ready_within_s: float = 15.0

    @property
    def level(self) -> float:
        """Chance of a false alarm that one test may have, so that all of them together keep ``alpha``."""
        return self.alpha / _TESTS

    @property
    def enough_requests(self) -> int:
        """Requests of the new version that prove the error objective when none fails (rule of three)."""
        return ceil(3.0 / self.error_objective)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a rollout at one moment.

    Attributes:
        new_version, old_version: Version names as the probe sees them in answers.
        samples: Probe samples from warm-up to now; None when there is no probe.
        changed_at: Unix seconds of the change; what failed before it is not held against the new version.
        failures: Pods of the new version that fail.
        unready: Pods of the new version that are not ready, each with why.
        unready_s: How long the oldest of them exists, in seconds.
        deployment_done, deployment_failed, deployment_seen: From ``workload.rollout_progress``.
        argocd_done, argocd_failed, argocd_seen: From ``application.judge``.
        finished: The observation is over: latency is compared, and "in progress" becomes a verdict.
    """

    new_version: str
    old_version: str
    samples: Samples | None = None
    changed_at: float = 0.0
    failures: Sequence[PodFailure] = field(default=())
    unready: Sequence[str] = field(default=())
    unready_s: float = 0.0
    deployment_done: bool = False
    deployment_failed: str = ""
    deployment_seen: str = "not observed"
    argocd_done: bool = False
    argocd_failed: str = ""
    argocd_seen: str = "not observed"
    finished: bool = False


def judge(seen: Seen, limits: Limits | None = None) -> Verdict:
    """Return the verdict on a rollout.

    Args:
        seen: What is known now.
        limits: What it is held to; the defaults fit a service with an SLO of 99 %.
    """
    limits = limits or Limits()
    checks = [_pods(seen, limits), _deployment(seen), _argocd(seen)]
    if seen.samples is not None:
        checks += _requests(seen, seen.samples, limits)
    return combine(checks)


def combine(checks: Sequence[Check]) -> Verdict:
    """Join checks: the worst decides, and its reason is given."""
    for status in ("fail", "not_enough_data", "inconclusive"):
        of_status = [check for check in checks if check.status == status]
        if of_status:
            return Verdict(status, joined(_sentence(check) for check in of_status), tuple(checks))
    return Verdict("pass", f"all {len(checks)} checks passed", tuple(checks))


def _sentence(check: Check) -> str:
    """Return the reason of a check with its name in front."""
    return f"{check.name}: {check.reason or check.value}"


def _pods(seen: Seen, limits: Limits) -> Check:
    """Fail on pods that will not recover or do not get ready, name each with its reason."""
    rule = f"no pod of the new version fails, each is ready within {limits.ready_within_s:.0f} s"
    if seen.failures:
        named = joined(str(failure) for failure in seen.failures[:5])
        status: Status = "fail" if hopeless(seen.failures) else "inconclusive"
        return Check("pods", status, f"{len(seen.failures)} failing", rule, named)
    if seen.unready and seen.unready_s > limits.ready_within_s:
        value = f"{len(seen.unready)} not ready after {seen.unready_s:.0f} s"
        return Check("pods", "fail", value, rule, joined(seen.unready[:5]))
    return Check("pods", "pass", "no failing pod", rule, "")


def _deployment(seen: Seen) -> Check:
    """Judge the Deployment's own progress; pods that hold it up are named."""
    rule = "every replica runs the new template and is available"
    held_up = f" [{joined(seen.unready[:3])}]" if seen.unready else ""
    if seen.deployment_failed:
        return Check("deployment", "fail", seen.deployment_seen, rule, seen.deployment_failed + held_up)
    return _progress("deployment", seen.deployment_done, seen.deployment_seen + held_up, rule, seen.finished)


def _argocd(seen: Seen) -> Check:
    """Judge operation, sync and health."""
    rule = "operation succeeded, Synced at the commit, Healthy"
    if seen.argocd_failed:
        return Check("argocd", "fail", seen.argocd_seen, rule, seen.argocd_failed)
    return _progress("argocd", seen.argocd_done, seen.argocd_seen, rule, seen.finished)


def _progress(name: str, done: bool, value: str, rule: str, finished: bool) -> Check:
    """Pass when done; a rollout that did not finish in its time has failed."""
    if done:
        return Check(name, "pass", value, rule, "")
    reason = "did not finish in the time given" if finished else "in progress"
    return Check(name, "fail" if finished else "inconclusive", value, rule, f"{reason}: {value}")


def _requests(seen: Seen, samples: Samples, limits: Limits) -> list[Check]:
    """Judge what the probe saw."""
    new, old = samples.version == seen.new_version, samples.version == seen.old_version
    bad = ~samples.good
    baseline = _baseline(samples.between(until=seen.changed_at), limits)
    absolute = [
        _lost(samples.between(since=seen.changed_at), limits),
        _errors(int((bad & new).sum()), int(new.sum()), limits),
    ]
    if baseline.status != "pass":  # what failed before the change already is not held against the new version
        absolute = [replace(one, status="inconclusive") if one.status == "fail" else one for one in absolute]
    checks = [baseline, *absolute, _compare_errors(_bins(samples, new, old, bad), int(new.sum()), limits)]
    during = old & (samples.intended >= seen.changed_at)
    if limits.slow_ms > 0:
        slow = samples.latency_ms > limits.slow_ms
        # Where the old version became slow too, only requests of the same moment may be compared.
        fair = samples.intended >= (seen.changed_at if _ratio(slow, during) >= limits.slow_ratio else -np.inf)
        checks.append(_slow(_bins(samples, new & fair, old & fair, slow), limits))
    if seen.finished:
        good, ms = samples.good, samples.latency_ms
        checks.append(latency(ms[new & good], slower(ms[old & good & ~during], ms[during & good], limits), limits))
    return checks


def _ratio(bad: npt.NDArray[Any], among: npt.NDArray[Any]) -> float:
    """Return the ratio of bad ones among some requests, 0 for too few to speak of one."""
    return float(bad[among].mean()) if among.sum() >= _FEW else 0.0


def slower(before: npt.NDArray[Any], during: npt.NDArray[Any], limits: Limits) -> npt.NDArray[Any]:
    """Return what the new version's latency is held against: the old one before the change or beside the new one.

    Whichever is slower, so that a machine that became busy is not held against the version.

    Args:
        before: Latencies of the old version before the change in milliseconds.
        during: Its latencies since then.
        limits: How many make a sample.
    """
    enough = len(during) >= limits.min_latency_samples
    if len(before) < limits.min_latency_samples:
        return np.concatenate((before, during))
    return during if enough and float(np.median(during)) > float(np.median(before)) else before


def confirmed(found: Verdict, new: npt.NDArray[Any], after: npt.NDArray[Any], limits: Limits) -> Verdict:
    """Hold a failure that rests on latency alone against the old version after the rollback.

    Old, new, old again: if the old one is as slow now, it was not the version that was slow.

    Args:
        found: The failing verdict.
        new: Latencies of the new version in milliseconds.
        after: Latencies of the old version after the rollback.
        limits: What the version was held to, with what counts as slow.

    Returns:
        The same verdict, or ``inconclusive`` with the reason.
    """
    failing = {check.name for check in found.checks if check.status == "fail"}
    if not failing or not failing <= {"slow requests", "latency"} or len(after) < limits.min_latency_samples:
        return found
    slow_new, slow_after = (float((ms > limits.slow_ms).mean()) if len(ms) else 0.0 for ms in (new, after))
    if slow_after < limits.slow_ratio and latency(new, after, limits).status == "fail":
        return found
    if "latency" not in failing and slow_after < slow_new / 2:
        return found
    value = f"{slow_after:.0%} of its requests are slow, median {float(np.median(after)):.1f} ms"
    reason = f"the old version is slow too after the rollback ({value}): the surroundings, not this version"
    again = Check("old again", "inconclusive", value, "the old version is faster again after the rollback", reason)
    softened = [replace(check, status="inconclusive") if check.name in failing else check for check in found.checks]
    return Verdict("inconclusive", f"{found.reason}; but {reason}", (*softened, again))


def _baseline(before: Samples, limits: Limits) -> Check:
    """Say when service was bad before the change already: then a verdict proves nothing."""
    failed, sent = int((~before.good).sum()), len(before.intended)
    value, rule = f"{failed} of {sent} failed", f"at most {limits.error_objective:.1%} fail before the change"
    if sent and failed / sent > limits.error_objective:
        reason = f"{value} before the change already ({kinds(before)})"
        return Check("baseline", "inconclusive", value, rule, reason)
    return Check("baseline", "pass", value, rule, "")


def _lost(after: Samples, limits: Limits) -> Check:
    """Judge requests lost to users since the change, whoever should have answered."""
    failed, sent = int((~after.good).sum()), len(after.intended)
    bound = failure_upper_bound(failed, sent)
    value = f"{failed} of {sent} failed" + (f", true ratio up to {bound:.3%}" if bound is not None else "")
    rule = f"at most {limits.lost_objective:.2%} of requests fail, false alarm at most {limits.level:.1%}"
    if failed == 0:
        return Check("lost requests", "pass", value, rule, "")
    evidence = against_objective(failed, sent, limits.lost_objective)
    if evidence.m >= 1 / limits.level and evidence.worse:
        reason = f"{failed / sent:.2%} of requests failed ({kinds(after)})"
        return Check("lost requests", "fail", value, rule, reason)
    status: Status = "inconclusive" if failed / sent > limits.lost_objective else "pass"
    reason = f"more than allowed, too few to be sure ({kinds(after)})" if status == "inconclusive" else ""
    return Check("lost requests", status, value, rule, reason)


def kinds(samples: Samples) -> str:
    """Name the kinds of failures with their count and the version that gave them, most frequent first."""
    bad = ~samples.good
    named = np.where(samples.error != "", samples.error, samples.status.astype(str))[bad]
    counts = Counter(zip(named.tolist(), samples.version[bad].tolist(), strict=True))
    shown = [
        f"{count} x {kind}" + (f" from {version}" if version else "")
        for (kind, version), count in counts.most_common(4)
    ]
    return joined(shown)


def _errors(bad: int, total: int, limits: Limits) -> Check:
    """Hold the new version against the objective, whatever the old one did."""
    name, value = "errors of new", f"{bad} of {total} failed"
    rule = f"at most {limits.error_objective:.1%} fail, false alarm at most {limits.level:.1%}"
    evidence = against_objective(bad, total, limits.error_objective)
    if evidence.m >= 1 / limits.level and evidence.worse:
        return Check(name, "fail", value, rule, f"{bad / total:.1%} of its requests failed (M = {evidence.m:.3g})")
    if total < limits.enough_requests:
        reason = f"needs {limits.enough_requests} requests of the new version, saw {total}"
        return Check(name, "not_enough_data", value, rule, reason)
    bound = failure_upper_bound(bad, total) or 0.0
    if bad / total > limits.error_objective:
        reason = f"ratio {bad / total:.2%} is above the objective, too few to be sure"
        return Check(name, "inconclusive", value, rule, reason)
    return Check(name, "pass", f"{value}, true ratio up to {bound:.2%}", rule, "")


def _compare_errors(bins: Sequence[Bin], total: int, limits: Limits) -> Check:
    """Hold the new version against the old one under the same traffic."""
    steps = pair(bins)
    evidence = compare(steps)
    value = (
        f"{evidence.new_bad} of {evidence.bad} failures, {evidence.expected_new_bad:.1f} expected, M = {evidence.m:.3g}"
    )
    rule = f"M below {1 / limits.level:.0f} (beta-binomial, anytime valid)"
    if evidence.m >= 1 / limits.level and evidence.worse:
        return Check("errors against old", "fail", value, rule, "fails more often than the old version")
    if not any(0 < step.share < 1 for step in steps) or total < limits.enough_requests:
        enough = f"{limits.enough_requests} requests of the new and some of the old version"
        reason = f"needs {enough}; {alarms_after(limits.level)} failures of the new one alone would fail it"
        return Check("errors against old", "not_enough_data", value, rule, reason)
    if evidence.worse and evidence.m >= 0.1 / limits.level:
        return Check("errors against old", "inconclusive", value, rule, "evidence is building up")
    return Check("errors against old", "pass", value, rule, "")


def _slow(bins: Sequence[Bin], limits: Limits) -> Check:
    """Hold slow requests of the new version against the old one; a small ratio never alarms."""
    evidence = compare(pair(bins))
    new, slow = sum(part.new for part in bins), sum(part.new_bad for part in bins)
    ratio = slow / new if new else 0.0
    value = f"{slow} of {new} above {limits.slow_ms:.0f} ms, M = {evidence.m:.3g}"
    rule = f"M below {1 / limits.level:.0f}, or less than {limits.slow_ratio:.0%} slow"
    if evidence.m >= 1 / limits.level and evidence.worse and ratio >= limits.slow_ratio:
        return Check("slow requests", "fail", value, rule, f"{ratio:.0%} of its requests are slow")
    return Check("slow requests", "pass", value, rule, "")


def latency(new: npt.NDArray[Any], old: npt.NDArray[Any], limits: Limits) -> Check:
    """Compare latency once, at the end: Mann-Whitney for "greater", Hodges-Lehmann for "by how much".

    Args:
        new: Latencies of successful requests of the new version in milliseconds.
        old: The same of the old version.
        limits: Margins and level.

    Source: Hodges & Lehmann 1963; the shift is the median of all pairwise differences. A test that is
    repeated while data comes in would raise false alarms in 32 % of good rollouts (30 looks).
    """
    margin = max(limits.latency_margin_ms, limits.latency_margin_ratio * float(np.median(old)) if len(old) else 0)
    rule = f"not greater (Mann-Whitney, {limits.level:.1%}) by more than {margin:.0f} ms"
    if min(len(new), len(old)) < limits.min_latency_samples:
        reason = f"needs {limits.min_latency_samples} successful requests of each version"
        return Check("latency", "not_enough_data", f"{len(new)} new, {len(old)} old", rule, reason)
    from scipy.stats import mannwhitneyu

    thin_new, thin_old = thinned(new), thinned(old)
    test = mannwhitneyu(thin_new, thin_old, alternative="greater")
    shift = float(np.median(np.subtract.outer(thin_new, thin_old)))
    greater = float(test.statistic) / (len(thin_new) * len(thin_old))
    value = f"shift {shift:+.1f} ms, p = {float(test.pvalue):.2g}, new slower in {greater:.0%} of pairs"
    if test.pvalue < limits.level and shift > margin:
        return Check("latency", "fail", value, rule, f"the new version is {shift:.0f} ms slower")
    return Check("latency", "pass", value, rule, "")


def enough(seen: Seen, limits: Limits, *, rate_rps: float, settle_s: float) -> str:
    """Say how a gate that lacks data would get it.

    Args:
        seen: What it had.
        limits: What it was held to.
        rate_rps: Probe rate it had, in requests per second.
        settle_s: How long it looked after the rollout, in seconds.

    Returns:
        A longer look at this rate, or a higher rate for this long; for the old version a longer look before.
    """
    if seen.samples is None:
        return "a probe"
    answered = seen.samples.good
    new, old = seen.samples.version == seen.new_version, seen.samples.version == seen.old_version
    short = max(limits.enough_requests - int(new.sum()), limits.min_latency_samples - int((new & answered).sum()), 0)
    parts = []
    if short:
        longer_s = ceil(settle_s + 1.2 * short / rate_rps)
        higher = ceil(rate_rps + 1.2 * short / max(settle_s, 1.0))
        parts.append(f"{longer_s} s after the rollout, or {higher} requests/s")
    missing = limits.min_latency_samples - int((old & answered).sum())
    if missing > 0:
        parts.append(f"{ceil(1.2 * missing / rate_rps)} s more before the change, while the old version answers")
    return "; ".join(parts) or "old and new version answering at the same time, at a higher rate"


def thinned(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Keep at most 1500 values, evenly over time, so that the same data gives the same answer."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) <= _MAX_PAIRS:
        return values
    chosen: npt.NDArray[np.float64] = values[np.linspace(0, len(values) - 1, _MAX_PAIRS).astype(int)]
    return chosen


def _bins(samples: Samples, new: npt.NDArray[Any], old: npt.NDArray[Any], bad: npt.NDArray[Any]) -> list[Bin]:
    """Count requests of both versions per bin, in order of time."""
    if len(samples.intended) == 0:
        return []
    elapsed = samples.intended - samples.intended[0]
    width_s = float(np.clip(_PER_BIN * elapsed[-1] / len(elapsed), _BIN_S, _WIDEST_BIN_S))
    slot = (elapsed // width_s).astype(np.int64)
    size = int(slot[-1]) + 1
    columns = [np.bincount(slot[chosen], minlength=size) for chosen in (new, new & bad, old, old & bad)]
    return [Bin(*(int(value) for value in row)) for row in zip(*columns, strict=True)]


def slow_threshold_ms(old_latency: npt.NDArray[Any]) -> float:
    """Return what counts as slow: four times the old 99th percentile, at least 100 ms; 0 without data."""
    return max(100.0, 4.0 * float(np.percentile(old_latency, 99))) if len(old_latency) else 0.0
