"""Which faults can a drill inject, how is each undone, and how do we know that it struck and is over?

A fault is chosen in ``look`` (a frozen target), so that the plan names exactly what will break. ``struck`` and
``recovered`` read the platform; they decide nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from platform_lib import providers
from platform_lib.drills.sentinel import NAME, Sentinels
from platform_lib.errors import InvalidInput, NotFound, PlatformError
from platform_lib.model import App, Platform, Step
from platform_lib.rules import manifests
from platform_lib.sync import refresh, state
from platform_lib.wire import kube

Progress = Callable[[str], None]
Seen = tuple[bool, str]


class Fault(Protocol):
    """One fault on one target."""

    def steps(self) -> tuple[Step, ...]:
        """Describe what will be broken, for the plan."""

    def prepare(self) -> None:
        """Lay out what the measures need, right before the fault; undone by ``undo``."""

    def inject(self) -> None:
        """Break it."""

    def restore(self, progress: Progress) -> None:
        """Do what an operator must do; nothing where the platform recovers by itself."""

    def recovered(self) -> Seen:
        """Return whether the fault struck and is over, and what was seen."""

    def undo(self) -> None:
        """Remove the fault; safe to call twice and when it was never injected."""

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """Return measures that only this fault knows."""


@dataclass(frozen=True, slots=True)
class _OnApp:
    """What every fault on an application shares."""

    platform: Platform
    app: App

    def prepare(self) -> None:
        """Nothing to lay out."""

    def restore(self, progress: Progress) -> None:
        """The platform recovers by itself."""

    def undo(self) -> None:
        """Nothing stays behind."""

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """No extra measures."""
        return {}

    def _ready(self) -> Seen:
        """Whether Argo CD and the Deployment report a steady state."""
        try:
            seen = state(self.platform, self.app)
        except PlatformError as error:
            return False, error.message
        text = f"{seen.sync_status}, {seen.health_status}, {seen.ready_replicas} of {seen.desired_replicas} ready"
        steady = (
            seen.health_status == "Healthy"
            and seen.sync_status == "Synced"
            and seen.ready_replicas >= max(seen.desired_replicas, 1)
        )
        return steady, text


@dataclass(frozen=True, slots=True)
class PodLoss(_OnApp):
    """Force-delete one ready pod: its process is killed without warning."""

    pod: str
    uid: str
    known: frozenset[str]

    @classmethod
    def choose(cls, platform: Platform, app: App) -> PodLoss:
        """Pick the ready pod that has run longest."""
        pods = _ready_pods(platform, app)
        oldest = min(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        known = frozenset(manifests.uid(pod) for pod in pods)
        return cls(platform, app, oldest["metadata"]["name"], oldest["metadata"]["uid"], known)

    def steps(self) -> tuple[Step, ...]:
        """Describe the deletion."""
        return (Step("force-delete", f"Pod/{self.pod}", "a crash gives no time to finish requests"),)

    def inject(self) -> None:
        """Delete with a grace period of 0 s."""
        kube.connect(self.platform).delete(kube.PODS, self.pod, self.app.namespace, grace_s=0, uid=self.uid)

    def recovered(self) -> Seen:
        """As many pods are ready as before, a new one among them; status of a Deployment would lag behind."""
        ready = {manifests.uid(pod) for pod in _ready_pods(self.platform, self.app, required=False)}
        if self.uid in ready or not ready - self.known or len(ready) < len(self.known):
            return (
                False,
                f"{len(ready - {self.uid})} of {len(self.known)} pods ready, {len(ready - self.known)} of them new",
            )
        return self._ready()


@dataclass(frozen=True, slots=True)
class NodeLoss(_OnApp):
    """Take a node away with its agent and all its pods."""

    node: str

    @classmethod
    def choose(cls, platform: Platform, app: App) -> NodeLoss:
        """Pick a node that carries a pod of the application, rather an agent than the server."""
        nodes = sorted({str(pod["spec"]["nodeName"]) for pod in _ready_pods(platform, app)})
        agents = [node for node in nodes if "agent" in node]
        return cls(platform, app, (agents or nodes)[0])

    def steps(self) -> tuple[Step, ...]:
        """Describe the loss and its undo."""
        return (
            Step("stop", f"Node/{self.node}", "agent and pods are killed, as in a power cut"),
            Step("start again", f"Node/{self.node}", "undo, also after Ctrl-C"),
        )

    def inject(self) -> None:
        """Kill the node."""
        providers.of(self.platform).stop_node(self.node)

    def undo(self) -> None:
        """Start the node; it rejoins by itself."""
        providers.of(self.platform).start_node(self.node)

    def recovered(self) -> Seen:
        """No ready pod is counted on the node and all wanted replicas are ready elsewhere."""
        left = [
            pod
            for pod in _ready_pods(self.platform, self.app, required=False)
            if pod["spec"].get("nodeName") == self.node
        ]
        if left:
            return False, f"{len(left)} pods on {self.node} still count as ready"
        return self._ready()


@dataclass(frozen=True, slots=True)
class ClusterLoss(_OnApp):
    """Kill every process of the cluster and delete its state; rebuild it from git."""

    sentinels: Sentinels

    @classmethod
    def choose(cls, platform: Platform, app: App) -> ClusterLoss:
        """There is one cluster; the sentinels will tell what of git it held after the rebuild."""
        return cls(platform, app, Sentinels(platform, app))

    def steps(self) -> tuple[Step, ...]:
        """Describe the loss and the rebuild."""
        return (
            Step("commit", f"ConfigMap/{NAME}", "numbered markers right before the loss tell what survived it"),
            Step("destroy", f"cluster {self.platform.name}", "every process killed, all cluster state deleted"),
            Step("rebuild", f"cluster {self.platform.name}", "from the git repository and the images alone"),
            Step("remove", f"ConfigMap/{NAME}", "undo, by a commit, also after Ctrl-C"),
        )

    def prepare(self) -> None:
        """Commit the sentinels."""
        self.sentinels.push()

    def inject(self) -> None:
        """Destroy the cluster."""
        providers.of(self.platform).destroy_cluster()

    def restore(self, progress: Progress) -> None:
        """Bring the cluster up again; this is also the undo."""
        providers.of(self.platform).rebuild(progress)

    def undo(self) -> None:
        """Bring the cluster up if it is not, and take the sentinels out of git."""
        try:
            providers.of(self.platform).rebuild(lambda _line: None)
        finally:
            removed = self.sentinels.remove()
        if removed:
            refresh(self.platform, self.app)

    def recovered(self) -> Seen:
        """The new cluster runs a steady application; what it holds then is what was recovered."""
        done, seen = self._ready()
        if done:
            self.sentinels.read()
        return done, seen

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How much acknowledged desired state was lost."""
        return self.sentinels.figures(fault_at)


@dataclass(frozen=True, slots=True)
class Drift(_OnApp):
    """Delete the Service by hand: traffic stops until self-heal puts it back."""

    uid: str

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Drift:
        """Remember the Service that will be deleted."""
        service = kube.connect(platform).get("v1/services", app.name, app.namespace)
        return cls(platform, app, service["metadata"]["uid"])

    def steps(self) -> tuple[Step, ...]:
        """Describe the manual change."""
        return (Step("delete", f"Service/{self.app.name}", "a change by hand that git does not know"),)

    def inject(self) -> None:
        """Delete the Service."""
        kube.connect(self.platform).delete("v1/services", self.app.name, self.app.namespace, uid=self.uid)

    def recovered(self) -> Seen:
        """A new Service is there and the application is steady."""
        try:
            service = kube.connect(self.platform).get("v1/services", self.app.name, self.app.namespace)
        except NotFound:
            return False, f"Service/{self.app.name} missing"
        if service["metadata"]["uid"] == self.uid:
            return False, f"Service/{self.app.name} not deleted yet"
        return self._ready()


CHOICES: dict[str, Callable[[Platform, App], Fault]] = {
    "force_delete_pod": PodLoss.choose,
    "stop_node": NodeLoss.choose,
    "destroy_cluster": ClusterLoss.choose,
    "delete_service": Drift.choose,
}


def choose(action: str, platform: Platform, app: App) -> Fault:
    """Pick the target of a fault; reads only.

    Raises:
        InvalidInput: The scenario names an action that does not exist, or there is no target for it.
    """
    if action not in CHOICES:
        raise InvalidInput(
            f"fault {action!r} - unknown, wanted one of {', '.join(CHOICES)}", hint="correct the scenario file"
        )
    return CHOICES[action](platform, app)


def _ready_pods(platform: Platform, app: App, *, required: bool = True) -> list[dict[str, Any]]:
    """Ready pods of the application that are not being deleted."""
    pods, _ = kube.connect(platform).list(kube.PODS, app.namespace, labels=f"app.kubernetes.io/name={app.name}")
    ready = [
        pod for pod in pods if manifests.condition_true(pod, "Ready") and not pod["metadata"].get("deletionTimestamp")
    ]
    if required and not ready:
        raise InvalidInput(f"{app.name} - no ready pod to break", hint="bring it to a steady state first: apqx status")
    return ready
