"""Which faults does Chaos Mesh inject for a drill? Faults of the network and of pods, as its own resources.

They need the kernel of a node and so cannot be had on the embedded platform; where Chaos Mesh is not installed, or the
namespace is not open to it, the drill is skipped with the reason. Each resource carries a duration: should the
workbench die, Chaos Mesh itself ends the fault.

Source: Chaos Mesh v2.8.3, api/v1alpha1 (networkchaos_types.go, podchaos_types.go, common_types.go): conditions
Selected, AllInjected, AllRecovered; a finalizer keeps a resource until its fault is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib.drills.faults.base import OnApp, Progress, Seen, proof
from platform_lib.errors import InvalidInput, NotFound, PlatformError, UndoFailed, WaitTimeout
from platform_lib.model import App, Check, Obj, Platform, Step, joined
from platform_lib.rules import manifests
from platform_lib.wait import until
from platform_lib.wire import kube

GROUP = "chaos-mesh.org/v1alpha1"
OPEN_ANNOTATION = "chaos-mesh.org/inject"
CLEAN_ANNOTATION = "chaos-mesh.chaos-mesh.org/cleanFinalizer=forced"
INJECTED_S, GONE_S = 30.0, 60.0
NAMES = {"NetworkChaos": "networkchaos", "PodChaos": "podchaos"}


def _delay(size: float) -> Obj:
    jitter = f"{size / 10:g}ms"
    return {"action": "delay", "direction": "to", "delay": {"latency": f"{size:g}ms", "jitter": jitter}}


def _loss(size: float) -> Obj:
    return {"action": "loss", "direction": "to", "loss": {"loss": f"{size:g}", "correlation": "0"}}


def _partition(_size: float) -> Obj:
    return {"action": "partition", "direction": "both"}


def _failure(_size: float) -> Obj:
    return {"action": "pod-failure"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: the resource, its specification from a size, the unit and limits of that size, and words."""

    resource: str
    spec: Callable[[float], Obj]
    unit: str
    least: float
    most: float
    what: str


KINDS: Mapping[str, Kind] = {
    "network-delay": Kind("NetworkChaos", _delay, "ms", 1, 10_000, "answers of its pods are late"),
    "network-loss": Kind("NetworkChaos", _loss, "per cent", 1, 100, "packets from its pods are lost"),
    "network-partition": Kind("NetworkChaos", _partition, "", 0, 0, "one pod is cut off from everybody"),
    "pod-failure": Kind("PodChaos", _failure, "", 0, 0, "one pod stays broken and cannot restart"),
}


@dataclass(slots=True)
class ChaosMesh(OnApp):
    """A fault that Chaos Mesh injects into pods of the application."""

    NOTES: ClassVar[frozenset[str]] = frozenset({"seen", "struck"})

    kind: str
    name: str
    size: float
    mode: str
    longest_s: float
    seen: str = ""
    struck: bool = False

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Chaos Mesh must be there, and the namespace open to it."""
        try:
            kube.connect(platform).list(f"{GROUP}/networkchaos", app.namespace)
            space = kube.connect(platform).get("v1/namespaces", app.namespace)
        except NotFound:
            return "Chaos Mesh is not installed: on a cluster with containers, apqx addon enable chaos-mesh"
        except PlatformError as error:
            return f"Chaos Mesh cannot be looked up: {error.message}"
        if manifests.annotations(space).get(OPEN_ANNOTATION) != "enabled":
            return (
                f"namespace {app.namespace} is not open to Chaos Mesh: annotation {OPEN_ANNOTATION}=enabled is missing"
            )
        return ""

    @classmethod
    def choose(
        cls,
        platform: Platform,
        app: App,
        kind: str = "network-delay",
        size: float = 0,
        mode: str = "one",
        longest_s: float = 120,
    ) -> Self:
        """Pick the kind and its size.

        Args:
            platform: Where.
            app: Whose pods.
            kind: One of ``KINDS``.
            size: In the unit of the kind; 0 where it has none.
            mode: ``one`` pod or ``all``.
            longest_s: After so many seconds Chaos Mesh ends the fault by itself.
        """
        found = KINDS.get(kind)
        if found is None or mode not in ("one", "all"):
            raise InvalidInput(
                f"chaos {kind!r} on {mode!r} - expected one of {joined(KINDS)}, on 'one' or 'all'",
                hint="correct the scenario",
            )
        if not found.least <= float(size) <= found.most:
            raise InvalidInput(
                f"chaos {kind} of size {size:g} - expected {found.least:g} to {found.most:g} {found.unit}".rstrip(),
                hint="correct the scenario",
            )
        return cls(platform, app, kind, f"drill-{kind}", float(size), mode, float(longest_s))

    def steps(self) -> tuple[Step, ...]:
        """Describe the resource."""
        found = KINDS[self.kind]
        size = f" ({self.size:g} {found.unit})" if found.unit else ""
        return (
            Step(
                "create", f"{found.resource}/{self.name}", f"{found.what}{size}; ends itself after {self.longest_s:g} s"
            ),
            Step("delete", f"{found.resource}/{self.name}", "undo, also after Ctrl-C"),
        )

    def inject(self) -> None:
        """Create the resource and wait until Chaos Mesh says that the fault is in place."""
        self.kube().create(self._gvr, self._resource(), self.app.namespace)
        try:
            self.seen = until(self._injected, timeout_s=INJECTED_S, wanted=f"{self.name} injected", interval_s=0.2)
            self.struck = True
        except WaitTimeout as error:
            self.seen = error.message

    def restore(self, progress: Progress) -> None:
        """The operator takes the fault away."""
        progress(f"the operator deletes {KINDS[self.kind].resource}/{self.name}")
        self.undo()

    def recovered(self) -> Seen:
        """The resource is gone, which Chaos Mesh allows only after the fault is, and the service is steady."""
        return (False, f"{self.name} is there") if self._read() is not None else self.steady()

    def undo(self) -> None:
        """Delete the resource and wait until its fault is taken back."""
        if self._read() is None:
            return
        self.kube().delete(self._gvr, self.name, self.app.namespace)
        try:
            until(self._gone, timeout_s=GONE_S, wanted=f"{self.name} taken back", interval_s=0.2)
        except WaitTimeout as error:
            raise UndoFailed(
                f"{self.name} - Chaos Mesh did not take it back within {GONE_S:g} s: {error.last_seen}",
                hint=f"see its controller's log; as a last resort annotate the resource with {CLEAN_ANNOTATION}",
            ) from error

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """What was asked for."""
        return {"chaos_kind": self.kind, "chaos_size": self.size}

    def checks(self) -> tuple[Check, ...]:
        """The fault must have been in place."""
        return (proof("fault was in place", self.struck, self.seen or "never seen", "Chaos Mesh says AllInjected"),)

    @property
    def _gvr(self) -> str:
        return f"{GROUP}/{NAMES[KINDS[self.kind].resource]}"

    def _read(self) -> Obj | None:
        return self.kube().find(self._gvr, self.name, self.app.namespace)

    def _resource(self) -> Obj:
        """Return the resource; its duration ends the fault when nobody else does."""
        found = KINDS[self.kind]
        selector = {
            "namespaces": [self.app.namespace],
            "labelSelectors": {"app.kubernetes.io/name": self.app.name},
        }
        return {
            "apiVersion": GROUP,
            "kind": found.resource,
            "metadata": {"name": self.name, "namespace": self.app.namespace, "labels": {"drill": self.name}},
            "spec": {
                "mode": self.mode,
                "selector": selector,
                "duration": f"{self.longest_s:g}s",
                **found.spec(self.size),
            },
        }

    def _injected(self) -> tuple[str | None, str]:
        """Return the words of Chaos Mesh once every selected pod has the fault; before that why one has it not."""
        found = self._read() or {}
        said = {name: one.get("status") for name, one in manifests.conditions(found).items()}
        if said.get("AllInjected") == "True" and said.get("Selected") == "True":
            return f"AllInjected for {len(_records(found))} target(s)", "injected"
        trouble = [text for text in map(_failure_of, _records(found)) if text]
        if said.get("Selected") == "False":
            trouble.append("no pod was selected")
        return None, joined(trouble, empty=joined((f"{k}={v}" for k, v in said.items()), empty="no status yet"))

    def _gone(self) -> tuple[bool | None, str]:
        """Return whether the resource is gone, or what holds it."""
        found = self._read()
        if found is None:
            return True, "gone"
        trouble = [text for text in map(_failure_of, _records(found)) if text]
        return None, joined(trouble, empty=f"finalizers {joined(manifests.finalizers(found), empty='none')}")


def _records(found: Obj) -> list[Obj]:
    """Return what Chaos Mesh did to each target."""
    return list((manifests.status(found).get("experiment") or {}).get("containerRecords") or [])


def _failure_of(record: Obj) -> str:
    """Return why the newest step on a target failed; empty when it did not."""
    events = record.get("events") or []
    last = events[-1] if events else {}
    return f"{record.get('id')}: {last.get('message')}" if last.get("type") == "Failed" else ""
