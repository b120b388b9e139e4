"""Which controllers run, under which names, and who goes first?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from platform_lib.embedded.controllers import (
    autoscaler,
    deployment,
    disruptionbudget,
    endpointslice,
    eventexpiry,
    garbagecollector,
    ingressstatus,
    job,
    namespace,
    nodelifecycle,
    podgc,
    replicaset,
    scheduler,
    serviceaccount,
    tainteviction,
)
from platform_lib.embedded.controllers.writes import Change, Key, Result, Snapshot

if TYPE_CHECKING:
    from platform_lib.embedded.config import Config

MANAGER = "system:kube-controller-manager"
SCHEDULER = "system:kube-scheduler"

TRAFFIC, PODS, WORK, UPKEEP = 0, 1, 2, 3
"""Priorities: what steers requests; pods; what decides about pods; what tidies up.

Pods come before the Deployments above them, so that a size a Deployment has set is reached before it sets the
next one: there are never more pods than the surge allows, not even for a moment.
"""

Reconcile = Callable[[Snapshot, Key, datetime, Any], Result]


@dataclass(frozen=True, slots=True)
class Controller:
    """One controller as the runner sees it.

    Attributes:
        name: Name in logs and events.
        user: Who its writes are made by.
        watches: Resources whose changes it wants to hear of; None for all.
        keys_for: Which keys a change concerns.
        reconcile: What to do about a key; the last argument is the ``memory`` of the previous result.
        priority: Lower goes first.
    """

    name: str
    user: str
    watches: frozenset[str] | None
    keys_for: Callable[[Snapshot, Change], Iterable[Key]]
    reconcile: Reconcile
    priority: int


def roster(config: Config) -> list[Controller]:
    """Return all controllers of a cluster; reads the CA certificate that pods are given."""
    ca_pem = config.ca_file.read_text()
    return [
        _plain(endpointslice, TRAFFIC),
        _remembering(nodelifecycle, TRAFFIC, grace_s=config.node_grace_s),
        _plain(tainteviction, PODS),
        _plain(scheduler, PODS, user=SCHEDULER),
        _plain(replicaset, PODS),
        _plain(deployment, WORK),
        _plain(serviceaccount, WORK, ca_pem=ca_pem),
        _plain(ingressstatus, WORK),
        _plain(job, WORK),
        _plain(disruptionbudget, UPKEEP),
        _plain(namespace, UPKEEP),
        _plain(garbagecollector, UPKEEP),
        _remembering(podgc, UPKEEP, quarantine_s=config.node_grace_s),
        _remembering(autoscaler, UPKEEP),
        _plain(eventexpiry, UPKEEP),
    ]


def _plain(module: ModuleType, priority: int, *, user: str = MANAGER, **settings: Any) -> Controller:
    """Wrap a controller that needs the snapshot, the key, the time and fixed settings."""

    def reconcile(snapshot: Snapshot, key: Key, now: datetime, _: Any) -> Result:
        result: Result = module.reconcile(snapshot, key, now, **settings)
        return result

    return Controller(module.NAME, user, module.WATCHES, module.keys_for, reconcile, priority)


def _remembering(module: ModuleType, priority: int, **settings: Any) -> Controller:
    """Wrap a controller that also needs the memory of its previous result."""

    def reconcile(snapshot: Snapshot, key: Key, now: datetime, memory: Any) -> Result:
        result: Result = module.reconcile(snapshot, key, now, memory, **settings)
        return result

    return Controller(module.NAME, MANAGER, module.WATCHES, module.keys_for, reconcile, priority)
