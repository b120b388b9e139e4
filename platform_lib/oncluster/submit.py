"""How is a run on the cluster started, followed and cleaned up after?

Whatever happens here, nothing stays behind: the Job is deleted with its pod (which gets its time to undo), then the
rights that were created for it. What an earlier submitter left, because its machine died, is swept first.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from platform_lib import guard, journal
from platform_lib.errors import (
    EXIT_FAILED,
    AlreadyExists,
    ApiError,
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PlatformError,
)
from platform_lib.model import App, Obj, Plan, Platform, Step, _Table
from platform_lib.oncluster import manifests, order
from platform_lib.oncluster.order import Order
from platform_lib.parameters import AppParameters, validate
from platform_lib.providers.bootstrap import gitserver
from platform_lib.rules import manifests as read
from platform_lib.rules import workload
from platform_lib.runbook import resolve
from platform_lib.settings import settings
from platform_lib.wait import Deadline, now, uninterrupted, until
from platform_lib.wire import kube
from platform_lib.wire.follow import Follow, Topic

Progress = Callable[[str], None]
JOBS, CONFIG_MAPS, SERVICE_ACCOUNTS, NAMESPACES = (
    "batch/v1/jobs",
    "v1/configmaps",
    "v1/serviceaccounts",
    "v1/namespaces",
)
_RBAC = "rbac.authorization.k8s.io/v1"
_GVR = {
    "Job": JOBS,
    "ConfigMap": CONFIG_MAPS,
    "ServiceAccount": SERVICE_ACCOUNTS,
    "Role": f"{_RBAC}/roles",
    "RoleBinding": f"{_RBAC}/rolebindings",
    "ClusterRole": f"{_RBAC}/clusterroles",
    "ClusterRoleBinding": f"{_RBAC}/clusterrolebindings",
}
START_S = 300.0
"""From the Job to a running container: pulling the workbench image is most of it."""
GONE_S = 150.0
BEGUN_S = 300.0
"""Rights without a Job that are younger belong to a run that is being created; clocks may differ by less than this."""
_STUCK = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


@dataclass(frozen=True, slots=True)
class RemoteRun(_Table):
    """What a run on the cluster left.

    Attributes:
        job: Name of the Job; it is gone.
        run_id: The run's own name; empty when the book never began.
        status: ``passed``, ``failed`` or ``interrupted``.
        exit_code: As of ``apqx run``.
        results: Prefix of the evidence; empty when none was left.
        key_figure, message: As in the run's result.
        log_tail: Last lines of the pod.
    """

    job: str
    run_id: str
    status: str
    exit_code: int
    results: str = ""
    key_figure: str = ""
    message: str = ""
    duration_s: float = 0.0
    log_tail: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether the book passed and its evidence was kept."""
        return self.status == "passed" and self.exit_code == 0


def plan(
    platform: Platform,
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    image: str = "",
    results: str = "",
    secret: str = "",
    account: str = "",
) -> tuple[Plan, list[Obj]]:
    """Say what a run on the cluster would create, without creating it.

    Returns:
        The plan, and the objects, for an administrator to look at or to apply the rights of.

    Raises:
        InvalidInput: Book, parameters, image or results cannot be used.
    """
    told, app = _order(platform, name, parameters, image, results, secret)
    found = manifests.objects(told, app=app, lock_namespace=settings().lease_namespace, account=account)
    steps = [
        Step("create", f"{one['kind']}/{read.name(one)}", f"in {read.namespace(one) or 'the cluster'}") for one in found
    ]
    steps.append(Step("follow", f"Job/{told.name}", f"at most {told.timeout_s:g} s; evidence goes to {told.results}"))
    steps.append(Step("delete", "all of the above", "also after Ctrl-C; the pod gets its time to undo"))
    inputs = {"runbook": told.book, "parameters": told.parameters, "image": told.image, "results": told.results}
    return Plan(f"run {told.book} on cluster {platform.name}", tuple(steps), inputs), found


def run(
    platform: Platform,
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    image: str = "",
    results: str = "",
    secret: str = "",
    account: str = "",
    progress: Progress | None = None,
) -> RemoteRun:
    """Run a book as a Job on the cluster and wait for its end.

    Args:
        platform: Where.
        name: Runbook name or number.
        parameters: Values by name; checked before anything is created.
        image: Workbench image by digest; default ``Settings.job_image``.
        results: Where the evidence goes; default ``Settings.job_results``.
        secret: Secret with credentials for storage and git; default ``Settings.job_secret``.
        account: Service account that has the rights already; default: one is made for this run and removed.
        progress: Receives the lines of the pod.

    Raises:
        InvalidInput: Book, parameters, image, results or secret cannot be used; nothing was created.
        GuardRefused: This cluster may not be changed from here.
        Forbidden: A right is missing to create the Job or to grant what it needs; what was created is gone.
        WaitTimeout: The pod did not start in time; says why. The Job is gone.
    """
    said = progress or (lambda _line: None)
    guard.check(platform, f"run {name} on the cluster")
    told, app = _order(platform, name, parameters, image, results, secret)
    api = kube.connect(platform)
    _check_secret(api, told)
    found = manifests.objects(told, app=app, lock_namespace=settings().lease_namespace, account=account)
    _sweep(api, told.namespace, said)
    journal.current().append("runbook", "on cluster", told.book, operation=told.id, results=told.results)
    with _created(api, told, found, said):
        outcome = _follow(api, told, said)
    journal.current().append("runbook", "on cluster ended", told.book, operation=told.id, status=outcome.status)
    return outcome


def _order(
    platform: Platform, name: str, parameters: dict[str, Any] | None, image: str, results: str, secret: str
) -> tuple[Order, App]:
    """Check everything that can be checked without the cluster."""
    current, book = settings(), resolve(name)
    values = validate(book, dict(parameters or {}))
    told = order.make(
        current,
        platform,
        id=f"{now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        book=book,
        parameters=values.model_dump(),
        image=image or current.job_image or _workbench(platform),
        results=results,
        secret=secret,
    )
    return told, values.target if isinstance(values, AppParameters) else App()


def _workbench(platform: Platform) -> str:
    """Return the image of the cluster's own git server, which is the workbench's; empty where there is none."""
    try:
        found = kube.connect(platform).find(kube.DEPLOYMENTS, gitserver.NAME, gitserver.NAMESPACE)
    except PlatformError:
        return ""
    return read.image_of(found) if found else ""


def _check_secret(api: kube.Kube, told: Order) -> None:
    """Refuse a Secret that is not there: the pod would wait for it until its deadline."""
    if not told.secret:
        return
    try:
        there = api.find("v1/secrets", told.secret, told.namespace) is not None
    except Forbidden:
        return  # who may not read it may still use it
    if not there:
        raise InvalidInput(
            f"Secret {told.secret} - absent in namespace {told.namespace}, expected one with the store's credentials",
            hint=f"kubectl -n {told.namespace} create secret generic {told.secret} --from-env-file=FILE",
        )


def _sweep(api: kube.Kube, namespace: str, said: Progress) -> None:
    """Remove rights whose Job is gone: left by a submitter that died.

    Young ones are left: they are created before their Job, and another submitter may be at it just now.
    """
    jobs = {read.labels(job).get(manifests.LABEL) for job in api.list(JOBS, namespace)[0]}
    for gvr in (gvr for kind, gvr in _GVR.items() if kind != "Job"):
        with contextlib.suppress(Forbidden):
            for one in api.list(gvr, labels=manifests.LABEL)[0]:
                if read.labels(one).get(manifests.LABEL) not in jobs and _old(one):
                    said(f"removing {read.name(one)}, left by a run that died")
                    _delete(api, gvr, one)


def _old(one: Obj) -> bool:
    """Return whether an object is so old that nobody is still about to create its Job."""
    made = workload.parse_time(read.metadata(one).get("creationTimestamp"))
    return made is None or (now() - made).total_seconds() > BEGUN_S


@contextlib.contextmanager
def _created(api: kube.Kube, told: Order, found: list[Obj], said: Progress) -> Iterator[None]:
    """Keep the objects while the block runs; then delete them, the Job first."""
    made: list[Obj] = []
    try:
        with contextlib.suppress(AlreadyExists):
            api.create(NAMESPACES, _namespace(told.namespace))
        for one in found:
            api.create(_GVR[one["kind"]], one, read.namespace(one) or None)
            made.append(one)
        said(f"Job/{told.name} created in {told.namespace}")
        yield
    finally:
        with uninterrupted():
            for one in reversed(made):
                _delete(api, _GVR[one["kind"]], one)
                if one["kind"] == "Job":
                    _wait_gone(api, told)


def _namespace(name: str) -> Obj:
    """Return the namespace of the runs: pods in it must keep to the restricted standard."""
    labels = {"app.kubernetes.io/managed-by": "apqx", "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _delete(api: kube.Kube, gvr: str, one: Obj) -> None:
    """Delete an object where it is; a Job takes its pods along."""
    with contextlib.suppress(NotFound):
        path = kube.path_of(gvr, read.namespace(one) or None, read.name(one))
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        api.json("DELETE", path, body=body)


def _wait_gone(api: kube.Kube, told: Order) -> None:
    """Wait until the pod has ended: its book may still be undoing something with the rights that go next."""

    def gone() -> tuple[bool | None, str]:
        pods, _ = api.list(kube.PODS, told.namespace, labels=f"{manifests.LABEL}={told.id}")
        return (None if pods else True), f"{len(pods)} pod(s)"

    until(gone, timeout_s=GONE_S, wanted=f"the pod of {told.name} gone", interval_s=0.2)


def _follow(api: kube.Kube, told: Order, said: Progress) -> RemoteRun:
    """Follow the pod by watches: why it does not start, what it says, how it ended."""
    start, whole = Deadline(START_S), Deadline(told.timeout_s + START_S)
    log, seen = _Log(api, told, said), ""
    topics = (
        Topic(JOBS, told.namespace, labels=f"{manifests.LABEL}={told.id}"),
        Topic(kube.PODS, told.namespace, labels=f"{manifests.LABEL}={told.id}"),
    )
    with Follow(api, topics) as view:
        while True:
            pods = view.items(kube.PODS)
            pod = pods[0] if pods else {}
            text, stuck = _where(pod)
            if text != seen:
                said(text)
            seen = text
            log.read(pod)
            ended = _ended(view.find(JOBS, told.name), pod)
            if ended:
                log.read(pod)
                return _outcome(told, pod, ended, log.tail)
            if stuck or (not _began(pod) and start.expired()) or whole.expired():
                hint = "check the image and the pull secret of the namespace" if stuck else "see kubectl describe pod"
                raise whole.fail(f"{told.name} running", text, hint=hint)
            view.wait(1.0)


def _where(pod: Obj) -> tuple[str, bool]:
    """Say where the pod is, and whether it will never start."""
    if not pod:
        return "waiting for a pod", False
    status = read.status(pod)
    for one in status.get("containerStatuses") or ():
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting:
            text = f"pod {status.get('phase')}: {waiting.get('reason')} {waiting.get('message') or ''}".rstrip()
            return text, waiting.get("reason") in _STUCK
    scheduled = read.conditions(pod).get("PodScheduled") or {}
    if scheduled.get("status") == "False":
        return f"pod {status.get('phase')}: {scheduled.get('reason')} {scheduled.get('message') or ''}", False
    return f"pod {status.get('phase') or 'Pending'}", False


def _began(pod: Obj) -> bool:
    """Tell whether the container has started."""
    return read.status(pod).get("phase") in ("Running", "Succeeded", "Failed")


def _ended(job: Obj | None, pod: Obj) -> str:
    """Return how the Job ended; empty while it goes on."""
    conditions = read.conditions(job or {})
    for kind in ("Complete", "Failed"):
        if (conditions.get(kind) or {}).get("status") == "True":
            if read.status(pod).get("phase") not in ("Succeeded", "Failed", None):
                return ""  # the pod's own end follows
            return f"{kind} {conditions[kind].get('reason') or ''} {conditions[kind].get('message') or ''}".strip()
    return ""


def _outcome(told: Order, pod: Obj, ended: str, tail: tuple[str, ...]) -> RemoteRun:
    """Read what the worker left as its termination message."""
    message = ""
    for one in read.status(pod).get("containerStatuses") or ():
        message = str(((one.get("state") or {}).get("terminated") or {}).get("message") or message)
    said = _decoded(message) or next(filter(None, map(_decoded, reversed(tail))), {})
    if not said:
        why = f"{ended}; it left no result"
        return RemoteRun(told.name, "", "failed", EXIT_FAILED, message=why, log_tail=tail)
    return RemoteRun(
        told.name,
        run_id=str(said.get("run", "")),
        status=str(said.get("status", "failed")),
        exit_code=int(said.get("exit_code", EXIT_FAILED)),
        results=str(said.get("results", "")),
        key_figure=str(said.get("key_figure", "")),
        message=str(said.get("lost") or said.get("message", "")),
        duration_s=float(said.get("duration_s", 0.0)),
        log_tail=tail,
    )


def _decoded(text: str) -> dict[str, Any]:
    """Read one line of JSON; empty when it is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "exit_code" in found else {}


class _Log:
    """Reads the pod's log as it grows and passes on what is new."""

    def __init__(self, api: kube.Kube, told: Order, said: Progress) -> None:
        self._api, self._told, self._said = api, told, said
        self._lines: list[str] = []

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines."""
        return tuple(self._lines[-20:])

    def read(self, pod: Obj) -> None:
        """Pass on new lines; a log that cannot be read now is read at the next look."""
        if not _began(pod):
            return
        try:
            text = self._api.logs(read.name(pod), self._told.namespace, tail_lines=None)
        except (ApiError, Conflict, PlatformError):
            return
        lines = text.splitlines()
        for line in lines[len(self._lines) :]:
            if not _decoded(line):
                self._said(line)
        self._lines = lines
