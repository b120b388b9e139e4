"""Which faults can a drill inject? One file per family; ``base`` holds the contract between fault and engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from platform_lib.drills.faults.bad_deploy import BadDeploy
from platform_lib.drills.faults.base import Fault, Progress, Seen, Target
from platform_lib.drills.faults.chaos_mesh import ChaosMesh
from platform_lib.drills.faults.cluster import ClusterLoss
from platform_lib.drills.faults.components import ArgoDown, GitOutage, IngressDown, MetricsDown
from platform_lib.drills.faults.dependency import SlowDependency
from platform_lib.drills.faults.drift import Drift, NamespaceDeleted
from platform_lib.drills.faults.load import LoadSpike
from platform_lib.drills.faults.nodes import NodeDrain, NodeLoss
from platform_lib.drills.faults.pods import PodLoss
from platform_lib.drills.faults.pressure import CpuPressure, MemoryPressure
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Platform, joined

__all__ = ["ACTIONS", "Fault", "Progress", "Seen", "Target", "choose", "from_target", "known", "supported"]

ACTIONS: dict[str, type[Fault]] = {
    "force_delete_pod": PodLoss,
    "stop_node": NodeLoss,
    "drain_node": NodeDrain,
    "destroy_cluster": ClusterLoss,
    "delete_service": Drift,
    "delete_namespace": NamespaceDeleted,
    "stop_git": GitOutage,
    "stop_argocd": ArgoDown,
    "stop_ingress": IngressDown,
    "stop_metrics": MetricsDown,
    "spike_load": LoadSpike,
    "press_cpu": CpuPressure,
    "press_memory": MemoryPressure,
    "slow_dependency": SlowDependency,
    "deploy_bad": BadDeploy,
    "chaos_mesh": ChaosMesh,
}


def known(action: str) -> type[Fault]:
    """Return the fault of that name.

    Raises:
        InvalidInput: There is none; names those that exist.
    """
    if action not in ACTIONS:
        raise InvalidInput(f"fault {action!r} - unknown, wanted one of {joined(ACTIONS)}", hint="correct the scenario")
    return ACTIONS[action]


def supported(action: str, platform: Platform, app: App) -> str:
    """Return "" or the reason why this platform cannot have that fault."""
    return known(action).supported(platform, app)


def choose(action: str, platform: Platform, app: App, parameters: Mapping[str, Any] | None = None) -> Fault:
    """Pick the target of a fault; reads only.

    Args:
        action: Name of the fault, as in the scenario's ``[fault]``.
        platform: Where.
        app: Whose application.
        parameters: The other keys of ``[fault]``.

    Raises:
        InvalidInput: There is no such action, no target for it, or a parameter that it does not know.
    """
    cls = known(action)
    try:
        return cls.choose(platform, app, **dict(parameters or {}))
    except TypeError as error:
        raise InvalidInput(
            f"fault {action!r} - parameters {joined(parameters or {})} do not fit: {error}", hint="correct the scenario"
        ) from error


def from_target(action: str, platform: Platform, app: App, target: Mapping[str, Any]) -> Fault:
    """Make a fault again of what ``Fault.target`` returned, in any process, for its ``undo``.

    Raises:
        InvalidInput: There is no such action.
    """
    return known(action).from_target(platform, app, target)
