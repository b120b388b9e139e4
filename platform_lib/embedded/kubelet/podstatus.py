"""What does a node say of a pod? ``status`` computed from what its containers do; pure.

Source: Kubernetes documentation, "Pod Lifecycle", and the kubelet's phase rules (``getPhase``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from platform_lib.model import Obj
from platform_lib.rules import manifests as m

SANDBOX_CONDITION = "apqx.dev/SandboxEnforced"
_STATES = ("waiting", "running", "terminated")


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container at one moment; ``state`` and ``last_state`` as the API shows them."""

    name: str
    image: str
    image_id: str
    container_id: str
    state: Obj
    last_state: Obj
    ready: bool
    started: bool
    restarts: int

    def to_status(self) -> Obj:
        """Return the entry of ``containerStatuses``."""
        status: Obj = {
            "name": self.name,
            "image": self.image,
            "imageID": self.image_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.restarts,
        }
        return status | ({"containerID": self.container_id} if self.container_id else {})


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod at one moment.

    Attributes:
        pod: As the API has it (specification and what others wrote into the status).
        host_ip, pod_ip, started_at: Facts of this node.
        inits, apps: Containers in the order of the specification; ``inits`` with restartable ones.
        sidecars: Names of the restartable init containers.
        terminated: The pod was asked to go and no process is left.
        unenforced: What the sandbox cannot do for this pod; None before that is known.
        failure: (reason, message) when the node gave the pod up.
    """

    pod: Obj
    host_ip: str
    pod_ip: str
    started_at: str
    inits: Sequence[ContainerView]
    apps: Sequence[ContainerView]
    sidecars: frozenset[str] = frozenset()
    terminated: bool = False
    unenforced: tuple[str, ...] | None = None
    failure: tuple[str, str] | None = None


def status_of(view: PodView, now: str) -> Obj:
    """Compute the status that this node is responsible for.

    Args:
        view: The pod.
        now: Time for conditions that change (RFC 3339).

    Returns:
        Status fields; ``conditions`` holds only the types that a node owns.
    """
    phase = phase_of(view)
    status: Obj = {
        "phase": phase,
        "hostIP": view.host_ip,
        "hostIPs": [{"ip": view.host_ip}],
        "startTime": view.started_at,
        "conditions": conditions_of(view, phase, now),
        "containerStatuses": [container.to_status() for container in view.apps],
    }
    if view.pod_ip:
        status |= {"podIP": view.pod_ip, "podIPs": [{"ip": view.pod_ip}]}
    if view.inits:
        status["initContainerStatuses"] = [container.to_status() for container in view.inits]
    if view.failure:
        status["reason"], status["message"] = view.failure
    return status


def _incomplete(view: PodView) -> list[str]:
    """Return the names of init containers that are not done."""
    return [c.name for c in view.inits if not (c.started if c.name in view.sidecars else _exit_code(c.state) == 0)]


def _exit_code(state: Obj) -> int | None:
    """Return the exit code of a terminated state; None for another one."""
    terminated = state.get("terminated")
    return None if terminated is None else int(terminated["exitCode"])


def phase_of(view: PodView) -> str:
    """Return Pending, Running, Succeeded or Failed."""
    if view.failure:
        return "Failed"
    policy = m.spec(view.pod).get("restartPolicy") or "Always"
    regular = [c for c in view.inits if c.name not in view.sidecars]
    failed_init = any((_exit_code(c.state) or 0) != 0 for c in regular)
    if failed_init and (policy == "Never" or view.terminated):
        return "Failed"
    if _incomplete(view) and not view.terminated:
        return "Pending"
    codes = [_last_code(c) for c in view.apps]
    if view.terminated:
        return "Succeeded" if codes and all(code == 0 for code in codes) else "Failed"
    if any("waiting" in c.state and not c.last_state for c in view.apps):
        return "Pending"
    if any("running" in c.state for c in view.apps) or policy == "Always":
        return "Running"
    if all(code == 0 for code in codes):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _last_code(container: ContainerView) -> int | None:
    """Return the exit code of the last run that ended."""
    code = _exit_code(container.state)
    return code if code is not None else _exit_code(container.last_state)


def conditions_of(view: PodView, phase: str, now: str) -> list[Obj]:
    """Compute the conditions that a node owns; one that did not change keeps its time.

    A reason that no longer holds is set to None, which deletes it in a merge.
    """
    finished = phase in ("Succeeded", "Failed")
    unready = [c.name for c in view.apps if not c.ready]
    unready += [c.name for c in view.inits if c.name in view.sidecars and not c.ready]
    incomplete = _incomplete(view)
    running = any("running" in c.state for c in (*view.inits, *view.apps))
    found = [
        _condition(
            "PodReadyToStartContainers", bool(view.pod_ip) and not view.terminated and (running or not finished)
        ),
        _condition(
            "Initialized",
            not incomplete,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(incomplete)}]",
        ),
        _ready("Ready", view, unready, phase, _gates(view.pod)),
        _ready("ContainersReady", view, unready, phase, []),
        *_sandbox(view),
    ]
    old = m.conditions(view.pod)
    for condition in found:
        before = old.get(condition["type"], {})
        same = before.get("status") == condition["status"]
        condition["lastTransitionTime"] = (before.get("lastTransitionTime") if same else None) or now
        condition |= {key: None for key in ("reason", "message") if key in before and key not in condition}
    return found


def _condition(type_: str, true: bool, reason: str = "", message: str = "") -> Obj:
    """Build one condition; reason and message explain only what is not true."""
    condition: Obj = {"type": type_, "status": "True" if true else "False"}
    return condition if true or not reason else condition | {"reason": reason, "message": message}


def _gates(pod: Obj) -> list[str]:
    """Return the readiness gates that are not met."""
    wanted = [gate["conditionType"] for gate in m.spec(pod).get("readinessGates") or ()]
    return [gate for gate in wanted if not m.condition_true(pod, gate)]


def _ready(type_: str, view: PodView, unready: list[str], phase: str, gates: list[str]) -> Obj:
    """Build Ready or ContainersReady."""
    if phase == "Succeeded":
        return _condition(type_, False, "PodCompleted")
    if phase == "Failed":
        return _condition(type_, False, "PodFailed")
    if unready:
        message = f"containers with unready status: [{' '.join(unready)}]"
        return _condition(type_, False, "ContainersNotReady", message)
    if gates:
        message = f'the status of pod readiness gate "{gates[0]}" is not "True"'
        return _condition(type_, False, "ReadinessGatesNotReady", message)
    return _condition(type_, True)


def _sandbox(view: PodView) -> Iterable[Obj]:
    """Say what could not be enforced."""
    if view.unenforced is None:
        return []
    message = f"not enforced on this machine: {'; '.join(view.unenforced)}"
    return [_condition(SANDBOX_CONDITION, not view.unenforced, "NotEnforced", message)]


def differs(wanted: Obj, observed: Obj) -> bool:
    """Tell whether the API's status lacks something that this node wants to say."""
    return not _contains(observed, {**wanted, "conditions": None}) or any(
        not _contains(_find(observed, condition["type"]), condition) for condition in wanted["conditions"]
    )


def _find(status: Obj, type_: str) -> Obj:
    """Return a condition of a status by type."""
    return next((c for c in status.get("conditions") or () if c.get("type") == type_), {})


def _contains(observed: Any, wanted: Any) -> bool:
    """Compare, ignoring empty values and what others added to objects."""
    if isinstance(wanted, dict):
        one_of = [key for key in _STATES if key in (observed or {})]
        if any(key not in wanted for key in one_of):
            return False
        return all(_contains((observed or {}).get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(observed or ()) and all(map(_contains, observed or (), wanted))
    return wanted in (None, "", observed) or (not wanted and not observed)
