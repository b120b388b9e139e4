"""Which pod of a ReplicaSet goes first when there are too many?

Source: kubernetes pkg/controller/controller_utils.go, ActivePodsWithRanks.Less.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from platform_lib.embedded.controllers.objects import (
    active,
    created,
    node_name,
    phase,
    ready,
    ready_since,
    restarts,
)
from platform_lib.model import Obj
from platform_lib.rules import manifests

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1}
_RUNNING = 2


def victims(pods: Sequence[Obj], related: Sequence[Obj], count: int, now: datetime) -> list[Obj]:
    """Choose the pods to delete.

    Unbound before bound, pending before running, unready before ready, cheaper first, crowded nodes first, the
    one that became ready last first, more restarts first, younger first. Ages are compared on a logarithmic
    scale, so that among pods of about the same age the choice is even.

    Args:
        pods: Active pods of the ReplicaSet.
        related: Pods of all ReplicaSets of the same owner; they decide how crowded a node is.
        count: How many have to go.
        now: Present time.
    """
    crowd = Counter(node_name(pod) for pod in related if active(pod) and node_name(pod))
    ranked = sorted(pods, key=lambda pod: _order(pod, crowd, now))
    return ranked[:count]


def _order(pod: Obj, crowd: Counter[str], now: datetime) -> tuple[object, ...]:
    since = ready_since(pod) or datetime.min.replace(tzinfo=UTC)
    return (
        bool(node_name(pod)),
        _PHASES.get(phase(pod), _RUNNING),
        ready(pod),
        _cost(pod),
        -crowd[node_name(pod)],
        _magnitude(now, since),
        -restarts(pod),
        _magnitude(now, created(pod)),
        manifests.uid(pod),
    )


def _cost(pod: Obj) -> int:
    text = manifests.annotations(pod).get(DELETION_COST, "0")
    return int(text) if text.lstrip("-").isdigit() else 0


def _magnitude(now: datetime, since: datetime) -> int:
    """Return the age in powers of two of a nanosecond: pods of one class count as equally old."""
    age_ns = (now - since).total_seconds() * 1e9
    return int(math.log2(age_ns)) if age_ns >= 1 else -1
