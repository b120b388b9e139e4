"""What happens when a neighbour on the same node takes processor time or memory?

The neighbour is a pod of its own with limits, pinned to the node of one of the application's pods, made of the
application's image because that is known to be there. Only the pod's limits are ever used up; on the embedded
platform the nodes share one machine, so a neighbour there is a neighbour of everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib.drills.faults.base import OnApp, Progress, Seen, proof, ready_pods
from platform_lib.drills.faults.load import POD_METRICS
from platform_lib.drills.faults.nodes import node_of
from platform_lib.errors import PlatformError, WaitTimeout
from platform_lib.model import App, Check, Obj, Platform, Step
from platform_lib.rules.manifests import image_of
from platform_lib.wait import until
from platform_lib.wire import kube

SEEN_S = 40.0
"""metrics.k8s.io shows a pod after two readings: 5 to 10 s here, up to 30 s with metrics-server."""

_BURN = """
from time import monotonic, sleep
share = {share}
while True:
    end = monotonic() + 0.1 * share
    while monotonic() < end:
        pass
    sleep(0.1 * (1 - share))
"""
"""What runs in the neighbour; never more than one core, whether the node enforces limits or not."""
_LEAK = """
from time import sleep
held, total = [], 0
while total < {stop_mb}:
    held.append(b"x" * (4 << 20))
    total += 4
    sleep(0.05)
while True:
    sleep(60)
"""
"""Stops at four times the limit: on a node that does not enforce limits the machine must not suffer."""


@dataclass(slots=True)
class _Neighbour(OnApp):
    """A pod beside the application's, on the same node."""

    NAME: ClassVar[str] = ""
    NOTES: ClassVar[frozenset[str]] = frozenset({"seen", "struck"})

    node: str
    image: str
    size: float
    seen: str = ""
    struck: bool = False

    def steps(self) -> tuple[Step, ...]:
        """Describe the pod."""
        return (
            Step("start", f"Pod/{self.NAME} on {self.node}", self._why()),
            Step("delete", f"Pod/{self.NAME}", "undo, also after Ctrl-C"),
        )

    def inject(self) -> None:
        """Start the pod and wait until its pressure can be seen; on a node that is full already it never is."""
        self.kube().create(kube.PODS, self._pod(), self.app.namespace)
        try:
            self.seen = until(self._looking(), timeout_s=SEEN_S, wanted=self._why(), interval_s=0.2)
            self.struck = True
        except WaitTimeout as error:
            self.seen = error.message

    def restore(self, progress: Progress) -> None:
        """The operator removes the neighbour."""
        progress(f"the operator deletes Pod/{self.NAME}")
        self.undo()

    def undo(self) -> None:
        """Delete the pod where it is."""
        if self._read() is not None:
            self.kube().delete(kube.PODS, self.NAME, self.app.namespace, grace_s=0)

    def recovered(self) -> Seen:
        """The neighbour is gone and the application is steady."""
        return (False, f"Pod/{self.NAME} is there") if self._read() is not None else self.steady()

    def checks(self) -> tuple[Check, ...]:
        """The pressure must have been real."""
        return (proof("pressure was real", self.struck, self.seen or "never seen", self._why()),)

    def _why(self) -> str:
        raise NotImplementedError

    def _look(self) -> tuple[str | None, str]:
        raise NotImplementedError

    def _container(self) -> Obj:
        raise NotImplementedError

    def _looking(self) -> Callable[[], tuple[str | None, str]]:
        """Return the look; the API may be slow under pressure, which is no reason to give up."""

        def look() -> tuple[str | None, str]:
            try:
                return self._look()
            except PlatformError as error:
                return None, error.message

        return look

    def _read(self) -> Obj | None:
        return self.kube().find(kube.PODS, self.NAME, self.app.namespace)

    def _pod(self) -> Obj:
        """Return the pod: restricted by the Pod Security Standard, without a label that any Service selects."""
        security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.NAME, "namespace": self.app.namespace, "labels": {"drill": self.NAME}},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": self.node},
                "securityContext": security,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "restartPolicy": "Always",
                "containers": [
                    {
                        "name": "neighbour",
                        "image": self.image,
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                        **self._container(),
                    }
                ],
            },
        }


@dataclass(slots=True)
class CpuPressure(_Neighbour):
    """Burn ``size`` cores on the node."""

    NAME: ClassVar[str] = "drill-cpu-pressure"

    @classmethod
    def choose(cls, platform: Platform, app: App, cores: float = 0.6) -> Self:
        """Pick the node and the image."""
        return cls(platform, app, node_of(platform, app), image_of(ready_pods(platform, app)[0]), float(cores))

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How much was asked for."""
        return {"pressure_cores": self.size}

    def _why(self) -> str:
        return f"it burns {self.size:g} cores"

    def _container(self) -> Obj:
        amount = f"{int(self.size * 1000)}m"
        return {
            "command": ["python", "-c", _BURN.format(share=min(self.size, 1.0))],
            "resources": {
                "requests": {"cpu": "50m", "memory": "32Mi"},
                "limits": {"cpu": amount, "memory": "64Mi"},
            },
        }

    def _look(self) -> tuple[str | None, str]:
        """Half of what was asked for must show up in metrics.k8s.io."""
        found = self.kube().find(POD_METRICS, self.NAME, self.app.namespace)
        if found is None:
            return None, "no reading yet"
        used = sum(_cores(one["usage"]["cpu"]) for one in found["containers"])
        text = f"metrics.k8s.io shows {used:.2f} cores"
        return (text if used >= self.size / 2 else None), text


@dataclass(slots=True)
class MemoryPressure(_Neighbour):
    """Take memory up to a limit of ``size`` MiB and beyond: the kernel must kill the neighbour, nobody else."""

    NAME: ClassVar[str] = "drill-memory-pressure"

    @classmethod
    def choose(cls, platform: Platform, app: App, limit_mb: float = 64) -> Self:
        """Pick the node and the image."""
        return cls(platform, app, node_of(platform, app), image_of(ready_pods(platform, app)[0]), float(limit_mb))

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How much it was allowed."""
        return {"pressure_limit_mb": self.size}

    def _why(self) -> str:
        return f"it takes memory beyond its limit of {self.size:g} MiB"

    def _container(self) -> Obj:
        return {
            "command": ["python", "-c", _LEAK.format(stop_mb=int(4 * self.size))],
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi"},
                "limits": {"cpu": "200m", "memory": f"{int(self.size)}Mi"},
            },
        }

    def _look(self) -> tuple[str | None, str]:
        """The container must have been killed for its memory."""
        status = (self._read() or {}).get("status", {})
        for one in status.get("containerStatuses") or ():
            for state in (one.get("state", {}), one.get("lastState", {})):
                reason = state.get("terminated", {}).get("reason", "")
                if reason == "OOMKilled":
                    return f"OOMKilled at {self.size:g} MiB, {one['restartCount']} restarts", reason
        return None, str(status.get("phase", "absent"))


def _cores(text: str) -> float:
    """Read a processor quantity as metrics.k8s.io writes it."""
    scale = {"n": 1e-9, "u": 1e-6, "m": 1e-3}.get(text[-1], 1.0)
    return float(text.rstrip("num")) * scale
