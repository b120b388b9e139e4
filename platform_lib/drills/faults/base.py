"""What must every fault be able to do, so that the engine can run it, undo it and judge it without knowing it?

A fault is chosen by ``choose`` (reads only), which freezes its target: the plan then names exactly what will
break. ``target`` is that choice as JSON, written to disk before the fault strikes; ``from_target`` makes a fault
of it again in another process, whose ``undo`` is as good as the first one's.

The order of a drill: ``supported`` - ``choose`` - ``steps`` - ``prepare`` - ``inject`` - ``restore`` -
``recovered`` until it is true - ``undo`` - ``figures`` and ``checks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Protocol, Self

from platform_lib.errors import InvalidInput, PlatformError
from platform_lib.model import App, Check, Obj, Platform, Status, Step, to_json
from platform_lib.rules import manifests
from platform_lib.sync import state
from platform_lib.wire import kube

Progress = Callable[[str], None]
Seen = tuple[bool, str]
Target = dict[str, Any]
"""JSON types only."""


class Fault(Protocol):
    """One fault on one target."""

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Return "" or the reason why this platform cannot have this fault; the drill is skipped, never passed."""

    @classmethod
    def choose(cls, platform: Platform, app: App, *_: Any, **parameters: Any) -> Self:
        """Pick the target; reads only. ``parameters`` are the further keys of ``[fault]`` in the scenario.

        Raises:
            InvalidInput: Nothing to break, or a parameter that the fault does not know.
        """

    @classmethod
    def from_target(cls, platform: Platform, app: App, target: Mapping[str, Any]) -> Self:
        """Make the fault of a ``target`` again, for its ``undo``."""

    def target(self) -> Target:
        """Return everything that ``undo`` needs, as JSON."""

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
        """Remove the fault; safe to call twice, when it was never injected, and in another process."""

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """Return measures that only this fault knows."""

    def checks(self) -> tuple[Check, ...]:
        """Return what only this fault can judge, asked once after ``undo``; part of the drill's verdict."""


@dataclass(slots=True)
class OnApp:
    """What every fault on an application shares.

    A subclass adds its target as fields with JSON values; fields named in ``NOTES`` are what it learned on the
    way and no part of the target.
    """

    NOTES: ClassVar[frozenset[str]] = frozenset()

    platform: Platform
    app: App

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Nothing is needed that a Kubernetes cluster does not have."""
        return ""

    @classmethod
    def from_target(cls, platform: Platform, app: App, target: Mapping[str, Any]) -> Self:
        """Make the fault of its fields again."""
        return cls(platform, app, **target)

    def target(self) -> Target:
        """Return the fields that say what breaks."""
        own = [one.name for one in fields(self) if one.name not in {"platform", "app"} | self.NOTES]
        return {name: to_json(getattr(self, name)) for name in own}

    def prepare(self) -> None:
        """Nothing to lay out."""

    def restore(self, progress: Progress) -> None:
        """The platform recovers by itself."""

    def undo(self) -> None:
        """Nothing stays behind."""

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """No extra measures."""
        return {}

    def checks(self) -> tuple[Check, ...]:
        """Nothing beyond the checks of every drill."""
        return ()

    def kube(self) -> kube.Kube:
        """Return the connection to the cluster."""
        return kube.connect(self.platform)

    def steady(self) -> Seen:
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

    def ready_pods(self) -> list[Obj]:
        """Return the pods of the application that serve now."""
        return ready_pods(self.platform, self.app, required=False)


def ready_pods(platform: Platform, app: App, *, required: bool = True) -> list[Obj]:
    """Return ready pods of the application that are not being deleted, oldest first.

    Raises:
        InvalidInput: There is none, though one is ``required``.
    """
    pods, _ = kube.connect(platform).list(kube.PODS, app.namespace, labels=f"app.kubernetes.io/name={app.name}")
    ready = [
        pod for pod in pods if manifests.condition_true(pod, "Ready") and not pod["metadata"].get("deletionTimestamp")
    ]
    if required and not ready:
        raise InvalidInput(f"{app.name} - no ready pod to break", hint="bring it to a steady state first: apqx status")
    return sorted(ready, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))


def proof(name: str, ok: bool, value: str, rule: str, *, otherwise: Status = "inconclusive", reason: str = "") -> Check:
    """Return the check of something a fault saw with its own eyes; what it did not see proves nothing."""
    return Check(name, "pass" if ok else otherwise, value, rule, "" if ok else reason)
