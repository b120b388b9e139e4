"""Which scrape targets does the cluster offer? Pure: objects in, HTTP service-discovery groups out.

Labels carry the names and values that Prometheus's own Kubernetes discovery gives, so relabelling rules are
the same on every platform.

Source: Prometheus configuration reference, kubernetes_sd_config (roles pod and node) and http_sd_config.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from platform_lib.embedded.kubestate import condition, owner_of, safe
from platform_lib.model import Obj


def pod_targets(pods: Iterable[Obj]) -> list[dict[str, Any]]:
    """Return target groups for role ``pod``: one for each declared container port, else one for the pod."""
    groups = []
    for pod in pods:
        status, spec, metadata = pod.get("status", {}), pod.get("spec", {}), pod["metadata"]
        address = status.get("podIP")
        if not address:
            continue
        labels = _pod_labels(metadata, spec, status, address, condition(pod, "Ready"))
        for container in spec.get("containers", ()):
            extra = {"__meta_kubernetes_pod_container_name": container["name"]}
            extra["__meta_kubernetes_pod_container_image"] = container.get("image", "")
            ports = container.get("ports") or ()
            if not ports:
                groups.append({"targets": [address], "labels": labels | extra})
            groups += [
                {
                    "targets": [f"{address}:{port['containerPort']}"],
                    "labels": labels
                    | extra
                    | {
                        "__meta_kubernetes_pod_container_port_name": port.get("name", ""),
                        "__meta_kubernetes_pod_container_port_number": str(port["containerPort"]),
                        "__meta_kubernetes_pod_container_port_protocol": port.get("protocol", "TCP"),
                    },
                }
                for port in ports
            ]
    return groups


def _pod_labels(metadata: Obj, spec: Obj, status: Obj, address: str, ready: str) -> dict[str, str]:
    """Return the meta labels that all targets of a pod share."""
    prefix = "__meta_kubernetes_pod_"
    owner = owner_of(metadata)
    labels = {
        "__meta_kubernetes_namespace": metadata.get("namespace", ""),
        f"{prefix}name": metadata["name"],
        f"{prefix}ip": address,
        f"{prefix}phase": status.get("phase", ""),
        f"{prefix}ready": ready,
        f"{prefix}node_name": spec.get("nodeName", ""),
        f"{prefix}host_ip": status.get("hostIP", ""),
        f"{prefix}uid": metadata.get("uid", ""),
        f"{prefix}controller_kind": owner.get("kind", ""),
        f"{prefix}controller_name": owner.get("name", ""),
    }
    for part in ("label", "annotation"):
        for key, value in (metadata.get(f"{part}s") or {}).items():
            labels[f"{prefix}{part}_{safe(key)}"] = str(value)
            labels[f"{prefix}{part}present_{safe(key)}"] = "true"
    return labels


def node_targets(nodes: Iterable[Obj]) -> list[dict[str, Any]]:
    """Return target groups for role ``node``: the kubelet's address and port."""
    groups = []
    for node in nodes:
        status, metadata = node.get("status", {}), node["metadata"]
        addresses = {a["type"]: a["address"] for a in status.get("addresses") or ()}
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")
        if port and "InternalIP" in addresses:
            labels = {"__meta_kubernetes_node_name": metadata["name"]}
            for key, value in (metadata.get("labels") or {}).items():
                labels[f"__meta_kubernetes_node_label_{safe(key)}"] = str(value)
            groups.append({"targets": [f"{addresses['InternalIP']}:{port}"], "labels": labels})
    return groups
