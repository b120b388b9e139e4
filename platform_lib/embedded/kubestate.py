"""Which metrics describe the objects of the cluster? Pure: a snapshot of objects in, exposition text out.

Names and labels are those of kube-state-metrics and of Argo CD's own exporter, so that alert rules and
dashboards written for a real cluster work. Only the metrics listed here are served (and
the counts of ``syncs``).

Source: kube-state-metrics documentation (docs/metrics), Argo CD documentation (operator-manual/metrics).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj

PHASES = ("Pending", "Running", "Succeeded", "Failed", "Unknown")
Sample = tuple[dict[str, str], float]
Family = tuple[str, str, Iterable[Sample]]
Snapshot = Mapping[str, Iterable[Obj]]
"""Objects by resource, for example ``{"v1/pods": [...]}``."""


def render(snapshot: Snapshot) -> str:
    """Return the Prometheus text exposition of a snapshot; empty families are left out."""
    return exposition(_families(snapshot)) or "\n"


def exposition(families: Iterable[Family]) -> str:
    """Return families of metrics as text; empty ones are left out."""
    lines: list[str] = []
    for name, help_text, samples in families:
        rows = [f"{name}{_labels(labels)} {float(value):.15g}" for labels, value in samples]
        if rows:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *rows]
    return "".join(line + "\n" for line in lines)


def _families(snapshot: Snapshot) -> Iterator[Family]:
    """Yield every family of metrics."""
    pods = list(snapshot.get("v1/pods", ()))
    yield from _deployment_families(list(snapshot.get("apps/v1/deployments", ())))
    yield from _replicaset_families(list(snapshot.get("apps/v1/replicasets", ())))
    yield from _pod_families(pods)
    yield from _container_families(pods)
    yield from _node_families(list(snapshot.get("v1/nodes", ())))
    yield from _endpoint_families(list(snapshot.get("discovery.k8s.io/v1/endpointslices", ())))
    yield from _autoscaler_families(list(snapshot.get("autoscaling/v2/horizontalpodautoscalers", ())))
    yield from _application_families(list(snapshot.get("argoproj.io/v1alpha1/applications", ())))


def _deployment_families(deployments: list[Obj]) -> Iterator[Family]:
    """Yield desired and reached state of deployments."""

    def of(field: str, part: str = "status") -> list[Sample]:
        return [(_named(d, "deployment"), _number(d.get(part, {}).get(field, 0))) for d in deployments]

    status = "kube_deployment_status_"
    yield "kube_deployment_spec_replicas", "Number of desired pods for a deployment.", of("replicas", "spec")
    yield f"{status}replicas", "The number of replicas per deployment.", of("replicas")
    yield f"{status}replicas_ready", "The number of ready replicas per deployment.", of("readyReplicas")
    yield (
        f"{status}replicas_available",
        "The number of available replicas per deployment.",
        of("availableReplicas"),
    )
    yield (
        f"{status}replicas_unavailable",
        "The number of unavailable replicas per deployment.",
        of("unavailableReplicas"),
    )
    yield f"{status}replicas_updated", "The number of updated replicas per deployment.", of("updatedReplicas")
    yield (
        f"{status}observed_generation",
        "The generation observed by the deployment controller.",
        of("observedGeneration"),
    )
    yield (
        "kube_deployment_metadata_generation",
        "Sequence number representing a specific generation of the desired state.",
        of("generation", "metadata"),
    )
    yield (
        f"{status}condition",
        "The current status conditions of a deployment.",
        [
            (
                _named(d, "deployment") | {"condition": c["type"], "status": value},
                value == c["status"].lower(),
            )
            for d in deployments
            for c in d.get("status", {}).get("conditions", ())
            for value in ("true", "false", "unknown")
        ],
    )


def _replicaset_families(replicasets: list[Obj]) -> Iterator[Family]:
    """Yield replica counts of replica sets."""

    def of(field: str, part: str) -> list[Sample]:
        return [(_named(r, "replicaset"), _number(r.get(part, {}).get(field, 0))) for r in replicasets]

    yield "kube_replicaset_spec_replicas", "Number of desired pods for a ReplicaSet.", of("replicas", "spec")
    yield (
        "kube_replicaset_status_ready_replicas",
        "The number of ready replicas per ReplicaSet.",
        of("readyReplicas", "status"),
    )


def _pod_families(pods: list[Obj]) -> Iterator[Family]:
    """Yield phase, readiness and placement of pods."""
    yield (
        "kube_pod_info",
        "Information about pod.",
        [
            (
                _pod(p)
                | {
                    "host_ip": p.get("status", {}).get("hostIP", ""),
                    "pod_ip": p.get("status", {}).get("podIP", ""),
                    "node": p.get("spec", {}).get("nodeName", ""),
                    "uid": p["metadata"].get("uid", ""),
                    "created_by_kind": owner.get("kind", ""),
                    "created_by_name": owner.get("name", ""),
                },
                1,
            )
            for p in pods
            for owner in [owner_of(p["metadata"])]
        ],
    )
    yield (
        "kube_pod_labels",
        "Kubernetes labels converted to Prometheus labels.",
        [
            (
                _pod(p) | {f"label_{safe(k)}": v for k, v in (p["metadata"].get("labels") or {}).items()},
                1,
            )
            for p in pods
        ],
    )
    yield (
        "kube_pod_status_phase",
        "The pods current phase.",
        [(_pod(p) | {"phase": phase}, p.get("status", {}).get("phase") == phase) for p in pods for phase in PHASES],
    )
    yield (
        "kube_pod_status_ready",
        "Describes whether the pod is ready to serve requests.",
        [
            (_pod(p) | {"condition": value}, condition(p, "Ready") == value)
            for p in pods
            for value in ("true", "false", "unknown")
        ],
    )
    yield (
        "kube_pod_created",
        "Unix creation timestamp.",
        [(_pod(p), _seconds(p["metadata"].get("creationTimestamp"))) for p in pods],
    )
    yield (
        "kube_pod_deletion_timestamp",
        "Unix deletion timestamp.",
        [
            (_pod(p), _seconds(p["metadata"]["deletionTimestamp"]))
            for p in pods
            if p["metadata"].get("deletionTimestamp")
        ],
    )


def _container_families(pods: list[Obj]) -> Iterator[Family]:
    """Yield restarts, waiting and termination reasons, and resources of containers."""
    containers = [
        (_pod(p) | {"container": c.get("name", ""), "uid": p["metadata"].get("uid", "")}, c)
        for p in pods
        for c in p.get("status", {}).get("containerStatuses") or ()
    ]
    prefix = "kube_pod_container_status_"
    yield (
        f"{prefix}restarts_total",
        "The number of container restarts per container.",
        [(labels, c.get("restartCount", 0)) for labels, c in containers],
    )
    yield (
        f"{prefix}ready",
        "Describes whether the containers readiness check succeeded.",
        [(labels, bool(c.get("ready"))) for labels, c in containers],
    )
    yield (
        f"{prefix}waiting_reason",
        "Describes the reason the container is currently in waiting state.",
        list(_reasons(containers, "state", "waiting")),
    )
    yield (
        f"{prefix}terminated_reason",
        "Describes the reason the container is currently in terminated state.",
        list(_reasons(containers, "state", "terminated")),
    )
    yield (
        f"{prefix}last_terminated_reason",
        "Describes the last reason the container was in terminated state.",
        list(_reasons(containers, "lastState", "terminated")),
    )
    for part in ("requests", "limits"):
        yield (
            f"kube_pod_container_resource_{part}",
            f"The number of resources in {part} by a container.",
            list(_resources(pods, part)),
        )


def _reasons(containers: list[tuple[dict[str, str], Obj]], field: str, state: str) -> Iterator[Sample]:
    """Yield one sample for each container that is (or was) in the state with a reason."""
    for labels, container in containers:
        reason = ((container.get(field) or {}).get(state) or {}).get("reason")
        if reason:
            yield labels | {"reason": reason}, 1


def _resources(pods: list[Obj], part: str) -> Iterator[Sample]:
    """Yield CPU (cores) and memory (bytes) that containers ask for."""
    units = {"cpu": "core", "memory": "byte"}
    for pod in pods:
        node = pod.get("spec", {}).get("nodeName", "")
        for container in pod.get("spec", {}).get("containers", ()):
            for resource, text in ((container.get("resources") or {}).get(part) or {}).items():
                if resource in units:
                    labels = {"container": container["name"], "node": node}
                    labels |= {"resource": resource, "unit": units[resource]}
                    yield _pod(pod) | labels, quantity(text)


def _node_families(nodes: list[Obj]) -> Iterator[Family]:
    """Yield conditions, capacity and scheduling state of nodes."""

    def name(node: Obj) -> dict[str, str]:
        return {"node": node["metadata"]["name"]}

    yield (
        "kube_node_status_condition",
        "The condition of a cluster node.",
        [
            (name(n) | {"condition": c["type"], "status": value}, value == c["status"].lower())
            for n in nodes
            for c in n.get("status", {}).get("conditions", ())
            for value in ("true", "false", "unknown")
        ],
    )
    yield "kube_node_info", "Information about a cluster node.", [(name(n) | _node_info(n), 1) for n in nodes]
    yield (
        "kube_node_spec_unschedulable",
        "Whether a node can schedule new pods.",
        [(name(n), bool(n.get("spec", {}).get("unschedulable"))) for n in nodes],
    )
    yield (
        "kube_node_status_allocatable",
        "The allocatable for different resources of a node that are available for scheduling.",
        [
            (name(n) | {"resource": key, "unit": unit}, quantity(n["status"]["allocatable"][key]))
            for n in nodes
            for key, unit in (("cpu", "core"), ("memory", "byte"), ("pods", "integer"))
            if key in n.get("status", {}).get("allocatable", {})
        ],
    )


def _node_info(node: Obj) -> dict[str, str]:
    """Return what a node tells about its software."""
    told = node.get("status", {}).get("nodeInfo", {})
    names = {"kernel_version": "kernelVersion", "os_image": "osImage", "kubelet_version": "kubeletVersion"}
    names |= {"container_runtime_version": "containerRuntimeVersion"}
    return {label: str(told.get(field, "")) for label, field in names.items()}


def _endpoint_families(slices: list[Obj]) -> Iterator[Family]:
    """Yield the addresses behind each service with their readiness."""
    yield (
        "kube_endpointslice_endpoints",
        "Endpoints attached to the endpointslice.",
        [
            (
                _named(s, "endpointslice")
                | {
                    "service": (s["metadata"].get("labels") or {}).get("kubernetes.io/service-name", ""),
                    "address": address,
                    "ready": _flag(e, "ready"),
                    "serving": _flag(e, "serving"),
                    "terminating": _flag(e, "terminating"),
                    "targetref_name": (e.get("targetRef") or {}).get("name", ""),
                },
                1,
            )
            for s in slices
            for e in s.get("endpoints") or ()
            for address in e.get("addresses") or ()
        ],
    )


def _autoscaler_families(autoscalers: list[Obj]) -> Iterator[Family]:
    """Yield limits and state of horizontal pod autoscalers."""

    def of(field: str, part: str) -> list[Sample]:
        return [(_named(a, "horizontalpodautoscaler"), _number(a.get(part, {}).get(field, 0))) for a in autoscalers]

    prefix = "kube_horizontalpodautoscaler_"
    yield f"{prefix}spec_min_replicas", "Lower limit of replicas.", of("minReplicas", "spec")
    yield f"{prefix}spec_max_replicas", "Upper limit of replicas.", of("maxReplicas", "spec")
    yield f"{prefix}status_current_replicas", "Current number of replicas.", of("currentReplicas", "status")
    yield f"{prefix}status_desired_replicas", "Desired number of replicas.", of("desiredReplicas", "status")


def _application_families(applications: list[Obj]) -> Iterator[Family]:
    """Yield Argo CD's view of every application."""
    yield (
        "argocd_app_info",
        "Information about application.",
        [
            (
                {
                    "name": a["metadata"]["name"],
                    "namespace": a["metadata"].get("namespace", ""),
                    "project": a.get("spec", {}).get("project", ""),
                    "dest_namespace": a.get("spec", {}).get("destination", {}).get("namespace", ""),
                    "repo": a.get("spec", {}).get("source", {}).get("repoURL", ""),
                    "sync_status": a.get("status", {}).get("sync", {}).get("status") or "Unknown",
                    "health_status": a.get("status", {}).get("health", {}).get("status") or "Unknown",
                    "operation": "sync" if a.get("operation") else "",
                },
                1,
            )
            for a in applications
        ],
    )


# -- small readers ---------------------------------------------------------------------------------------


def _named(obj: Obj, kind: str) -> dict[str, str]:
    """Return the identifying labels of a namespaced object."""
    return {"namespace": obj["metadata"].get("namespace", ""), kind: obj["metadata"]["name"]}


def _pod(pod: Obj) -> dict[str, str]:
    """Return the identifying labels of a pod."""
    return _named(pod, "pod")


def owner_of(metadata: Obj) -> Obj:
    """Return the first owner reference, or an empty one."""
    return next(iter(metadata.get("ownerReferences") or ()), {})


def condition(obj: Obj, kind: str) -> str:
    """Return a condition's status in lower case; ``false`` when the condition is missing."""
    for condition in obj.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind:
            return str(condition.get("status", "unknown")).lower()
    return "false"


def _flag(endpoint: Obj, name: str) -> str:
    """Return an endpoint condition as text; absent stays empty because defaults differ by condition."""
    value = (endpoint.get("conditions") or {}).get(name)
    return "" if value is None else str(value).lower()


def _number(value: Any) -> float:
    """Return a count; null counts as 0."""
    return float(value or 0)


def _seconds(stamp: str | None) -> float:
    """Return Unix seconds of an RFC 3339 time stamp; 0 when there is none."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp() if stamp else 0.0


def quantity(value: Any) -> float:
    """Return a Kubernetes quantity as a number (``250m`` -> 0.25); NaN if unreadable."""
    try:
        return float(parse_quantity(value))
    except ValueError:
        return float("nan")


def safe(name: str) -> str:
    """Return a label name with every forbidden character replaced, as Prometheus service discovery does."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)


def _labels(labels: Mapping[str, str]) -> str:
    """Return ``{a="b"}`` with values escaped."""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    """Escape a label value for the text format."""
    return str(value).replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
