"""What does every namespace get without asking? A default ServiceAccount and the cluster's CA certificate.

Source: kubernetes pkg/controller/serviceaccount and pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from platform_lib.embedded.controllers.writes import (
    NAMESPACES,
    NOTHING,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    create,
    merge,
)
from platform_lib.rules.manifests import deleting, name, namespace

NAME = "serviceaccount-controller"
ACCOUNTS = "v1/serviceaccounts"
CONFIGMAPS = "v1/configmaps"
WATCHES = frozenset({NAMESPACES, ACCOUNTS, CONFIGMAPS})

ACCOUNT = "default"
BUNDLE = "kube-root-ca.crt"


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the namespace that a change concerns."""
    if change.gvr == NAMESPACES:
        return [("", name(change.obj))] if change.type != "DELETED" else []
    ours = name(change.obj) == (ACCOUNT if change.gvr == ACCOUNTS else BUNDLE)
    return [("", namespace(change.obj))] if ours and change.type != "ADDED" else []


def reconcile(snapshot: Snapshot, key: Key, now: datetime, *, ca_pem: str) -> Result:
    """Give one namespace what it lacks.

    Args:
        snapshot: The cluster.
        key: ("", namespace).
        now: Present time.
        ca_pem: The certificate that pods verify the API with.
    """
    space = snapshot.get(NAMESPACES, "", key[1])
    if space is None or deleting(space):
        return NOTHING
    writes: list[Write] = []
    meta = {"namespace": key[1]}
    if snapshot.get(ACCOUNTS, key[1], ACCOUNT) is None:
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**meta, "name": ACCOUNT}}
        writes.append(create(ACCOUNTS, account))
    data = {"ca.crt": ca_pem}
    bundle = snapshot.get(CONFIGMAPS, key[1], BUNDLE)
    if bundle is None:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**meta, "name": BUNDLE}, "data": data}
        writes.append(create(CONFIGMAPS, body))
    elif bundle.get("data") != data:
        writes.append(merge(CONFIGMAPS, bundle, {"data": data}))
    return Result(writes)
