"""At which address is an Ingress reached? Publishes the address of the one Traefik of this cluster.

Traefik could publish it itself, but only the address of a Service it runs behind, which it does not here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from platform_lib.embedded.controllers.writes import (
    INGRESSCLASSES,
    INGRESSES,
    NOTHING,
    Change,
    Key,
    Result,
    Snapshot,
    set_status,
)
from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.manifests import deleting, name, namespace, spec, status

NAME = "ingress-status-controller"
WATCHES = frozenset({INGRESSES, INGRESSCLASSES})

CONTROLLER = "traefik.io/ingress-controller"
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
ADDRESS = "127.0.0.1"


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the Ingresses that a change concerns."""
    if change.gvr == INGRESSES:
        return [(namespace(change.obj), name(change.obj))]
    return [(namespace(item), name(item)) for item in snapshot.list(INGRESSES)]


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Publish the address of one Ingress; take it back when Traefik does not serve it."""
    ingress = snapshot.get(INGRESSES, *key)
    if ingress is None or deleting(ingress):
        return NOTHING
    balancer = {"ingress": [{"ip": ADDRESS}]} if _served(snapshot, ingress) else {}
    return Result(set_status(INGRESSES, ingress, {**status(ingress), "loadBalancer": balancer}))


def _served(snapshot: Snapshot, ingress: Obj) -> bool:
    chosen = spec(ingress).get("ingressClassName")
    if chosen:
        found = snapshot.get(INGRESSCLASSES, "", chosen)
        return found is not None and spec(found).get("controller") == CONTROLLER
    return manifests.annotations(ingress).get(CLASS_ANNOTATION) == "traefik"
