"""Which pods may a Service send requests to? Keeps the EndpointSlices of each Service from pod conditions.

All three conditions are always written: clients take an absent ``serving`` for true. A pod that is being deleted
is ``ready: false, terminating: true`` from that moment on, whatever its probes say.

Source: kubernetes staging/src/k8s.io/endpointslice (reconciler.go, utils.go).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from platform_lib.embedded.controllers.objects import (
    FINISHED,
    controller_reference,
    node_name,
    phase,
    ready,
)
from platform_lib.embedded.controllers.writes import (
    ENDPOINTSLICES,
    NODES,
    NOTHING,
    PODS,
    SERVICES,
    Change,
    Key,
    Result,
    Snapshot,
    Write,
    create,
    delete,
)
from platform_lib.embedded.selectors import match_map
from platform_lib.model import Obj
from platform_lib.rules.manifests import deleting, labels, metadata, name, namespace, spec, status, uid

NAME = "endpointslice-controller"
WATCHES = frozenset({SERVICES, PODS, ENDPOINTSLICES})

SERVICE_LABEL = "kubernetes.io/service-name"
MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
HEADLESS_LABEL = "service.kubernetes.io/headless"
ZONE_LABEL = "topology.kubernetes.io/zone"

_OWN_LABELS = frozenset({SERVICE_LABEL, MANAGED_LABEL, HEADLESS_LABEL})


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the Services that a change concerns."""
    space = namespace(change.obj)
    if change.gvr == SERVICES:
        return [(space, name(change.obj))]
    if change.gvr == ENDPOINTSLICES:
        served = labels(change.obj).get(SERVICE_LABEL)
        return [(space, served)] if served else []
    if change.old is not None and _unchanged(change.old, change.obj) and change.type != "DELETED":
        return []
    carried = [labels(pod) for pod in (change.obj, change.old) if pod]
    return [
        (space, name(service))
        for service in snapshot.list(SERVICES, space)
        if any(match_map(spec(service).get("selector"), one) for one in carried)
    ]


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Make the slices of one Service say what its pods are."""
    service = snapshot.get(SERVICES, *key)
    if service is None or deleting(service):
        # The slices belong to the Service: the garbage collector takes them.
        return NOTHING
    chosen = spec(service).get("selector")
    present = [item for item in _slices(snapshot, key) if not deleting(item)]
    if spec(service).get("type") == "ExternalName":
        return Result([delete(ENDPOINTSLICES, item) for item in present])
    if not chosen:
        return NOTHING
    wanted = _wanted(snapshot, service, snapshot.labelled(PODS, key[0], chosen))
    return Result(_writes(service, wanted, present))


def _unchanged(old: Obj, new: Obj) -> bool:
    """Tell whether nothing that an endpoint shows has changed; most pod updates are of that sort."""
    return _shown(old) == _shown(new)


def _shown(pod: Obj) -> tuple[object, ...]:
    return (
        ready(pod),
        deleting(pod),
        status(pod).get("podIP"),
        phase(pod) in FINISHED,
        node_name(pod),
        labels(pod),
        uid(pod),
    )


def _slices(snapshot: Snapshot, key: Key) -> Sequence[Obj]:
    return snapshot.labelled(ENDPOINTSLICES, key[0], {SERVICE_LABEL: key[1], MANAGED_LABEL: MANAGER})


def _wanted(snapshot: Snapshot, service: Obj, pods: Sequence[Obj]) -> list[tuple[list[Obj], list[Obj]]]:
    """Return (ports, endpoints) of each slice: one, unless a named port has different numbers in the pods."""
    groups: dict[str, tuple[list[Obj], list[Obj]]] = {}
    for pod in sorted(pods, key=name):
        if phase(pod) in FINISHED or not status(pod).get("podIP"):
            continue
        ports = [port for port in (_port(pod, item) for item in spec(service).get("ports") or ()) if port]
        group = groups.setdefault(json.dumps(ports, sort_keys=True), (ports, []))
        group[1].append(_endpoint(snapshot, service, pod))
    return list(groups.values()) or [([], [])]


def _port(pod: Obj, service_port: Obj) -> Obj | None:
    """Resolve a port of the Service in a pod; None when the pod has no port of that name."""
    number = _number(pod, service_port)
    if number is None:
        return None
    protocol = service_port.get("protocol") or "TCP"
    port: Obj = {"name": service_port.get("name") or "", "port": number, "protocol": protocol}
    if service_port.get("appProtocol"):
        port["appProtocol"] = service_port["appProtocol"]
    return port


def _number(pod: Obj, service_port: Obj) -> int | None:
    target = service_port.get("targetPort") or service_port["port"]
    if isinstance(target, int):
        return target
    inner = spec(pod)
    sidecars = [item for item in inner.get("initContainers") or () if item.get("restartPolicy") == "Always"]
    for container in [*(inner.get("containers") or ()), *sidecars]:
        for port in container.get("ports") or ():
            same = port.get("protocol", "TCP") == (service_port.get("protocol") or "TCP")
            if port.get("name") == target and same:
                return int(port["containerPort"])
    return int(target) if target.isdigit() else None


def _endpoint(snapshot: Snapshot, service: Obj, pod: Obj) -> Obj:
    serving, terminating = ready(pod), deleting(pod)
    published = bool(spec(service).get("publishNotReadyAddresses"))
    endpoint: Obj = {
        "addresses": [status(pod)["podIP"]],
        "conditions": {
            "ready": published or (serving and not terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    }
    if node_name(pod):
        endpoint["nodeName"] = node_name(pod)
        node = snapshot.get(NODES, "", node_name(pod))
        zone = labels(node).get(ZONE_LABEL) if node else None
        if zone:
            endpoint["zone"] = zone
    if spec(pod).get("hostname") and spec(pod).get("subdomain") == name(service):
        endpoint["hostname"] = spec(pod)["hostname"]
    return endpoint


def _labels(service: Obj) -> dict[str, str]:
    copied = {key: text for key, text in labels(service).items() if key not in _OWN_LABELS}
    copied |= {SERVICE_LABEL: name(service), MANAGED_LABEL: MANAGER}
    if spec(service).get("clusterIP") == "None":
        copied[HEADLESS_LABEL] = ""
    return copied


def _writes(service: Obj, wanted: list[tuple[list[Obj], list[Obj]]], present: Sequence[Obj]) -> list[Write]:
    """Change existing slices into the wanted ones: same ports first, then whatever is left over."""
    left = sorted(present, key=name)
    pairs = []
    for ports, endpoints in wanted:
        same = next((item for item in left if (item.get("ports") or []) == ports), None)
        if same is not None:
            left.remove(same)
        pairs.append((same, ports, endpoints))
    writes = []
    for match, ports, endpoints in pairs:
        old = match or (left.pop(0) if left else None)
        writes += _write(service, old, ports, endpoints)
    return [*writes, *(delete(ENDPOINTSLICES, item) for item in left)]


def _write(service: Obj, old: Obj | None, ports: list[Obj], endpoints: list[Obj]) -> list[Write]:
    fields = {"addressType": "IPv4", "ports": ports, "endpoints": endpoints}
    if old is None:
        meta = {
            "generateName": f"{name(service)}-",
            "namespace": namespace(service),
            "labels": _labels(service),
            "ownerReferences": [controller_reference(service)],
        }
        head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
        return [create(ENDPOINTSLICES, {**head, "metadata": meta, **fields})]
    same = all((old.get(field) or []) == value for field, value in fields.items())
    if same and labels(old) == _labels(service):
        return []
    new = {**old, **fields, "metadata": {**metadata(old), "labels": _labels(service)}}
    return [Write("update", ENDPOINTSLICES, namespace(old), name(old), new, uid(old))]
