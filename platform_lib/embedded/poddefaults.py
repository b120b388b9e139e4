"""Which values does Kubernetes fill into a pod specification? Used for pods and for every pod template.

Source: Kubernetes API reference, the "Defaults to" sentences of PodSpec, Container, Probe and Volume.
"""

from __future__ import annotations

from typing import Any

from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj

_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
_MODE_0644 = 420
_VOLUMES_WITH_MODE = ("configMap", "secret", "downwardAPI", "projected")


def default_pod_spec(spec: dict[str, Any]) -> None:
    """Fill in what a pod specification leaves open, in place."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(key) or ():
            _default_container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _default_container(container: dict[str, Any], *, host_network: bool) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image") or ""))
    container.setdefault("resources", {})
    for port in container.get("ports") or ():
        port.setdefault("protocol", "TCP")
        if host_network:
            port.setdefault("hostPort", port.get("containerPort"))
    for variable in container.get("env") or ():
        _default_field_ref(variable.get("valueFrom"))
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            _default_probe(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _default_handler(hook)


def _pull_policy(image: str) -> str:
    """``Always`` only for ``latest`` or no tag at all; a digest never changes."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _default_probe(probe: dict[str, Any]) -> None:
    for key, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(key):
            probe[key] = value
    _default_handler(probe)


def _default_handler(handler: dict[str, Any]) -> None:
    request = handler.get("httpGet")
    if isinstance(request, dict):
        request.setdefault("path", "/")
        request.setdefault("scheme", "HTTP")
    if isinstance(handler.get("grpc"), dict):
        handler["grpc"].setdefault("service", "")


def _default_field_ref(source: Any) -> None:
    if isinstance(source, dict) and isinstance(source.get("fieldRef"), dict):
        source["fieldRef"].setdefault("apiVersion", "v1")
    if isinstance(source, dict) and isinstance(source.get("resourceFieldRef"), dict):
        source["resourceFieldRef"].setdefault("divisor", "0")


def _default_volume(volume: dict[str, Any]) -> None:
    if not any(key != "name" for key in volume):
        volume["emptyDir"] = {}
    for key in _VOLUMES_WITH_MODE:
        if isinstance(volume.get(key), dict):
            volume[key].setdefault("defaultMode", _MODE_0644)
    if isinstance(volume.get("hostPath"), dict):
        volume["hostPath"].setdefault("type", "")
    for item in (volume.get("downwardAPI") or {}).get("items") or ():
        _default_field_ref(item)
    for source in (volume.get("projected") or {}).get("sources") or ():
        if isinstance(source.get("serviceAccountToken"), dict):
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
        for item in (source.get("downwardAPI") or {}).get("items") or ():
            _default_field_ref(item)


def default_pod(pod: Obj) -> None:
    """Fill in what a pod (not a template) leaves open: also requests from limits, service links, phase."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    for key in ("initContainers", "containers"):
        for container in spec.get(key) or ():
            _requests_from_limits(container.get("resources") or {})


def _requests_from_limits(resources: dict[str, Any]) -> None:
    for name, amount in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)


def admit_pod(pod: Obj, *, toleration_s: int = 300) -> None:
    """Add what admission adds to a new pod, in place: service account, priority, tolerations, QoS class.

    Args:
        pod: Pod with defaults applied.
        toleration_s: How long the pod stays on a node that is not ready or unreachable
            (Kubernetes: 300); counted in whole seconds from the taint.
    """
    spec = pod["spec"]
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    add_default_tolerations(spec, toleration_s)
    status = pod.setdefault("status", {})
    status.setdefault("phase", "Pending")
    status.setdefault("qosClass", qos_class(spec))


def add_default_tolerations(spec: dict[str, Any], seconds: int) -> None:
    """Tolerate not-ready and unreachable nodes for a while, unless the pod says otherwise.

    Source: admission controller DefaultTolerationSeconds.
    """
    tolerations: list[dict[str, Any]] = spec.get("tolerations") or []
    missing = [key for key in (_NOT_READY, _UNREACHABLE) if not any(_covers(t, key) for t in tolerations)]
    added = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for key in missing]
    if added:
        spec["tolerations"] = tolerations + added


def _covers(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in (key, "") and toleration.get("effect", "") in ("NoExecute", "")


def qos_class(spec: dict[str, Any]) -> str:
    """Return ``Guaranteed``, ``Burstable`` or ``BestEffort``.

    Source: Kubernetes "Pod Quality of Service Classes".
    """
    resources = [c.get("resources") or {} for k in ("initContainers", "containers") for c in spec.get(k) or ()]
    if not any(_amounts(item, "requests") or _amounts(item, "limits") for item in resources):
        return "BestEffort"
    return "Guaranteed" if all(_guaranteed(item) for item in resources) else "Burstable"


def _amounts(resources: dict[str, Any], which: str) -> dict[str, Any]:
    amounts = resources.get(which) or {}
    return {name: parse_quantity(amounts[name]) for name in ("cpu", "memory") if amounts.get(name)}


def _guaranteed(resources: dict[str, Any]) -> bool:
    limits = _amounts(resources, "limits")
    return len(limits) == 2 and _amounts(resources, "requests") in (limits, {})
