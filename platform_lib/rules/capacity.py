"""Does the cluster hold what may be asked of it? Placement by requests, also with a node lost; pure.

Source: Kubernetes scheduler, NodeResourcesFit: a pod fits where the sum of requests stays within allocatable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Room:
    """What a node has left for pods: cores, bytes and places."""

    node: str
    cpu_cores: float
    memory_bytes: float
    pods: int


@dataclass(frozen=True, slots=True)
class Need:
    """What one further pod asks for."""

    cpu_cores: float
    memory_bytes: float


def fits(rooms: Iterable[Room], need: Need) -> int:
    """Return how many pods of one kind fit, each where there is room.

    Args:
        rooms: What each node has left.
        need: What one pod asks for; a request of 0 is limited by places alone.
    """
    return sum(_on_one(room, need) for room in rooms)


def _on_one(room: Room, need: Need) -> int:
    """Return how many fit on one node."""
    limits = [room.pods]
    limits += [int(room.cpu_cores / need.cpu_cores + 1e-9)] if need.cpu_cores > 0 else []
    limits += [int(room.memory_bytes / need.memory_bytes + 1e-9)] if need.memory_bytes > 0 else []
    return max(min(limits), 0)


def fits_without_any_node(rooms: Sequence[Room], need: Need, *, on_node: dict[str, int]) -> int:
    """Return how many further pods fit after the worst loss of one node, whose own pods come first.

    Args:
        rooms: What each node has left now.
        need: What one pod asks for.
        on_node: How many pods of this kind run on each node; those of the lost one need a place too.

    Returns:
        The smallest number over all nodes; negative when not even the displaced pods find a place.
    """
    left = [fits([r for r in rooms if r.node != lost.node], need) - on_node.get(lost.node, 0) for lost in rooms]
    return min(left) if left else 0
