"""What does Docker hold of a k3d cluster, and how is it created, started, stopped and deleted? k3d's own commands.

Source: k3d cmd/cluster/clusterList.go (the JSON is the cluster with its nodes and four counts) and clusterDelete.go: a
deletion that finds no node says "nothing to delete" and succeeds, even when the daemon is away, so it is asked first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from platform_lib.errors import PlatformError
from platform_lib.providers.k3d import programs
from platform_lib.providers.k3d.programs import Say

DELETE_TIMEOUT_S = 120.0
START_TIMEOUT_S = 180.0
GRACE_S = 30.0
"""How much longer than k3d's own time-out we wait for it: it rolls back by itself first."""

State = Literal["absent", "running", "partial", "stopped"]
INTERNAL_ROLES = ("server", "agent", "loadbalancer")


@dataclass(frozen=True, slots=True)
class Node:
    """One container of a cluster: ``role`` is server, agent, loadbalancer or registry."""

    name: str
    role: str
    status: str
    running: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """What Docker holds of one cluster."""

    name: str
    nodes: tuple[Node, ...] = ()

    @property
    def state(self) -> State:
        """``partial`` is a cluster of which some containers run."""
        inside = [node for node in self.nodes if node.role in INTERNAL_ROLES]
        running = sum(node.running for node in inside)
        if not inside:
            return "absent"
        if running == 0:
            return "stopped"
        return "running" if running == len(inside) else "partial"

    def of(self, role: str) -> set[str]:
        """Return the names of the nodes of a role."""
        return {node.name for node in self.nodes if node.role == role}


def look(name: str) -> Seen:
    """Return what Docker holds of a cluster.

    Raises:
        ToolMissing, PlatformError: docker or k3d is absent or does not answer.
    """
    text = programs.k3d("cluster", "list", "-o", "json")
    try:
        found = next((one for one in json.loads(text) or () if one.get("name") == name), None)
        return Seen(name, tuple(map(_node, found["nodes"])) if found else ())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlatformError(
            f"k3d cluster list - its answer is not the JSON expected: {text[:80]!r}",
            hint="see k3d version; 5.7 to 5.9 are known",
        ) from error


def _node(entry: dict[str, Any]) -> Node:
    """Read one node of the list."""
    state = entry.get("State") or {}
    running = bool(state.get("Running"))
    return Node(
        name=str(entry["name"]).lstrip("/"),
        role=str(entry.get("role", "")),
        status=str(state.get("Status") or ("running" if running else "not running")),
        running=running,
    )


def create(config: Path, *, timeout_s: float, say: Say) -> None:
    """Create the cluster that a config file describes; k3d takes a failed one back by itself, we look after it."""
    programs.k3d("cluster", "create", "--config", str(config), timeout_s=timeout_s + GRACE_S, say=say)


def start(name: str, *, say: Say) -> None:
    """Start every container of a cluster."""
    limit = f"{START_TIMEOUT_S:.0f}s"
    programs.k3d("cluster", "start", name, "--timeout", limit, timeout_s=START_TIMEOUT_S + GRACE_S, say=say)


def stop(name: str) -> None:
    """Stop every container of a cluster."""
    programs.k3d("cluster", "stop", name, timeout_s=DELETE_TIMEOUT_S)


def delete(name: str, registry: str) -> None:
    """Delete a cluster with its registry; what is not there is not missed.

    Raises:
        Unreachable: The daemon does not answer; nothing was deleted.
        PlatformError: A container could not be deleted.
    """
    programs.docker_version()
    programs.k3d("cluster", "delete", name, timeout_s=DELETE_TIMEOUT_S)
    left = containers(name)
    if registry in left:  # k3d keeps a registry that other networks use, and one whose cluster never came to be
        programs.k3d("registry", "delete", registry)


def containers(name: str) -> list[str]:
    """Return the names of every container that carries the cluster's label, running or not."""
    text = programs.docker("ps", "--all", "--filter", f"label=k3d.cluster={name}", "--format", "{{.Names}}")
    return text.split()


def networks(name: str) -> list[str]:
    """Return the cluster's network, when it is there."""
    text = programs.docker("network", "ls", "--filter", f"name=^k3d-{name}$", "--format", "{{.Name}}")
    return text.split()


def publisher(port: int) -> str:
    """Return the container that publishes a port of the host; empty when none does."""
    return " ".join(programs.docker("ps", "--filter", f"publish={port}", "--format", "{{.Names}}").split())
