"""What happens when a node goes away, suddenly or by arrangement?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from platform_lib import providers
from platform_lib.drills.faults.base import OnApp, Seen, ready_pods
from platform_lib.model import App, Platform, Step


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
        if platform.provider == "embedded":
            return ""
        return f"provider {platform.provider!r} cannot cut the power of a node through the Kubernetes API"

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
