"""What happens when a node goes away, suddenly or by arrangement?

Source: kubectl drain (staging/src/k8s.io/kubectl/pkg/drain): cordon, then evict what is not bound to the node;
a refusal with 429 is tried again until the deadline.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib import providers
from platform_lib.drills.faults.base import OnApp, Seen, proof, ready_pods
from platform_lib.errors import ApiError, InvalidInput, NotFound
from platform_lib.model import App, Check, Obj, Platform, Step
from platform_lib.rules import manifests
from platform_lib.rules.manifests import name, namespace, owner, uid
from platform_lib.wait import Deadline, pause
from platform_lib.wire import kube

BUDGETS = "policy/v1/poddisruptionbudgets"
MIRROR = "kubernetes.io/config.mirror"
TRY_AGAIN_S = 0.5
TOO_MANY_REQUESTS = 429


def node_of(platform: Platform, app: App) -> str:
    """Pick a node that carries a pod of the application, rather an agent than the server."""
    nodes = sorted({str(pod["spec"]["nodeName"]) for pod in ready_pods(platform, app)})
    agents = [node for node in nodes if "server" not in node and "control-plane" not in node]
    return (agents or nodes)[0]


@dataclass(slots=True)
class NodeLoss(OnApp):
    """Take a node away with its agent and all its pods."""

    node: str

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Only a provider can switch a machine off."""
        why = providers.of(platform).cannot("stop_node")
        return f"provider {platform.provider!r} cannot cut the power of a node: {why}" if why else ""

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Pick the node."""
        return cls(platform, app, node_of(platform, app))

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
        left = [pod for pod in self.ready_pods() if pod["spec"].get("nodeName") == self.node]
        if left:
            return False, f"{len(left)} pods on {self.node} still count as ready"
        return self.steady()


@dataclass(slots=True)
class NodeDrain(OnApp):
    """Empty a node for maintenance: cordon it, evict its pods as the PodDisruptionBudget allows."""

    NOTES: ClassVar[frozenset[str]] = frozenset({"refused", "evicted", "lowest"})

    node: str
    timeout_s: float = 60.0
    refused: int = 0
    evicted: list[str] = field(default_factory=list)
    lowest: int | None = None

    @classmethod
    def choose(cls, platform: Platform, app: App, timeout_s: float = 60.0) -> Self:
        """Pick the node; one that is cordoned already belongs to somebody else's work.

        Raises:
            InvalidInput: It is cordoned, or there is no other node to go to.
        """
        node, (all_nodes, _) = node_of(platform, app), kube.connect(platform).list(kube.NODES)
        open_ones = [name(one) for one in all_nodes if not one["spec"].get("unschedulable")]
        if node not in open_ones or len(open_ones) < 2:
            raise InvalidInput(
                f"node {node} - cordoned already or the only one that is open: {open_ones}", hint="uncordon a node"
            )
        return cls(platform, app, node, float(timeout_s))

    def steps(self) -> tuple[Step, ...]:
        """Describe cordon, eviction and undo."""
        return (
            Step("cordon", f"Node/{self.node}", "no new pod comes"),
            Step("evict", f"pods on {self.node}", "through the eviction API, which holds the disruption budget"),
            Step("uncordon", f"Node/{self.node}", "undo, also after Ctrl-C"),
        )

    def inject(self) -> None:
        """Cordon, then evict until nothing movable is left.

        Raises:
            WaitTimeout: The budget did not allow it in time.
        """
        self.kube().cordon(self.node)
        deadline = Deadline(self.timeout_s)
        while pods := self._movable():
            waiting = [pod for pod in pods if not self._evict(pod)]
            seen = f"{len(waiting)} of {len(pods)} pods on {self.node} wait, {self.refused} refusals with 429"
            if deadline.expired():
                raise deadline.fail(f"node {self.node} empty", seen, hint="kubectl get pdb: it allows no disruption")
            pause(TRY_AGAIN_S)

    def undo(self) -> None:
        """Let pods come again."""
        self.kube().cordon(self.node, unschedulable=False)

    def recovered(self) -> Seen:
        """No pod of the application is left on the node and all wanted replicas are ready elsewhere."""
        left = [pod for pod in self.ready_pods() if pod["spec"].get("nodeName") == self.node]
        return (False, f"{len(left)} pods still on {self.node}") if left else self.steady()

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How the drain went."""
        return {"pods_evicted": len(self.evicted), "evictions_refused": self.refused, "serving_pods_min": self.lowest}

    def checks(self) -> tuple[Check, ...]:
        """The budget must have held, and the node must be open again."""
        needed = max((int(one.get("status", {}).get("desiredHealthy") or 0) for one in self._budgets()), default=0)
        left = f"{self.lowest} serving pods left after an eviction" if self.lowest is not None else "none was serving"
        value = f"{left}, {self.refused} refused with 429 and tried again"
        kept = self.lowest is None or self.lowest >= needed
        held = proof("budget held", kept, value, f"no eviction leaves fewer than {needed}", otherwise="fail")
        closed = bool(self.kube().get(kube.NODES, self.node)["spec"].get("unschedulable"))
        return held, proof("node open again", not closed, "cordoned" if closed else "open", "open", otherwise="fail")

    def _movable(self) -> list[Obj]:
        """Return the pods that a drain evicts: not those of a DaemonSet, not mirrors, nothing that is finished."""
        pods, _ = self.kube().list(kube.PODS, fields=f"spec.nodeName={self.node}")
        return [
            pod
            for pod in pods
            if (owner(pod) or {}).get("kind") != "DaemonSet"
            and MIRROR not in manifests.annotations(pod)
            and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        ]

    def _evict(self, pod: Obj) -> bool:
        """Ask once for the eviction of a pod; returns whether it is on its way."""
        if uid(pod) in self.evicted:
            return True
        serving = {uid(one) for one in self.ready_pods()}
        try:
            self.kube().evict(name(pod), namespace(pod))
        except NotFound:
            return True
        except ApiError as error:
            if error.context.get("status") != TOO_MANY_REQUESTS:
                raise
            self.refused += 1
            return False
        self.evicted.append(uid(pod))
        if uid(pod) in serving:
            self.lowest = min(len(serving) - 1, self.lowest if self.lowest is not None else len(serving))
        return True

    def _budgets(self) -> list[Obj]:
        """Return the budgets of the application's namespace."""
        return self.kube().list(BUDGETS, self.app.namespace)[0]
