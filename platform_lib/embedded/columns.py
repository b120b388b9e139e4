"""Which columns has each kind in ``kubectl get``? One entry per kind; pods read through ``podcolumns``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from platform_lib.embedded import podcolumns
from platform_lib.embedded.duration import age, human, since
from platform_lib.model import Obj

Cell = Callable[[Obj, datetime], Any]
NONE = "<none>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head and how to read a cell; priority above 0 means ``-o wide`` only."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    description: str = ""


def _at(path: str, missing: Any = "") -> Cell:
    """Read a dotted path."""
    steps = path.split(".")

    def cell(obj: Obj, _: datetime) -> Any:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return missing if value is None or value == "" else value

    return cell


def _plain(read: Callable[[Obj], Any]) -> Cell:
    return lambda obj, _: read(obj)


def _text(name: str, path: str, missing: Any = NONE, wide: bool = False) -> Column:
    return Column(name, _at(path, missing), priority=int(wide))


def _count(name: str, path: str) -> Column:
    return Column(name, _at(path, 0), "integer")


def _length(name: str, *paths: str) -> Column:
    return Column(name, lambda obj, now: sum(len(_at(path, ())(obj, now)) for path in paths), "integer")


NAME = Column("Name", _at("metadata.name"), description="Name must be unique within a namespace.")
AGE = Column("Age", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now))
CREATED = Column("Created At", _at("metadata.creationTimestamp"), "date")


def default_columns() -> list[Column]:
    """Return name and age, for kinds without columns of their own."""
    return [NAME, AGE]


def _join(values: Iterable[Any], missing: str = NONE) -> str:
    return ",".join(str(value) for value in values) or missing


def _containers(field: str) -> Cell:
    def cell(obj: Obj, _: datetime) -> str:
        spec = (obj.get("spec") or {}).get("template", {}).get("spec") or {}
        return _join(container.get(field, "") for container in spec.get("containers") or ())

    return cell


def selector_text(selector: Any) -> str:
    """Return a LabelSelector or an equality map on one line: ``app=web,tier in (a,b)``."""
    if not isinstance(selector, dict) or not selector:
        return NONE
    if not {"matchLabels", "matchExpressions"} & selector.keys():
        return _join(f"{key}={value}" for key, value in sorted(selector.items()))
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    return _join([*terms, *(_expression(item) for item in selector.get("matchExpressions") or ())])


def _expression(item: dict[str, Any]) -> str:
    key, values = item["key"], ",".join(item.get("values") or ())
    texts = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "Exists": str(key)}
    return texts.get(item["operator"], f"!{key}")


def _selector(path: str, name: str = "Selector", priority: int = 1) -> Column:
    return Column(name, lambda obj, now: selector_text(_at(path)(obj, now)), priority=priority)


_WORKLOAD_WIDE = [
    Column("Containers", _containers("name"), priority=1),
    Column("Images", _containers("image"), priority=1),
    _selector("spec.selector"),
]


def _ready_of(obj: Obj) -> str:
    return f"{(obj.get('status') or {}).get('readyReplicas', 0)}/{(obj.get('spec') or {}).get('replicas', 0)}"


def _service_ports(obj: Obj) -> str:
    parts = []
    for port in (obj.get("spec") or {}).get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        parts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return _join(parts)


def _addresses(obj: Obj) -> list[str]:
    points = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    return [point.get("ip") or point.get("hostname") or "" for point in points]


def _external(obj: Obj) -> str:
    spec = obj.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    outside = [*_addresses(obj), *(spec.get("externalIPs") or ())]
    return _join(outside, "<pending>" if spec.get("type") == "LoadBalancer" else NONE)


def _hosts(obj: Obj) -> str:
    return _join((rule.get("host") or "*" for rule in (obj.get("spec") or {}).get("rules") or ()), "*")


def _condition(obj: Obj, kind: str) -> dict[str, Any]:
    found = (c for c in (obj.get("status") or {}).get("conditions") or () if c.get("type") == kind)
    return next(found, {})


def _node_status(obj: Obj) -> str:
    word = {"True": "Ready", "False": "NotReady"}.get(_condition(obj, "Ready").get("status", ""))
    if word is None:
        word = "NotReady" if _condition(obj, "Ready") else "Unknown"
    return f"{word},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else word


def _node_roles(obj: Obj) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return _join(sorted(key[len(prefix) :] for key in labels if key.startswith(prefix)))


def _node_address(kind: str) -> Cell:
    def cell(obj: Obj, _: datetime) -> str:
        found = (obj.get("status") or {}).get("addresses") or ()
        return next((str(item["address"]) for item in found if item.get("type") == kind), NONE)

    return cell


def _last_seen(obj: Obj, now: datetime) -> str:
    series = obj.get("series") or {}
    return age(
        series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
        or obj["metadata"].get("creationTimestamp"), now,
    )  # fmt: skip


def _first_seen(obj: Obj, now: datetime) -> str:
    return age(obj.get("firstTimestamp") or obj.get("eventTime"), now)


def _event_object(obj: Obj) -> str:
    target = obj.get("involvedObject") or {}
    return f"{str(target.get('kind', '')).lower()}/{target.get('name', '')}"


def _event_source(obj: Obj) -> str:
    source = obj.get("source") or {}
    parts = (source.get("component") or obj.get("reportingComponent"), source.get("host"))
    return ", ".join(str(part) for part in parts if part)


def _event_count(obj: Obj) -> int:
    return int((obj.get("series") or {}).get("count") or obj.get("count") or 1)


def _targets(obj: Obj) -> str:
    """Current and wanted value of each metric: ``cpu: 12%/70%``."""
    current = {_metric(item)[0]: _metric(item)[1] for item in (obj.get("status") or {}).get("currentMetrics") or ()}
    wanted = [_metric(item) for item in (obj.get("spec") or {}).get("metrics") or ()]
    return ", ".join(f"{name}: {current.get(name) or '<unknown>'}/{value}" for name, value in wanted) or NONE


def _metric(item: dict[str, Any]) -> tuple[str, str]:
    body = item.get((item.get("type") or "")[:1].lower() + (item.get("type") or "")[1:]) or {}
    numbers = body.get("target") or body.get("current") or {}
    name = body.get("name") or (body.get("metric") or {}).get("name", "")
    if numbers.get("averageUtilization") is not None:
        return name, f"{numbers['averageUtilization']}%"
    return name, str(numbers.get("averageValue") or numbers.get("value") or "")


def _reference(path: str) -> Cell:
    def cell(obj: Obj, now: datetime) -> str:
        target = _at(path, {})(obj, now)
        return f"{target.get('kind', '')}/{target.get('name', '')}"

    return cell


def _slice_ports(obj: Obj) -> str:
    return _join((port.get("port") for port in obj.get("ports") or ()), "<unset>")


def _slice_addresses(obj: Obj) -> str:
    found = [address for point in obj.get("endpoints") or () for address in point.get("addresses") or ()]
    return _join(found[:3], "<unset>") + (f" + {len(found) - 3} more..." if len(found) > 3 else "")


def _job_status(obj: Obj) -> str:
    for kind, word in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if _condition(obj, kind).get("status") == "True":
            return word
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else "Running"


def _completions(obj: Obj) -> str:
    wanted = (obj.get("spec") or {}).get("completions") or 1
    return f"{(obj.get('status') or {}).get('succeeded', 0)}/{wanted}"


def _job_duration(obj: Obj, now: datetime) -> str:
    status = obj.get("status") or {}
    start = since(status.get("startTime"), now)
    return "" if start is None else human(start - (since(status.get("completionTime"), now) or 0.0))


_CREATED_ONLY = [NAME, CREATED]
_BINDING = [NAME, Column("Role", _reference("roleRef")), AGE]

COLUMNS: dict[str, list[Column]] = {
    "v1/pods": [
        NAME,
        Column("Ready", _plain(podcolumns.ready)),
        Column("Status", _plain(podcolumns.phase)),
        Column("Restarts", podcolumns.restarts),
        AGE,
        _text("IP", "status.podIP", wide=True),
        _text("Node", "spec.nodeName", wide=True),
        _text("Nominated Node", "status.nominatedNodeName", wide=True),
        Column("Readiness Gates", lambda obj, now: NONE, priority=1),
    ],
    "apps/v1/deployments": [
        NAME, Column("Ready", _plain(_ready_of)), _count("Up-to-date", "status.updatedReplicas"),
        _count("Available", "status.availableReplicas"), AGE, *_WORKLOAD_WIDE,
    ],
    "apps/v1/replicasets": [
        NAME, _count("Desired", "spec.replicas"), _count("Current", "status.replicas"),
        _count("Ready", "status.readyReplicas"), AGE, *_WORKLOAD_WIDE,
    ],
    "apps/v1/statefulsets": [NAME, Column("Ready", _plain(_ready_of)), AGE, *_WORKLOAD_WIDE[:2]],
    "apps/v1/daemonsets": [
        NAME, _count("Desired", "status.desiredNumberScheduled"),
        _count("Current", "status.currentNumberScheduled"), _count("Ready", "status.numberReady"),
        _count("Up-to-date", "status.updatedNumberScheduled"), _count("Available", "status.numberAvailable"),
        Column("Node Selector", lambda obj, now: selector_text(_at("spec.template.spec.nodeSelector")(obj, now))),
        AGE, *_WORKLOAD_WIDE,
    ],
    "v1/services": [
        NAME, _text("Type", "spec.type"), _text("Cluster-IP", "spec.clusterIP"),
        Column("External-IP", _plain(_external)), Column("Port(s)", _plain(_service_ports)), AGE,
        _selector("spec.selector"),
    ],
    "networking.k8s.io/v1/ingresses": [
        NAME, _text("Class", "spec.ingressClassName"), Column("Hosts", _plain(_hosts)),
        Column("Address", lambda obj, now: _join(_addresses(obj), "")),
        Column("Ports", lambda obj, now: "80, 443" if (obj.get("spec") or {}).get("tls") else "80"), AGE,
    ],
    "networking.k8s.io/v1/ingressclasses": [
        NAME, _text("Controller", "spec.controller"), _text("Parameters", "spec.parameters.name"), AGE,
    ],
    "networking.k8s.io/v1/networkpolicies": [NAME, _selector("spec.podSelector", "Pod-Selector", 0), AGE],
    "v1/nodes": [
        NAME, Column("Status", _plain(_node_status)), Column("Roles", _plain(_node_roles)), AGE,
        _text("Version", "status.nodeInfo.kubeletVersion"),
        Column("Internal-IP", _node_address("InternalIP"), priority=1),
        Column("External-IP", _node_address("ExternalIP"), priority=1),
        _text("OS-Image", "status.nodeInfo.osImage", "<unknown>", wide=True),
        _text("Kernel-Version", "status.nodeInfo.kernelVersion", "<unknown>", wide=True),
        _text("Container-Runtime", "status.nodeInfo.containerRuntimeVersion", "<unknown>", wide=True),
    ],
    "v1/events": [
        Column("Last Seen", _last_seen), _text("Type", "type", ""), _text("Reason", "reason", ""),
        Column("Object", _plain(_event_object)), _text("Subobject", "involvedObject.fieldPath", "", wide=True),
        Column("Source", _plain(_event_source), priority=1), _text("Message", "message", ""),
        Column("First Seen", _first_seen, priority=1),
        Column("Count", _plain(_event_count), "integer", 1), Column("Name", NAME.cell, priority=1),
    ],
    "v1/namespaces": [NAME, _text("Status", "status.phase", ""), AGE],
    "v1/configmaps": [NAME, _length("Data", "data", "binaryData"), AGE],
    "v1/secrets": [NAME, _text("Type", "type", ""), _length("Data", "data"), AGE],
    "v1/serviceaccounts": [NAME, _length("Secrets", "secrets"), AGE],
    "autoscaling/v2/horizontalpodautoscalers": [
        NAME, Column("Reference", _reference("spec.scaleTargetRef")), Column("Targets", _plain(_targets)),
        Column("MinPods", lambda obj, now: str(_at("spec.minReplicas", "<unset>")(obj, now))),
        _count("MaxPods", "spec.maxReplicas"), _count("Replicas", "status.currentReplicas"), AGE,
    ],
    "policy/v1/poddisruptionbudgets": [
        NAME, Column("Min Available", lambda obj, now: str(_at("spec.minAvailable", "N/A")(obj, now))),
        Column("Max Unavailable", lambda obj, now: str(_at("spec.maxUnavailable", "N/A")(obj, now))),
        _count("Allowed Disruptions", "status.disruptionsAllowed"), AGE,
    ],
    "discovery.k8s.io/v1/endpointslices": [
        NAME, _text("AddressType", "addressType", ""), Column("Ports", _plain(_slice_ports)),
        Column("Endpoints", _plain(_slice_addresses)), AGE,
    ],
    "coordination.k8s.io/v1/leases": [NAME, _text("Holder", "spec.holderIdentity", ""), AGE],
    "batch/v1/jobs": [
        NAME, Column("Status", _plain(_job_status)), Column("Completions", _plain(_completions)),
        Column("Duration", _job_duration), AGE, *_WORKLOAD_WIDE,
    ],
    "rbac.authorization.k8s.io/v1/roles": _CREATED_ONLY,
    "rbac.authorization.k8s.io/v1/clusterroles": _CREATED_ONLY,
    "rbac.authorization.k8s.io/v1/rolebindings": _BINDING,
    "rbac.authorization.k8s.io/v1/clusterrolebindings": _BINDING,
    "apiextensions.k8s.io/v1/customresourcedefinitions": _CREATED_ONLY,
    "argoproj.io/v1alpha1/applications": [
        NAME, _text("Sync Status", "status.sync.status", ""), _text("Health Status", "status.health.status", ""),
        Column("Revision", _at("status.sync.revision"), priority=10),
        Column("Project", _at("spec.project"), priority=10),
    ],
}  # fmt: skip
"""Columns by resource."""
