"""What does a pod ask for, and what does a node offer? In the whole numbers the scheduler counts with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj
from platform_lib.rules.manifests import spec


class Resources(NamedTuple):
    """An amount of each resource the scheduler counts."""

    cpu_m: int = 0
    memory_bytes: int = 0
    pods: int = 0

    def plus(self, other: Resources) -> Resources:
        """Return the sum."""
        return Resources(self[0] + other[0], self[1] + other[1], self[2] + other[2])

    def minus(self, other: Resources) -> Resources:
        """Return the difference."""
        return Resources(self[0] - other[0], self[1] - other[1], self[2] - other[2])


def milli(value: str | int | float | None) -> int:
    """Read a quantity in thousandths, rounded up (CPU); None is 0."""
    return 0 if value is None else math.ceil(parse_quantity(value) * 1000)


def whole(value: str | int | float | None) -> int:
    """Read a quantity in units, rounded up (bytes, pods); None is 0."""
    return 0 if value is None else math.ceil(parse_quantity(value))


def pod_requests(pod: Obj) -> Resources:
    """Return what a pod asks for: containers together, or its biggest init container, plus overhead.

    Source: Kubernetes, "Pod Overhead" and "Sidecar Containers: resource sharing within containers".
    """
    inner = spec(pod)
    cpu_m, memory = _sum(inner.get("containers") or ())
    side_cpu, side_memory = 0, 0
    for init in inner.get("initContainers") or ():
        one_cpu, one_memory = _sum([init])
        if init.get("restartPolicy") == "Always":
            side_cpu, side_memory = side_cpu + one_cpu, side_memory + one_memory
            cpu_m, memory = cpu_m + one_cpu, memory + one_memory
        else:
            cpu_m, memory = max(cpu_m, side_cpu + one_cpu), max(memory, side_memory + one_memory)
    overhead = inner.get("overhead") or {}
    return Resources(cpu_m + milli(overhead.get("cpu")), memory + whole(overhead.get("memory")), 1)


def allocatable(node: Obj) -> Resources:
    """Return what a node offers to pods (110 pods where it does not say)."""
    status = node.get("status") or {}
    offered: Mapping[str, Any] = status.get("allocatable") or status.get("capacity") or {}
    return Resources(milli(offered.get("cpu")), whole(offered.get("memory")), whole(offered.get("pods", 110)))


def _sum(containers: Any) -> tuple[int, int]:
    asked = [(item.get("resources") or {}).get("requests") or {} for item in containers]
    return sum(milli(one.get("cpu")) for one in asked), sum(whole(one.get("memory")) for one in asked)
