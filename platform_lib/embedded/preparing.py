"""What does the API fill in for each kind besides defaults? One small function per kind.

Pure: each gets the object, and a look at the store where it must choose something free.
Source: the ``strategy.go`` of each resource and the admission plugins of kube-apiserver.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime

from platform_lib.embedded.metadata import timestamp
from platform_lib.embedded.store import Store
from platform_lib.model import Obj

SERVICES = "v1/services"
SERVICE_NETWORK = "10.43"
"""Cluster IPs are 10.43.x.y as in k3s. On this platform they are names only: traffic goes to pod addresses."""

KEEPS_STATUS_ON_CREATE = frozenset({"v1/nodes"})


def service_created(obj: Obj, store: Store, _: datetime) -> None:
    """Choose a free cluster IP."""
    spec = obj.setdefault("spec", {})
    if spec.get("type") == "ExternalName":
        return
    if not spec.get("clusterIP"):
        name = f"{obj['metadata'].get('namespace')}/{obj['metadata']['name']}"
        spec["clusterIP"] = _free_address(name, store)
    spec["clusterIPs"] = [spec["clusterIP"]]
    obj["status"] = {"loadBalancer": {}}


def _free_address(name: str, store: Store) -> str:
    """Return an address that follows from the name (same after a rebuild) unless somebody has it."""
    taken = {(service.get("spec") or {}).get("clusterIP") for service in store.list(SERVICES)}
    number = zlib.crc32(name.encode())
    while True:
        address = f"{SERVICE_NETWORK}.{number // 250 % 250}.{number % 250 + 2}"
        if address not in taken:
            return address
        number += 1


def service_updated(old: Obj, new: Obj) -> None:
    """Keep the addresses that a writer leaves out (``patchAllocatedValues`` of Kubernetes)."""
    before, after = old.get("spec") or {}, new.setdefault("spec", {})
    if after.get("type") == "ExternalName" or before.get("type") == "ExternalName":
        return
    for field in ("clusterIP", "clusterIPs"):
        if not after.get(field) and before.get(field):
            after[field] = before[field]


def definition_created(obj: Obj, _: Store, now: datetime) -> None:
    """Accept the names of a CustomResourceDefinition at once."""
    spec = obj.get("spec") or {}
    names = spec.get("names") or {}
    condition = {"status": "True", "lastTransitionTime": timestamp(now)}
    obj["status"] = {
        "acceptedNames": names,
        "storedVersions": [item.get("name") for item in spec.get("versions") or () if item.get("storage")],
        "conditions": [
            {
                "type": "NamesAccepted",
                "reason": "NoConflicts",
                "message": "no conflicts found",
                **condition,
            },
            {
                "type": "Established",
                "reason": "InitialNamesAccepted",
                "message": "the initial names have been accepted",
                **condition,
            },
        ],
    }


CREATED: dict[str, Callable[[Obj, Store, datetime], None]] = {
    SERVICES: service_created,
    "apiextensions.k8s.io/v1/customresourcedefinitions": definition_created,
}
UPDATED: dict[str, Callable[[Obj, Obj], None]] = {SERVICES: service_updated}
