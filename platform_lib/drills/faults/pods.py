"""What happens when a pod of the application dies?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from platform_lib.drills.faults.base import OnApp, Seen, ready_pods
from platform_lib.model import App, Platform, Step
from platform_lib.rules import manifests
from platform_lib.wire import kube


@dataclass(slots=True)
class PodLoss(OnApp):
    """Force-delete one ready pod: its process is killed without warning."""

    pod: str
    uid: str
    known: list[str]

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Pick the ready pod that has run longest."""
        pods = ready_pods(platform, app)
        oldest = pods[0]["metadata"]
        return cls(platform, app, oldest["name"], oldest["uid"], [manifests.uid(pod) for pod in pods])

    def steps(self) -> tuple[Step, ...]:
        """Describe the deletion."""
        return (Step("force-delete", f"Pod/{self.pod}", "a crash gives no time to finish requests"),)

    def inject(self) -> None:
        """Delete with a grace period of 0 s."""
        self.kube().delete(kube.PODS, self.pod, self.app.namespace, grace_s=0, uid=self.uid)

    def recovered(self) -> Seen:
        """As many pods are ready as before, a new one among them; status of a Deployment would lag behind."""
        ready, known = {manifests.uid(pod) for pod in self.ready_pods()}, set(self.known)
        if self.uid in ready or not ready - known or len(ready) < len(known):
            seen = f"{len(ready - {self.uid})} of {len(known)} pods ready, {len(ready - known)} of them new"
            return False, seen
        return self.steady()
