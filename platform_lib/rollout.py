"""What happened while a version rolled out? Watch it under constant load and judge it from the evidence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from types import TracebackType
from typing import TYPE_CHECKING, Any

from platform_lib import journal, metrics, restore, sync
from platform_lib.errors import GateFailed, PlatformError
from platform_lib.model import App, Obj, Outcome, Platform, ProbeResult, Verdict, joined
from platform_lib.operation import operation
from platform_lib.rules import application, manifests, verdict, workload
from platform_lib.rules.lanes import Lanes
from platform_lib.rules.verdict import Limits, Seen
from platform_lib.wait import Deadline, now, pause
from platform_lib.wire.git import repository
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, PODS, connect
from platform_lib.wire.probe import Probe, start_probe

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str], None]
Marks = tuple[tuple[str, datetime], ...]
_LOOK_S = 0.25
"""Time between two looks at the probe; the test may be looked at as often as one likes."""
_SERIES = ("request_rate", "error_ratio", "latency_p99")


@dataclass(frozen=True)
class RolloutRecord:
    """Everything that was seen of one rollout or rollback.

    Attributes:
        probe: What users saw.
        samples: One row per request, see ``Probe.frame``.
        pods: One row per pod: ``pod``, ``version``, ``node``, ``created_at``, ``deleted_at``, ``terminating_at``,
            ``restarts``, ``reason``, ``ready_spans`` (list of (from, to), an open one ends with None).
        series: What Prometheus says by version; empty where it could not be asked (see ``notes``).
        verdict: The decision with its evidence.
        outcome: Result and figures.
        marks: Moments by name, in order.
        old_version, new_version: What was compared.
        notes: What could not be observed, and why.
    """

    probe: ProbeResult
    samples: pd.DataFrame
    pods: pd.DataFrame
    verdict: Verdict
    outcome: Outcome
    marks: Marks
    old_version: str
    new_version: str
    series: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def require_pass(self) -> None:
        """Raise unless the verdict is ``pass``.

        Raises:
            GateFailed: Carries the verdict and says why.
        """
        if not self.outcome.ok:
            raise GateFailed(
                f"{self.outcome.operation} {self.new_version} - {self.verdict.status}: {self.verdict.reason}",
                hint="roll back with apqx rollback, or deploy a corrected version",
                verdict=self.verdict,
            )

    def require_recovered(self) -> None:
        """Raise unless the fault was detected and service recovered; the same rule under a clearer name."""
        self.require_pass()

    def _repr_html_(self) -> str:
        return self.outcome._repr_html_()


class Watch:
    """Watches one application: probe, pods and marks, from entering to leaving.

    Args:
        platform: Where.
        app: What.
        rate_rps: Probe rate.
        timeout_s: Time-out of one request.
        source: Under which source its marks are in the journal.
    """

    def __init__(
        self, platform: Platform, app: App, *, rate_rps: float, timeout_s: float = 2.0, source: str = "rollout"
    ) -> None:
        self.platform, self.app, self.source = platform, app, source
        self.started_at = now()
        self.probe: Probe = start_probe(platform, app, rate_rps=rate_rps, timeout_s=timeout_s)
        self.lanes = Lanes(self.started_at)
        self.marks: list[tuple[str, datetime]] = []
        self._wanted: Callable[[str], bool] = bool
        self._lock = threading.Lock()
        self._view = sync.follow(platform, app, on_event=self._event)
        deployment = sync.require_own_pods(platform, app)
        self.old_version = manifests.version_of(deployment or {})

    def __enter__(self) -> Watch:
        self.probe.start()
        try:
            self._view.__enter__()
        except BaseException:
            self.probe.stop()
            raise
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        try:
            self._view.close()
        finally:
            self.probe.stop()

    def _event(self, gvr: str, kind: str, obj: Obj) -> None:
        """Keep the life of each pod; runs in a watcher thread."""
        if gvr == PODS:
            with self._lock:
                self.lanes.record(kind, obj, now())

    def mark(self, name: str, **data: Any) -> datetime:
        """Note a moment, in the journal too."""
        at = now()
        self.marks.append((name, at))
        journal.current().append(self.source, name, self.app.name, **data)
        return at

    def expect(self, revision: str) -> None:
        """Judge Argo CD by this commit from now on; without it, whatever it syncs to counts."""
        self._wanted = sync.Wanted(repository(self.platform), self.app, revision)

    def first_pod_of(self, version: str) -> datetime | None:
        """Return when the first pod of a version appeared."""
        with self._lock:
            return self.lanes.first_of(version)

    def deployed_version(self) -> str:
        """Return the version that the Deployment asks for now."""
        return manifests.version_of(self._view.find(DEPLOYMENTS, self.app.name) or {})

    def deployment_done(self) -> bool:
        """Tell whether every replica runs the latest template."""
        return workload.rollout_progress(self._view.find(DEPLOYMENTS, self.app.name)).done

    def rolled_out(self, version: str) -> bool:
        """Tell whether every replica runs that version."""
        return self.deployed_version() == version and self.deployment_done()

    def wait(self, timeout_s: float) -> None:
        """Wait for a change of the application, at most so long."""
        self._view.wait(timeout_s)

    def seen(self, *, new_version: str, finished: bool = False) -> Seen:
        """Join what is known now."""
        found, pods = self._view.find(DEPLOYMENTS, self.app.name), self._view.items(PODS)
        progress = workload.rollout_progress(found)
        asked = manifests.version_of(found or {}) == new_version
        argocd = application.judge(
            self._view.find(APPLICATIONS, self.app.application_name), wanted=self._wanted, since=self._changed_at()
        )
        return Seen(
            new_version=new_version,
            old_version=self.old_version if self.old_version != new_version else "",
            samples=self.probe.samples(),
            changed_at=self._changed_at().timestamp(),
            failures=workload.pod_failures(pods, version=new_version, max_restarts=1),
            unready=self._explained(workload.not_ready(pods, version=new_version)),
            unready_s=self._unready_s(new_version),
            deployment_done=progress.done and asked,
            deployment_failed=progress.failed if asked else "",
            deployment_seen=progress.seen,
            argocd_done=argocd.done,
            argocd_failed=argocd.failed,
            argocd_seen=argocd.seen,
            finished=finished,
        )

    def _explained(self, unready: list[str]) -> list[str]:
        """Add what the node reported last about each pod, because a condition only says "unready"."""
        kube = connect(self.platform)
        found = []
        for line in unready[:3]:
            warnings = [
                e for e in kube.events(self.app.namespace, name=line.partition(":")[0]) if e.get("type") != "Normal"
            ]
            found.append(f"{line} ({warnings[-1].get('message')})" if warnings else line)
        return found + unready[3:]

    def _unready_s(self, version: str) -> float:
        """Return for how long the oldest pod of a version has existed without being ready once."""
        with self._lock:
            lanes = [lane for lane in self.lanes.rows() if lane.version == version and not lane.deleted_at]
        waiting = [lane.created_at for lane in lanes if not lane.ready_spans]
        return (now() - min(waiting)).total_seconds() if waiting else 0.0

    def _changed_at(self) -> datetime:
        """Return when the change under watch was made; failures before it do not count."""
        return next((at for name, at in self.marks if name == "change"), self.started_at)

    def limits(self, limits: Limits | None) -> Limits:
        """Complete limits by what counts as slow, learned from the old version before the change."""
        limits = limits or Limits()
        if limits.slow_ms:
            return limits
        before = self.probe.samples(until=self._changed_at())
        return replace(limits, slow_ms=verdict.slow_threshold_ms(before.latency_ms[before.good]))

    def pods_frame(self) -> pd.DataFrame:
        """Return the life of each pod, columns as in ``RolloutRecord.pods``."""
        import pandas as pd

        columns = ["pod", "version", "node", "created_at", "deleted_at", "terminating_at", "restarts", "reason"]
        columns.append("ready_spans")
        with self._lock:
            rows = [{name: getattr(lane, name) for name in columns} for lane in self.lanes.rows()]
        return pd.DataFrame(rows, columns=columns)


def watch_rollout(
    watch: Watch,
    *,
    version: str,
    timeout_s: float,
    until: Callable[[Verdict], bool] = lambda found: found.status == "fail",
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Judge a rollout again and again while it runs, and return as soon as ``until`` is satisfied.

    Args:
        watch: An entered watch that saw the old version before the change.
        version: The new version.
        timeout_s: Seconds to watch at most; then the last verdict is returned.
        until: When to return; the default is the first failure.
        limits: What the rollout is held to.
        progress: Called with each new reason.
    """
    held_to = watch.limits(limits)
    deadline, said = Deadline(timeout_s), ""
    while True:
        found = verdict.judge(watch.seen(new_version=version), held_to)
        summary = f"{found.status}: {joined(check.name for check in found.checks if check.status == found.status)}"
        if summary != said and progress is not None:
            progress(f"{found.status}: {found.reason}")
        said = summary
        if until(found) or deadline.expired():
            return found
        watch.wait(min(_LOOK_S, max(deadline.left_s, 0.01)))


@operation("observe", still=restore.moved, undo=restore.take_back)
def observe(
    platform: Platform,
    app: App,
    *,
    action: Callable[[], Any],
    rate_rps: float = 200.0,
    warmup_s: float = 5.0,
    settle_s: float = 8.0,
    timeout_s: float = 120.0,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> RolloutRecord:
    """Run a change under constant load and judge it.

    Args:
        platform: Where.
        app: What.
        action: Makes the change, for example a deploy; an error of ours becomes part of the record.
        rate_rps: Probe rate in requests per second.
        warmup_s: Load before the change; the old version's share of the evidence.
        settle_s: Load after the rollout; long enough for 300 requests of the new version.
        timeout_s: How long the rollout may take after ``action`` returned.
        limits: What it is held to.
        progress: Called with each new observation.

    Returns:
        The record; figures ``rollout_s``, ``requests_sent``, ``requests_failed``, ``availability``,
        ``probe_rate_rps``, ``p99_ms``, ``probe_lag_p99_ms``, ``outage_lower_s``, ``outage_upper_s``.
    """
    said = progress or (lambda _line: None)
    problem: PlatformError | None = None
    with Watch(platform, app, rate_rps=rate_rps) as watch:
        said(f"probing {app.host} at {rate_rps:g} requests/s, {warmup_s:g} s before the change")
        pause(warmup_s)
        watch.mark("change")
        try:
            action()
        except PlatformError as error:
            problem = error
            said(f"the change failed: {error.message}")
        _wait_done(watch, problem, timeout_s)
        watch.mark("rolled_out" if problem is None else "failed")
        said(f"probing for another {settle_s:g} s")
        pause(settle_s)
        watch.mark("end")
        version = watch.deployed_version()
        judged = watch.seen(new_version=version, finished=True)
        held_to = watch.limits(limits)
    final = replace(judged, samples=watch.probe.samples())
    decided = verdict.judge(final, held_to)
    if problem is not None:
        decided = Verdict("fail", f"{problem.message}; {decided.reason}", decided.checks)
    return record_of(watch, decided, version, operation="rollout")


def _wait_done(watch: Watch, problem: PlatformError | None, timeout_s: float) -> None:
    """Wait until the Deployment is done; a failed change is not waited for."""
    deadline = Deadline(timeout_s)
    while problem is None and not watch.deployment_done() and not deadline.expired():
        watch.wait(_LOOK_S)


def record_of(
    watch: Watch,
    decided: Verdict,
    version: str,
    *,
    operation: str,
    figures: Mapping[str, Any] | None = None,
    ok: bool | None = None,
    message: str = "",
) -> RolloutRecord:
    """Build the record of a finished watch and write its verdict to the journal."""
    result = watch.probe.result()
    series, notes = _series(watch)
    all_figures = {**_rollout_figure(watch.marks), **probe_figures(result), **(figures or {})}
    outcome = Outcome(
        operation,
        decided.ok if ok is None else ok,
        watch.started_at,
        now(),
        figures=all_figures,
        stages=_stages(watch.marks),
        message=message or f"{watch.old_version} to {version}: {decided.reason}",
        verdict=decided,
    )
    journal.current().append(
        watch.source,
        "verdict",
        watch.app.name,
        cause=version,
        status=decided.status,
        reason=decided.reason,
        checks=decided.checks,
        figures=all_figures,
    )
    return RolloutRecord(
        probe=result,
        samples=watch.probe.frame(),
        pods=watch.pods_frame(),
        verdict=decided,
        outcome=outcome,
        marks=tuple(watch.marks),
        old_version=watch.old_version,
        new_version=version,
        series=series,
        notes=notes,
    )


def _rollout_figure(marks: list[tuple[str, datetime]]) -> dict[str, float]:
    """Return ``rollout_s``, from the change until every pod ran it; nothing for a rehearsal."""
    moments = dict(marks)
    end = moments.get("rolled_out") or moments.get("failed")
    return {"rollout_s": round((end - moments["change"]).total_seconds(), 3)} if end else {}


def probe_figures(result: ProbeResult) -> dict[str, Any]:
    """Return the figures of a probe under the names that every run uses."""
    low, high = result.outage_s
    return {
        "requests_sent": result.sent,
        "requests_failed": result.failed,
        "availability": result.availability,
        "probe_rate_rps": round(result.sent / result.duration_s, 1) if result.duration_s else 0.0,
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "probe_lag_p99_ms": result.lag_p99_ms,
        "worst_second": result.worst_window_availability,
        "outage_lower_s": round(low, 3),
        "outage_upper_s": round(high, 3),
    }


def headline(outcome: Outcome) -> str:
    """Return the one line that a summary shows of a rollout."""
    figures = outcome.figures
    if "rollout_s" not in figures:
        return outcome.message
    return f"{figures['requests_failed']} of {figures['requests_sent']} requests lost in {figures['rollout_s']:.1f} s"


def _stages(marks: list[tuple[str, datetime]]) -> tuple[tuple[str, float], ...]:
    """Return the seconds between marks, named by the mark that ends them."""
    return tuple((name, round((at - before).total_seconds(), 3)) for (_, before), (name, at) in pairwise(marks))


def _series(watch: Watch) -> tuple[dict[str, pd.DataFrame], tuple[str, ...]]:
    """Ask Prometheus for the golden signals of the time under watch; say what it could not give."""
    found, notes = {}, []
    for name in _SERIES:
        try:
            found[name] = metrics.frame(
                watch.platform, name, app=watch.app, start=watch.started_at, end=now(), step_s=1.0
            )
        except PlatformError as error:
            notes.append(f"{name}: {error.message}")
    return found, tuple(notes)
