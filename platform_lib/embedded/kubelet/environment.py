"""Which environment variables and arguments does a container start with? Pure, given what it refers to.

Source: Kubernetes API reference (EnvVar, EnvFromSource, ObjectFieldSelector, ResourceFieldSelector) and the
``$(VAR)`` expansion rules of "Define Dependent Environment Variables".
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

Reference = tuple[str, str]
"""(``ConfigMap`` or ``Secret``, name)."""

_VARIABLE = re.compile(r"\$(\$|\(([^)$]+)\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container's configuration cannot be made: the waiting reason is ``CreateContainerConfigError``."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a pod can learn of where it runs."""

    pod_ip: str
    host_ip: str
    node: str
    cpu: str
    memory: str
    api_host: str
    api_port: int


def references(container: Obj) -> set[Reference]:
    """Return the config maps and secrets that a container's environment names."""
    found = set()
    for source in container.get("envFrom") or ():
        for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if source.get(key):
                found.add((kind, source[key]["name"]))
    for variable in container.get("env") or ():
        origin = variable.get("valueFrom") or {}
        for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if origin.get(key):
                found.add((kind, origin[key]["name"]))
    return found


def content(obj: Obj) -> dict[str, bytes]:
    """Return the entries of a config map or secret as bytes."""
    encoded = {**(obj.get("binaryData") or {})}
    if obj.get("kind") == "Secret":
        encoded |= obj.get("data") or {}
        plain = obj.get("stringData") or {}
    else:
        plain = obj.get("data") or {}
    found = {key: base64.b64decode(value) for key, value in encoded.items()}
    return found | {key: str(value).encode() for key, value in plain.items()}


def variables(
    pod: Obj, container: Obj, image_env: tuple[str, ...], facts: Facts, objects: Mapping[Reference, Obj | None]
) -> dict[str, str]:
    """Compute a container's environment; later sources win (image, node, envFrom, env).

    Args:
        pod: As in the API.
        container: One of its containers.
        image_env: ``NAME=value`` entries of the image.
        facts: Where it runs.
        objects: Every object that ``references`` names; None for one that does not exist.

    Raises:
        ConfigError: A reference that is not optional is missing, with the kubelet's wording.
    """
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    env |= dict(entry.split("=", 1) for entry in image_env if "=" in entry)
    env |= {
        "HOSTNAME": m.name(pod),
        "KUBERNETES_SERVICE_HOST": facts.api_host,
        "KUBERNETES_SERVICE_PORT": str(facts.api_port),
        "KUBERNETES_SERVICE_PORT_HTTPS": str(facts.api_port),
    }
    for source in container.get("envFrom") or ():
        env |= _from_source(pod, source, objects)
    for variable in container.get("env") or ():
        value = _value(pod, container, variable, facts, objects, env)
        if value is not None:
            env[variable["name"]] = value
    return env


def _from_source(pod: Obj, source: Obj, objects: Mapping[Reference, Obj | None]) -> dict[str, str]:
    """Return all entries of one ``envFrom`` source."""
    kind, key = ("ConfigMap", "configMapRef") if source.get("configMapRef") else ("Secret", "secretRef")
    wanted = source[key]
    obj = _object(pod, kind, wanted, objects)
    prefix = source.get("prefix") or ""
    entries = content(obj) if obj is not None else {}
    return {f"{prefix}{name}": value.decode(errors="replace") for name, value in entries.items()}


def _object(pod: Obj, kind: str, wanted: Obj, objects: Mapping[Reference, Obj | None]) -> Obj | None:
    """Return a referenced object; None only when it is optional."""
    obj = objects.get((kind, wanted["name"]))
    if obj is None and not wanted.get("optional"):
        raise ConfigError(f'{kind.lower()} "{wanted["name"]}" not found')
    return obj


def _value(
    pod: Obj,
    container: Obj,
    variable: Obj,
    facts: Facts,
    objects: Mapping[Reference, Obj | None],
    env: Mapping[str, str],
) -> str | None:
    """Return the value of one ``env`` entry; None when an optional source has none."""
    origin = variable.get("valueFrom")
    if not origin:
        return expand(variable.get("value") or "", env)
    if origin.get("fieldRef"):
        return field_value(pod, origin["fieldRef"]["fieldPath"], facts)
    if origin.get("resourceFieldRef"):
        return resource_value(pod, origin["resourceFieldRef"], facts, container)
    kind, key = ("ConfigMap", "configMapKeyRef") if origin.get("configMapKeyRef") else ("Secret", "secretKeyRef")
    wanted = origin[key]
    obj = _object(pod, kind, wanted, objects)
    entries = content(obj) if obj is not None else {}
    if wanted["key"] in entries:
        return entries[wanted["key"]].decode(errors="replace")
    if wanted.get("optional"):
        return None
    raise ConfigError(f"couldn't find key {wanted['key']} in {kind} {m.namespace(pod)}/{wanted['name']}")


def field_value(pod: Obj, path: str, facts: Facts) -> str:
    """Return a field of the pod, as the downward API gives it.

    Raises:
        ConfigError: Kubernetes does not offer that field.
    """
    keyed = _KEYED.fullmatch(path)
    if keyed:
        source = m.labels(pod) if keyed[1] == "labels" else m.annotations(pod)
        return source.get(keyed[2], "")
    known = {
        "metadata.name": m.name(pod),
        "metadata.namespace": m.namespace(pod),
        "metadata.uid": m.uid(pod),
        "metadata.labels": _lines(m.labels(pod)),
        "metadata.annotations": _lines(m.annotations(pod)),
        "spec.nodeName": facts.node,
        "spec.serviceAccountName": m.spec(pod).get("serviceAccountName") or "default",
        "status.podIP": facts.pod_ip,
        "status.podIPs": facts.pod_ip,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": facts.host_ip,
    }
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(known[path])


def _lines(pairs: Mapping[str, str]) -> str:
    """Format labels as the downward API does, values quoted."""
    return "\n".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted(pairs.items()))


def resource_value(pod: Obj, wanted: Obj, facts: Facts, container: Obj | None = None) -> str:
    """Return a request or limit in units of its divisor, rounded up; without a limit, what the node has."""
    if wanted.get("containerName"):
        named = [c for c in all_containers(pod) if c["name"] == wanted["containerName"]]
        container = named[0] if named else container
    which, _, resource = wanted["resource"].partition(".")
    amounts = ((container or {}).get("resources") or {}).get(which) or {}
    default = {"cpu": facts.cpu, "memory": facts.memory} if which == "limits" else {}
    amount = parse_quantity(amounts.get(resource, default.get(resource, "0")))
    divisor = parse_quantity(wanted.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(amount / divisor))


def all_containers(pod: Obj) -> Iterator[Obj]:
    """Yield init containers, then containers."""
    yield from m.spec(pod).get("initContainers") or ()
    yield from m.spec(pod).get("containers") or ()


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)``; an unknown name stays as written and ``$$`` is a dollar sign.

    Example:
        >>> expand("$(A)-$(B)-$$(A)", {"A": "1"})
        '1-$(B)-$(A)'
    """

    def one(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return env.get(match[2], match[0])

    return _VARIABLE.sub(one, text)


def command(container: Obj, entrypoint: tuple[str, ...], cmd: tuple[str, ...], env: Mapping[str, str]) -> list[str]:
    """Combine command and args with the image's defaults: a pod's ``command`` also drops the image's Cmd.

    Raises:
        ConfigError: Nothing to run.
    """
    own, arguments = container.get("command") or [], container.get("args") or []
    head = own or list(entrypoint)
    tail = arguments or ([] if own else list(cmd))
    words = [expand(word, env) for word in ([*head, *tail] if own or arguments else head + tail)]
    if not words:
        raise ConfigError("no command specified")
    return words


def quantity_or_none(container: Obj, which: str, resource: str) -> float | None:
    """Return a request or limit as a number of cores or bytes; None when it is not set."""
    amounts: dict[str, Any] = (container.get("resources") or {}).get(which) or {}
    return float(parse_quantity(amounts[resource])) if amounts.get(resource) is not None else None
