"""Does a Job have the pods it needs, and is it over? Enough for hooks: parallel runs, retries, deadlines, expiry.

Counts are taken from the pods that exist and never go back. Indexed completion and pod failure policies are
absent.

Source: kubernetes pkg/controller/job/job_controller.go and pkg/controller/ttlafterfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.objects import (
    active,
    controlled_by,
    controller_reference,
    created,
    earliest,
    phase,
    ready,
    restarts,
    to_text,
    to_time,
    with_condition,
)
from platform_lib.embedded.controllers.writes import (
    JOBS,
    NOTHING,
    PODS,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    create,
    delete,
    event,
    set_status,
)
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import condition_true, deleting, name, namespace, owner, spec, status, uid

NAME = "job-controller"
WATCHES = frozenset({JOBS, PODS})

FIRST_DELAY_S = 10.0
LONGEST_DELAY_S = 600.0


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the Jobs that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == JOBS:
        return [(space, name(change.obj))]
    reference = owner(change.obj)
    return [(space, reference["name"])] if reference and reference["kind"] == "Job" else []


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Move one Job on."""
    job = snapshot.get(JOBS, *key)
    if job is None or deleting(job):
        return NOTHING
    if _finished(job):
        return _expire(job, now)
    pods = [pod for pod in snapshot.owned_by(uid(job)) if pod["kind"] == "Pod" and controlled_by(pod, uid(job))]
    return _Turn(job, pods, now).take()


def _finished(job: Obj) -> bool:
    return condition_true(job, "Complete") or condition_true(job, "Failed")


def _expire(job: Obj, now: datetime) -> Result:
    """Delete a finished Job once ``ttlSecondsAfterFinished`` is over."""
    limit = spec(job).get("ttlSecondsAfterFinished")
    if limit is None:
        return NOTHING
    known = manifests.conditions(job)
    ended = known["Complete" if condition_true(job, "Complete") else "Failed"]["lastTransitionTime"]
    left_s = ((to_time(ended) or now) + timedelta(seconds=int(limit)) - now).total_seconds()
    if left_s > 0:
        return Result((), left_s + 0.1)
    return Result([delete(JOBS, job, {"propagationPolicy": "Background"})])


class _Turn:
    """One reconcile of one running Job."""

    def __init__(self, job: Obj, pods: Sequence[Obj], now: datetime) -> None:
        self.job, self.now = job, now
        self.running = [pod for pod in pods if active(pod)]
        self.failures = [pod for pod in pods if phase(pod) == "Failed"]
        old = status(job)
        succeeded = sum(phase(pod) == "Succeeded" for pod in pods)
        self.succeeded = max(succeeded, int(old.get("succeeded") or 0))
        self.failed = max(len(self.failures), int(old.get("failed") or 0))
        self.conditions: list[Obj] = list(old.get("conditions") or ())
        self.writes: list[Write] = []
        self.wait_s: float | None = None

    def take(self) -> Result:
        """Decide and return the writes."""
        inner = spec(self.job)
        failure = self._failure()
        if failure:
            self._end("Failed", *failure)
        elif inner.get("suspend"):
            self._suspend()
        elif self._complete():
            self._end("Complete", "CompletionsReached", "Reached expected number of succeeded pods")
        else:
            self._resume()
            self._fill()
        # Creations come last, so that a refused one does not hide what was counted.
        return Result([*self._report(), *self.writes], self.wait_s)

    def _failure(self) -> tuple[str, str] | None:
        """Return (reason, message) when the Job has to give up."""
        inner = spec(self.job)
        limit = int(inner.get("backoffLimit", 6))
        again = manifests.pod_template(self.job).get("spec", {}).get("restartPolicy") == "OnFailure"
        restarted = sum(restarts(pod) for pod in self.running) if again else 0
        if self.failed > limit or (restarted and restarted >= max(limit, 1)):
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        deadline = inner.get("activeDeadlineSeconds")
        since = to_time(status(self.job).get("startTime"))
        if deadline is not None and since is not None and not inner.get("suspend"):
            left_s = (since + timedelta(seconds=int(deadline)) - self.now).total_seconds()
            if left_s <= 0:
                return "DeadlineExceeded", "Job was active longer than specified deadline"
            self._wait(left_s + 0.05)
        return None

    def _complete(self) -> bool:
        completions = spec(self.job).get("completions")
        if completions is None:
            return self.succeeded > 0 and not self.running
        return self.succeeded >= int(completions)

    def _end(self, kind: str, reason: str, message: str) -> None:
        """Finish the Job and its pods."""
        # Upstream first says that the outcome is decided, then, with no pod left, that it is reached.
        decided = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
        for one in (decided, kind):
            self.conditions = with_condition(
                self.conditions, self.now, type=one, status="True", reason=reason, message=message
            )
        self.writes += [delete(PODS, pod) for pod in self.running]
        self.running = []
        told = "Completed" if kind == "Complete" else reason
        text = "Job completed" if kind == "Complete" else message
        self.writes.append(event(self.job, told, text, warning=kind == "Failed"))

    def _suspend(self) -> None:
        if not condition_true(self.job, "Suspended"):
            self.conditions = with_condition(
                self.conditions,
                self.now,
                type="Suspended",
                status="True",
                reason="JobSuspended",
                message="Job suspended",
            )
            self.writes.append(event(self.job, "Suspended", "Job suspended"))
        self.writes += [delete(PODS, pod) for pod in self.running]
        self.running = []

    def _resume(self) -> None:
        if condition_true(self.job, "Suspended"):
            self.conditions = with_condition(
                self.conditions,
                self.now,
                type="Suspended",
                status="False",
                reason="JobResumed",
                message="Job resumed",
            )
            self.writes.append(event(self.job, "Resumed", "Job resumed"))

    def _fill(self) -> None:
        """Create the pods that are missing, after a failure with a growing delay."""
        inner = spec(self.job)
        parallel = int(inner.get("parallelism", 1))
        completions = inner.get("completions")
        if completions is None:
            wanted = len(self.running) if self.succeeded else parallel
        else:
            wanted = min(parallel, int(completions) - self.succeeded)
        missing = wanted - len(self.running)
        if missing < 0:
            surplus = sorted(self.running, key=lambda pod: (ready(pod), created(pod)))[:-missing]
            self.writes += [delete(PODS, pod) for pod in surplus]
            return
        delay_s = self._delay_s()
        if missing and delay_s > 0:
            self._wait(delay_s + 0.05)
            return
        self.writes += [self._create_pod() for _ in range(missing)]

    def _delay_s(self) -> float:
        """Return the seconds left of the delay after the last failure (10 s, doubled each time)."""
        ends = [_ended(pod) for pod in self.failures]
        if not ends:
            return 0.0
        delay_s = min(FIRST_DELAY_S * 2 ** (len(ends) - 1), LONGEST_DELAY_S)
        return (max(ends) + timedelta(seconds=delay_s) - self.now).total_seconds()

    def _create_pod(self) -> Write:
        template = manifests.pod_template(self.job)
        meta = template.get("metadata") or {}
        own = {"batch.kubernetes.io/job-name": name(self.job), "batch.kubernetes.io/controller-uid": uid(self.job)}
        own |= {"job-name": name(self.job), "controller-uid": uid(self.job)}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **({"annotations": meta["annotations"]} if meta.get("annotations") else {}),
                "labels": {**(meta.get("labels") or {}), **own},
                "generateName": f"{name(self.job)}-",
                "namespace": namespace(self.job),
                "ownerReferences": [controller_reference(self.job)],
            },
            "spec": template["spec"],
        }
        return create(PODS, pod, announce=event(self.job, "SuccessfulCreate", "Created pod: {name}"))

    def _wait(self, seconds: float) -> None:
        self.wait_s = earliest((self.wait_s, seconds))

    def _report(self) -> list[Write]:
        old = status(self.job)
        after: Obj = {"conditions": self.conditions} if self.conditions else {}
        counts = {
            "active": len(self.running),
            "succeeded": self.succeeded,
            "failed": self.failed,
            "ready": sum(ready(pod) for pod in self.running),
        }
        after |= {field: value for field, value in counts.items() if value or field == "ready"}
        if not spec(self.job).get("suspend"):
            after["startTime"] = old.get("startTime") or to_text(self.now)
        if condition_true({"status": after}, "Complete"):
            after["completionTime"] = to_text(self.now)
        return set_status(JOBS, self.job, after)


def _ended(pod: Obj) -> datetime:
    """Return when the pod's last container ended; its creation where that is not reported."""
    found = status(pod).get("containerStatuses") or ()
    ends = [to_time(((one.get("state") or {}).get("terminated") or {}).get("finishedAt")) for one in found]
    return max((end for end in ends if end is not None), default=created(pod))
