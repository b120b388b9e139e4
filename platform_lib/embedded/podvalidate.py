"""Which pod specifications does Kubernetes refuse? Used for pods and pod templates."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from platform_lib.embedded.fielderrors import (
    FieldError,
    check_choice,
    check_not_negative,
    check_port,
    duplicate,
    forbidden,
    invalid,
    label_faults,
    not_found,
    required,
    subdomain_faults,
)
from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj

_ENV_NAME = re.compile(r"[ -<>-~]+")
_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates")
_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)


def check_pod_spec(spec: dict[str, Any], path: str) -> Iterable[FieldError]:
    """Check a pod specification that has its defaults."""
    yield from check_choice(f"{path}.restartPolicy", spec.get("restartPolicy"), ("Always", "Never", "OnFailure"))
    dns = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
    yield from check_choice(f"{path}.dnsPolicy", spec.get("dnsPolicy"), dns)
    yield from check_not_negative(f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or ()):
        yield from _check_name(volume, f"{path}.volumes[{index}].name", volumes)
        yield from _check_volume(volume, f"{path}.volumes[{index}]")
    if not spec.get("containers"):
        yield required(f"{path}.containers")
    names: set[str] = set()
    for key in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(key) or ()):
            place = f"{path}.{key}[{index}]"
            yield from _check_name(container, f"{place}.name", names)
            yield from _check_container(container, place, volumes)
    yield from _check_spread(spec, path)
    account = spec.get("serviceAccountName")
    if account:
        for text in subdomain_faults(account):
            yield invalid(f"{path}.serviceAccountName", account, text)


def _check_name(item: dict[str, Any], path: str, seen: set[str]) -> Iterable[FieldError]:
    name = item.get("name") or ""
    if not name:
        yield required(path)
        return
    for text in label_faults(name):
        yield invalid(path, name, text)
    if name in seen:
        yield duplicate(path, name)
    seen.add(name)


def _check_volume(volume: dict[str, Any], path: str) -> Iterable[FieldError]:
    sources = [key for key in volume if key != "name"]
    for extra in sources[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")


def _check_container(container: dict[str, Any], path: str, volumes: set[str]) -> Iterable[FieldError]:
    image = container.get("image") or ""
    if not image:
        yield required(f"{path}.image")
    elif image != image.strip():
        yield invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    policies = ("Always", "IfNotPresent", "Never")
    yield from check_choice(f"{path}.imagePullPolicy", container.get("imagePullPolicy"), policies)
    yield from _check_ports(container, path)
    for index, variable in enumerate(container.get("env") or ()):
        yield from _check_variable(variable, f"{path}.env[{index}]")
    yield from _check_mounts(container, path, volumes)
    yield from _check_resources(container.get("resources") or {}, f"{path}.resources")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            yield from _check_probe(container[name], f"{path}.{name}", once=name != "readinessProbe")


def _check_ports(container: dict[str, Any], path: str) -> Iterable[FieldError]:
    names: set[str] = set()
    for index, port in enumerate(container.get("ports") or ()):
        place = f"{path}.ports[{index}]"
        if not port.get("containerPort"):
            yield required(f"{place}.containerPort")
        else:
            yield from check_port(f"{place}.containerPort", port["containerPort"])
        yield from check_choice(f"{place}.protocol", port.get("protocol"), ("SCTP", "TCP", "UDP"))
        name = port.get("name")
        if name:
            yield from check_port(f"{place}.name", name)
            if name in names:
                yield duplicate(f"{place}.name", name)
            names.add(name)


def _check_variable(variable: dict[str, Any], path: str) -> Iterable[FieldError]:
    name = variable.get("name") or ""
    if not name:
        yield required(f"{path}.name")
    elif not _ENV_NAME.fullmatch(name):
        text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        yield invalid(f"{path}.name", name, text)
    if variable.get("value") and variable.get("valueFrom"):
        yield invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")


def _check_mounts(container: dict[str, Any], path: str, volumes: set[str]) -> Iterable[FieldError]:
    seen: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        place = f"{path}.volumeMounts[{index}]"
        name, target = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{place}.name")
        elif name not in volumes:
            yield not_found(f"{place}.name", name)
        if not target:
            yield required(f"{place}.mountPath")
        elif target in seen:
            yield invalid(f"{place}.mountPath", target, "must be unique")
        seen.add(target)


def _check_resources(resources: dict[str, Any], path: str) -> Iterable[FieldError]:
    limits = resources.get("limits") or {}
    for key in ("limits", "requests"):
        for name, value in (resources.get(key) or {}).items():
            if parse_quantity(value) < 0:
                yield invalid(f"{path}.{key}[{name}]", str(value), "must be greater than or equal to 0")
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and parse_quantity(value) > parse_quantity(limits[name]):
            text = f"must be less than or equal to {name} limit of {limits[name]}"
            yield invalid(f"{path}.requests", str(value), text)


def _check_probe(probe: dict[str, Any], path: str, *, once: bool) -> Iterable[FieldError]:
    handlers = [name for name in _HANDLERS if isinstance(probe.get(name), dict)]
    if not handlers:
        yield required(path, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 handler type")
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        yield from check_not_negative(f"{path}.{key}", probe.get(key))
    if once and probe.get("successThreshold", 1) != 1:
        yield invalid(f"{path}.successThreshold", probe["successThreshold"], "must be 1")
    for name in handlers:
        if name != "exec":
            yield from check_port(f"{path}.{name}.port", probe[name].get("port"))
        elif not probe[name].get("command"):
            yield required(f"{path}.exec.command")


def _check_spread(spec: dict[str, Any], path: str) -> Iterable[FieldError]:
    for index, rule in enumerate(spec.get("topologySpreadConstraints") or ()):
        place = f"{path}.topologySpreadConstraints[{index}]"
        if not isinstance(rule.get("maxSkew"), int) or rule["maxSkew"] <= 0:
            yield invalid(f"{place}.maxSkew", rule.get("maxSkew", 0), "must be greater than zero")
        if not rule.get("topologyKey"):
            yield required(f"{place}.topologyKey", "can not be empty")
        choices = ("DoNotSchedule", "ScheduleAnyway")
        yield from check_choice(f"{place}.whenUnsatisfiable", rule.get("whenUnsatisfiable"), choices)


def check_pod_update(pod: Obj, old: Obj) -> Iterable[FieldError]:
    """Check that an update changes only what may change in a running pod.

    A first ``nodeName`` passes here, so that binding needs no way around the check.
    """
    if _frozen_part(pod["spec"], old["spec"]) != _frozen_part(old["spec"], old["spec"]):
        yield forbidden("spec", _UPDATE_TEXT)
    kept = pod["spec"].get("tolerations") or []
    if any(item not in kept for item in old["spec"].get("tolerations") or []):
        yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")


def _frozen_part(spec: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    part = {key: value for key, value in spec.items() if key not in _MUTABLE}
    if not old.get("nodeName"):
        part.pop("nodeName", None)
    for key in ("containers", "initContainers"):
        part[key] = [{k: v for k, v in item.items() if k != "image"} for item in spec.get(key) or ()]
    return part
