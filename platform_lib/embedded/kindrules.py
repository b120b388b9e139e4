"""Which rules beyond the shape has each kind? One generator per kind, collected in ``RULES``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from platform_lib.embedded.fielderrors import (
    FieldError,
    check_choice,
    check_labels,
    check_not_negative,
    check_port,
    data_key_faults,
    duplicate,
    forbidden,
    invalid,
    label_1035_faults,
    label_faults,
    required,
    subdomain_faults,
)
from platform_lib.embedded.podvalidate import check_pod_spec, check_pod_update
from platform_lib.embedded.selectors import match_labels
from platform_lib.model import Obj

Rule = Callable[[Obj, Obj | None], Iterable[FieldError]]
_OPERATORS = ("DoesNotExist", "Exists", "In", "NotIn")


def _pod(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    yield from check_pod_spec(obj.get("spec") or {}, "spec")
    if old is not None:
        yield from check_pod_update(obj, old)


def _selector(selector: Any, path: str) -> Iterable[FieldError]:
    yield from check_labels(f"{path}.matchLabels", selector.get("matchLabels"))
    for index, item in enumerate(selector.get("matchExpressions") or ()):
        place = f"{path}.matchExpressions[{index}]"
        operator = item.get("operator")
        if operator not in _OPERATORS:
            yield invalid(f"{place}.operator", operator, "not a valid selector operator")
        elif operator in ("In", "NotIn") and not item.get("values"):
            yield required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and item.get("values"):
            yield forbidden(f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")


def _workload(obj: Obj, old: Obj | None, name: str) -> Iterable[FieldError]:
    """Rules that Deployment, ReplicaSet, StatefulSet and DaemonSet share."""
    spec = obj.get("spec") or {}
    yield from check_not_negative("spec.replicas", spec.get("replicas"))
    yield from check_not_negative("spec.minReadySeconds", spec.get("minReadySeconds"))
    yield from check_not_negative("spec.revisionHistoryLimit", spec.get("revisionHistoryLimit"))
    selector, template = spec.get("selector"), spec.get("template") or {}
    if selector is None:
        yield required("spec.selector")
    else:
        yield from _selector(selector, "spec.selector")
        yield from _selector_fits(selector, template, name)
    yield from check_labels("spec.template.metadata.labels", (template.get("metadata") or {}).get("labels"))
    pod = template.get("spec") or {}
    if pod.get("restartPolicy") in ("Never", "OnFailure"):
        yield from check_choice("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",))
    yield from check_pod_spec(pod, "spec.template.spec")
    if old is not None and (old.get("spec") or {}).get("selector") != selector:
        yield invalid("spec.selector", selector, "field is immutable")


def _selector_fits(selector: Any, template: Any, name: str) -> Iterable[FieldError]:
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield invalid("spec.selector", selector, f"empty selector is invalid for {name}")
        return
    if any(item.get("operator") not in _OPERATORS for item in selector.get("matchExpressions") or ()):
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if not match_labels(selector, labels):
        text = "`selector` does not match template `labels`"
        yield invalid("spec.template.metadata.labels", labels, text)


def _deployment(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    yield from _workload(obj, old, "deployment")
    spec = obj.get("spec") or {}
    strategy = spec.get("strategy") or {}
    yield from check_choice("spec.strategy.type", strategy.get("type"), ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        text = "may not be specified when strategy `type` is 'Recreate'"
        yield forbidden("spec.strategy.rollingUpdate", text)
    elif rolling:
        yield from _rolling_update(rolling, "spec.strategy.rollingUpdate")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if deadline is not None and deadline <= ready:
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _rolling_update(rolling: Any, path: str) -> Iterable[FieldError]:
    for key in ("maxUnavailable", "maxSurge"):
        yield from _int_or_percent(f"{path}.{key}", rolling.get(key))
    if _zero(rolling.get("maxUnavailable")) and _zero(rolling.get("maxSurge")):
        text = "may not be 0 when `maxSurge` is 0"
        yield invalid(f"{path}.maxUnavailable", rolling["maxUnavailable"], text)
    if re.fullmatch(r"\d+%", str(rolling.get("maxUnavailable"))):
        yield from _at_most_100(f"{path}.maxUnavailable", rolling["maxUnavailable"])


def _zero(value: Any) -> bool:
    return str(value).rstrip("%") == "0"


def _int_or_percent(path: str, value: Any) -> Iterable[FieldError]:
    if isinstance(value, str) and not re.fullmatch(r"[0-9]+%", value):
        text = (
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
            "'93%', regex used for validation is '[0-9]+%')"
        )
        yield invalid(path, value, text)
    yield from check_not_negative(path, value)


def _at_most_100(path: str, value: str) -> Iterable[FieldError]:
    if int(value.rstrip("%")) > 100:
        yield invalid(path, value, "must not be greater than 100%")


def _replica_set(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    return _workload(obj, old, "replicaset")


def _stateful_set(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    return _workload(obj, old, "statefulset")


def _daemon_set(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    return _workload(obj, old, "daemonset")


def _job(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    for key in ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds"):
        yield from check_not_negative(f"spec.{key}", spec.get(key))
    pod = (spec.get("template") or {}).get("spec") or {}
    yield from check_choice("spec.template.spec.restartPolicy", pod.get("restartPolicy"), ("Never", "OnFailure"))
    yield from check_pod_spec(pod, "spec.template.spec")
    if old is not None and not (old.get("spec") or {}).get("suspend"):
        if (old.get("spec") or {}).get("template") != spec.get("template"):
            yield invalid("spec.template", spec.get("template"), "field is immutable")
        if (old.get("spec") or {}).get("selector") != spec.get("selector"):
            yield invalid("spec.selector", spec.get("selector"), "field is immutable")


def _service(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    types = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    yield from check_choice("spec.type", spec.get("type"), types)
    yield from check_choice("spec.sessionAffinity", spec.get("sessionAffinity"), ("ClientIP", "None"))
    ports = spec.get("ports") or []
    headless = spec.get("clusterIP") == "None"
    if not ports and not headless and spec.get("type") != "ExternalName":
        yield required("spec.ports")
    if spec.get("type") == "ExternalName" and not spec.get("externalName"):
        yield required("spec.externalName")
    yield from check_labels("spec.selector", spec.get("selector"))
    yield from _service_ports(ports)
    before = ((old or {}).get("spec") or {}).get("clusterIP")
    if before and spec.get("clusterIP") != before and spec.get("type") != "ExternalName":
        yield invalid("spec.clusterIPs[0]", spec.get("clusterIPs"), "may not change once set")


def _service_ports(ports: list[Any]) -> Iterable[FieldError]:
    names: set[str] = set()
    numbers: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{path}.name")
        elif name:
            for text in label_faults(name):
                yield invalid(f"{path}.name", name, text)
            if name in names:
                yield duplicate(f"{path}.name", name)
            names.add(name)
        yield from check_port(f"{path}.port", port.get("port"))
        yield from check_port(f"{path}.targetPort", port.get("targetPort"))
        yield from check_choice(f"{path}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
        key = (port.get("protocol"), port.get("port"))
        if key in numbers:
            yield duplicate(path, {"port": port.get("port"), "protocol": port.get("protocol")})
        numbers.add(key)


def _ingress(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and not spec.get("defaultBackend"):
        yield invalid("spec", spec, "either `defaultBackend` or `rules` must be specified")
    for index, rule in enumerate(spec.get("rules") or ()):
        place = f"spec.rules[{index}]"
        host = rule.get("host") or ""
        for text in subdomain_faults(host.removeprefix("*.")) if host else ():
            yield invalid(f"{place}.host", host, text)
        for number, path in enumerate((rule.get("http") or {}).get("paths") or ()):
            yield from _ingress_path(path, f"{place}.http.paths[{number}]")


def _ingress_path(path: Any, place: str) -> Iterable[FieldError]:
    kind, text = path.get("pathType"), path.get("path") or ""
    if not kind:
        yield required(f"{place}.pathType", "pathType must be specified")
    else:
        choices = ("Exact", "ImplementationSpecific", "Prefix")
        yield from check_choice(f"{place}.pathType", kind, choices)
    if (kind in ("Exact", "Prefix") or text) and not text.startswith("/"):
        yield invalid(f"{place}.path", text, "must be an absolute path")
    service = (path.get("backend") or {}).get("service")
    if service is not None:
        name, port = service.get("name") or "", service.get("port") or {}
        for fault in label_1035_faults(name):
            yield invalid(f"{place}.backend.service.name", name, fault)
        if not port.get("name") and not port.get("number"):
            yield required(f"{place}.backend", "port name or number is required")


def _autoscaler(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    low, high = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    if low < 1:
        yield invalid("spec.minReplicas", low, "must be greater than or equal to 1")
    if high < 1:
        yield invalid("spec.maxReplicas", high, "must be greater than 0")
    elif high < low:
        yield invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`")
    target = spec.get("scaleTargetRef") or {}
    for key in ("kind", "name"):
        if not target.get(key):
            yield required(f"spec.scaleTargetRef.{key}")


def _disruption_budget(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        yield invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for key in ("minAvailable", "maxUnavailable"):
        yield from _int_or_percent(f"spec.{key}", spec.get(key))
    yield from _selector(spec.get("selector") or {}, "spec.selector")


def _role(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    for index, rule in enumerate(obj.get("rules") or ()):
        path = f"rules[{index}]"
        if not rule.get("verbs"):
            yield required(f"{path}.verbs", "verbs must contain at least one value")
        if rule.get("nonResourceURLs"):
            continue
        if not rule.get("apiGroups"):
            yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
        if not rule.get("resources"):
            yield required(f"{path}.resources", "resource rules must supply at least one resource")


def _role_binding(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    reference = obj.get("roleRef") or {}
    yield from check_choice("roleRef.kind", reference.get("kind"), ("ClusterRole", "Role"))
    if not reference.get("name"):
        yield required("roleRef.name")
    if old is not None and old.get("roleRef") != reference:
        yield invalid("roleRef", reference, "cannot change roleRef")


def _data(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    for key in [*(obj.get("data") or {}), *(obj.get("binaryData") or {})]:
        for text in data_key_faults(key):
            yield invalid(f"data[{key}]", key, text)
    for key in sorted(set(obj.get("data") or {}) & set(obj.get("binaryData") or {})):
        yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            yield forbidden("immutable", "field is immutable when `immutable` is set")
        if old.get("data") != obj.get("data"):
            yield forbidden("data", "field is immutable when `immutable` is set")


def _secret(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    yield from _data(obj, old)
    if old is not None and old.get("type") != obj.get("type"):
        yield invalid("type", obj.get("type"), "field is immutable")


def _endpoint_slice(obj: Obj, old: Obj | None) -> Iterable[FieldError]:
    yield from check_choice("addressType", obj.get("addressType"), ("FQDN", "IPv4", "IPv6"))
    if old is not None and old.get("addressType") != obj.get("addressType"):
        yield invalid("addressType", obj.get("addressType"), "field is immutable")
    for index, endpoint in enumerate(obj.get("endpoints") or ()):
        if not endpoint.get("addresses"):
            yield required(f"endpoints[{index}].addresses", "must contain at least 1 address")


def _crd(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    spec = obj.get("spec") or {}
    wanted = f"{(spec.get('names') or {}).get('plural')}.{spec.get('group')}"
    name = (obj.get("metadata") or {}).get("name")
    if name != wanted:
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    yield from check_choice("spec.scope", spec.get("scope"), ("Cluster", "Namespaced"))
    stored = [version for version in spec.get("versions") or () if version.get("storage")]
    if len(stored) != 1:
        yield invalid("spec.versions", spec.get("versions"), "must have exactly one version marked as storage version")


def _lease(obj: Obj, _: Obj | None) -> Iterable[FieldError]:
    seconds = (obj.get("spec") or {}).get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        yield invalid("spec.leaseDurationSeconds", seconds, "must be greater than 0")


_RBAC = "rbac.authorization.k8s.io/v1"
RULES: dict[str, Rule] = {
    "v1/Pod": _pod,
    "v1/Service": _service,
    "v1/ConfigMap": _data,
    "v1/Secret": _secret,
    "apps/v1/Deployment": _deployment,
    "apps/v1/ReplicaSet": _replica_set,
    "apps/v1/StatefulSet": _stateful_set,
    "apps/v1/DaemonSet": _daemon_set,
    "batch/v1/Job": _job,
    "networking.k8s.io/v1/Ingress": _ingress,
    "autoscaling/v2/HorizontalPodAutoscaler": _autoscaler,
    "policy/v1/PodDisruptionBudget": _disruption_budget,
    "discovery.k8s.io/v1/EndpointSlice": _endpoint_slice,
    "coordination.k8s.io/v1/Lease": _lease,
    "apiextensions.k8s.io/v1/CustomResourceDefinition": _crd,
    f"{_RBAC}/Role": _role,
    f"{_RBAC}/ClusterRole": _role,
    f"{_RBAC}/RoleBinding": _role_binding,
    f"{_RBAC}/ClusterRoleBinding": _role_binding,
}
"""Rules by ``apiVersion/Kind``."""
