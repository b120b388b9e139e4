"""What happens when many more clients come than before?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib.drills.faults.base import OnApp, Seen, proof
from platform_lib.errors import InvalidInput, PlatformError
from platform_lib.model import App, Check, Obj, Platform, Step
from platform_lib.wait import until
from platform_lib.wire import kube
from platform_lib.wire.probe import Probe, fetch, start_probe

AUTOSCALERS = "autoscaling/v2/horizontalpodautoscalers"
POD_METRICS = "metrics.k8s.io/v1beta1/pods"
SERVED_MIN = 0.95
READINGS_S = 45.0
"""A new pod has a reading after two looks at it; metrics-server looks every 15 s."""


def autoscaler(platform: Platform, app: App) -> Obj | None:
    """Return the autoscaler of the application's Deployment."""
    found, _ = kube.connect(platform).list(AUTOSCALERS, app.namespace)
    return next((one for one in found if one["spec"]["scaleTargetRef"].get("name") == app.name), None)


@dataclass(slots=True)
class LoadSpike(OnApp):
    """Ask for processor time from outside until the autoscaler adds pods.

    The load is sent by a process of ours that ends with us, so nothing can stay behind.
    """

    NOTES: ClassVar[frozenset[str]] = frozenset({"load", "sent", "failed"})

    before: int
    most: int
    rate_rps: float
    work_ms: int
    load: Probe | None = None
    sent: int = 0
    failed: int = 0

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """An autoscaler, readings for it, and a page that costs processor time."""
        try:
            if autoscaler(platform, app) is None:
                return f"{app.name} has no HorizontalPodAutoscaler"
            until(
                lambda: (kube.connect(platform).list(POD_METRICS, app.namespace)[0] or None, "no reading"),
                timeout_s=READINGS_S,
                wanted=f"a reading of metrics.k8s.io for the pods of {app.name}",
            )
            status = fetch(platform, app, "/work?ms=1").status
        except PlatformError as error:
            return error.message
        return "" if status < 400 else f"{app.name} answers /work with {status}: no page that costs processor time"

    @classmethod
    def choose(cls, platform: Platform, app: App, rate_rps: float = 40.0, work_ms: int = 8) -> Self:
        """Remember the present size.

        Raises:
            InvalidInput: No autoscaler, or it is at its maximum already.
        """
        scaler = autoscaler(platform, app)
        size = int(kube.connect(platform).get(kube.DEPLOYMENTS, app.name, app.namespace)["spec"].get("replicas") or 1)
        most = int(scaler["spec"]["maxReplicas"]) if scaler else 0
        if size >= most:
            raise InvalidInput(f"{app.name} - {size} replicas, its autoscaler may have {most}", hint="wait or raise it")
        return cls(platform, app, size, most, float(rate_rps), int(work_ms))

    def steps(self) -> tuple[Step, ...]:
        """Describe the load."""
        what = f"{self.rate_rps:g} requests/s of {self.work_ms} ms processor time each"
        return (
            Step("load", f"http://{self.app.host}/work", f"{what}, beside the probe"),
            Step("stop the load", self.app.name, "undo; it ends with this process in any case"),
        )

    def inject(self) -> None:
        """Start the load."""
        path = f"/work?ms={self.work_ms}"
        self.load = start_probe(self.platform, self.app, rate_rps=self.rate_rps, path=path, timeout_s=5.0).start()

    def undo(self) -> None:
        """Stop the load where this process sends it."""
        if self.load is not None:
            self.load.stop()
            seen = self.load.result()
            self.sent, self.failed = seen.sent, seen.failed

    def recovered(self) -> Seen:
        """More pods than before are wanted and all of them serve, while the load goes on."""
        deployment = self.kube().get(kube.DEPLOYMENTS, self.app.name, self.app.namespace)
        size = int(deployment["spec"].get("replicas") or 0)
        if size <= self.before:
            return False, f"{size} replicas, no growth yet"
        done, seen = self.steady()
        return done, f"{self.before} -> {size} replicas; {seen}"

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How far it grew and how the load fared."""
        return {"replicas_before": self.before, "load_sent": self.sent, "load_failed": self.failed}

    def checks(self) -> tuple[Check, ...]:
        """The load itself must have been served, and the autoscaler must have kept its bounds."""
        served = 1 - self.failed / self.sent if self.sent else 0.0
        value = f"{self.failed} of {self.sent} requests of the load failed"
        size = int(self.kube().get(kube.DEPLOYMENTS, self.app.name, self.app.namespace)["spec"].get("replicas") or 0)
        return (
            proof("load served", served >= SERVED_MIN, value, f"at least {SERVED_MIN:.0%} answered", otherwise="fail"),
            proof("within bounds", size <= self.most, f"{size} replicas", f"at most {self.most}", otherwise="fail"),
        )
