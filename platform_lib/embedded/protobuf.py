"""What does a protobuf request body say? kubectl from 1.32 on sends them for typed creates; answers stay JSON.

The numbers were derived, not copied: ``kubectl create ... --dry-run=client -o json`` prints the twin of each
body it sends, and aligning values gives the numbers. Only fields that were seen that way are in the table;
a body with content anywhere else is refused (415) rather than stored incompletely. The test
``tests/clients/test_protobuf_bodies.py`` repeats the derivation with the kubectl at hand.

Source: Kubernetes API reference, "Kubernetes Protobuf encoding" (envelope) and protobuf.dev "Encoding".
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from platform_lib.errors import ApiError, Invalid
from platform_lib.model import Obj

MAGIC = b"k8s\x00"
MAX_DEPTH = 32

Field = tuple[str, str]
"""(JSON name, type). Types: ``string``, ``bytes``, ``int``, ``int0`` (zero is a statement), ``bool``, ``any``
(IntOrString), ``quantity``, or the name of a message. Prefix ``*`` repeated, ``%`` map, ``=`` flattened."""

_ENVELOPE_TYPE: dict[int, Field] = {1: ("apiVersion", "string"), 2: ("kind", "string")}

_MESSAGES: dict[str, dict[int, Field]] = {
    "TypeMeta": _ENVELOPE_TYPE,
    "ObjectMeta": {
        1: ("name", "string"), 3: ("namespace", "string"), 11: ("labels", "%string"),
        12: ("annotations", "%string"),
    },
    "LabelSelector": {1: ("matchLabels", "%string")},
    "Template": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {2: ("containers", "*Container"), 3: ("restartPolicy", "string")},
    "Container": {
        1: ("name", "string"), 2: ("image", "string"), 3: ("command", "*string"),
        6: ("ports", "*ContainerPort"),
    },
    "ContainerPort": {3: ("containerPort", "int")},
    "DeploymentSpec": {
        1: ("replicas", "int0"), 2: ("selector", "LabelSelector"), 3: ("template", "Template"),
    },
    "JobSpec": {6: ("template", "Template")},
    "JobTemplate": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec")},
    "CronJobSpec": {1: ("schedule", "string"), 5: ("jobTemplate", "JobTemplate")},
    "ServiceSpec": {
        1: ("ports", "*ServicePort"), 2: ("selector", "%string"), 3: ("clusterIP", "string"),
        4: ("type", "string"), 10: ("externalName", "string"),
    },
    "ServicePort": {
        1: ("name", "string"), 2: ("protocol", "string"), 3: ("port", "int"), 4: ("targetPort", "any"),
        5: ("nodePort", "int"),
    },
    "IngressSpec": {
        1: ("defaultBackend", "Backend"), 2: ("tls", "*IngressTls"), 3: ("rules", "*IngressRule"),
        4: ("ingressClassName", "string"),
    },
    "IngressTls": {1: ("hosts", "*string"), 2: ("secretName", "string")},
    "IngressRule": {1: ("host", "string"), 2: ("", "=IngressRuleValue")},
    "IngressRuleValue": {1: ("http", "HttpRule")},
    "HttpRule": {1: ("paths", "*HttpPath")},
    "HttpPath": {1: ("path", "string"), 2: ("backend", "Backend"), 3: ("pathType", "string")},
    "Backend": {4: ("service", "BackendService")},
    "BackendService": {1: ("name", "string"), 2: ("port", "BackendPort")},
    "BackendPort": {1: ("name", "string"), 2: ("number", "int")},
    "PolicyRule": {
        1: ("verbs", "*string"), 2: ("apiGroups", "*string"), 3: ("resources", "*string"),
        4: ("resourceNames", "*string"), 5: ("nonResourceURLs", "*string"),
    },
    "AggregationRule": {1: ("clusterRoleSelectors", "*LabelSelector")},
    "Subject": {
        1: ("kind", "string"), 2: ("apiGroup", "string"), 3: ("name", "string"), 4: ("namespace", "string"),
    },
    "RoleRef": {1: ("apiGroup", "string"), 2: ("kind", "string"), 3: ("name", "string")},
    "BudgetSpec": {1: ("minAvailable", "any"), 2: ("selector", "LabelSelector"), 3: ("maxUnavailable", "any")},
    "QuotaSpec": {1: ("hard", "%quantity"), 2: ("scopes", "*string")},
    "TokenSpec": {
        1: ("audiences", "*string"), 3: ("boundObjectRef", "BoundObject"), 4: ("expirationSeconds", "int"),
    },
    "BoundObject": {
        1: ("kind", "string"), 2: ("apiVersion", "string"), 3: ("name", "string"), 4: ("uid", "string"),
    },
    "AccessSpec": {
        1: ("resourceAttributes", "ResourceAttributes"), 2: ("nonResourceAttributes", "PathAttributes"),
    },
    "ResourceAttributes": {
        1: ("namespace", "string"), 2: ("verb", "string"), 3: ("group", "string"),
        5: ("resource", "string"), 6: ("subresource", "string"), 7: ("name", "string"),
    },
    "PathAttributes": {1: ("path", "string"), 2: ("verb", "string")},
    "RulesSpec": {1: ("namespace", "string")},
    "Empty": {},
}  # fmt: skip

_META: Field = ("metadata", "ObjectMeta")
_RBAC = "rbac.authorization.k8s.io/v1"
_BINDING: dict[int, Field] = {1: _META, 2: ("subjects", "*Subject"), 3: ("roleRef", "RoleRef")}


def _with_spec(spec: str) -> dict[int, Field]:
    return {1: _META, 2: ("spec", spec)}


_KINDS: dict[str, dict[int, Field]] = {
    "v1/Namespace": {1: _META},
    "v1/ConfigMap": {1: _META, 2: ("data", "%string"), 3: ("binaryData", "%bytes")},
    "v1/Secret": {1: _META, 2: ("data", "%bytes"), 3: ("type", "string")},
    "v1/ServiceAccount": {1: _META},
    "v1/Service": _with_spec("ServiceSpec"),
    "v1/ResourceQuota": _with_spec("QuotaSpec"),
    "v1/DeleteOptions": {1: ("gracePeriodSeconds", "int0")},
    "apps/v1/Deployment": _with_spec("DeploymentSpec"),
    "batch/v1/Job": _with_spec("JobSpec"),
    "batch/v1/CronJob": _with_spec("CronJobSpec"),
    "networking.k8s.io/v1/Ingress": _with_spec("IngressSpec"),
    "policy/v1/PodDisruptionBudget": _with_spec("BudgetSpec"),
    "scheduling.k8s.io/v1/PriorityClass": {
        1: _META, 2: ("value", "int0"), 3: ("globalDefault", "bool"), 4: ("description", "string"),
        5: ("preemptionPolicy", "string"),
    },
    f"{_RBAC}/Role": {1: _META, 2: ("rules", "*PolicyRule")},
    f"{_RBAC}/ClusterRole": {
        1: _META, 2: ("rules", "*PolicyRule"), 3: ("aggregationRule", "AggregationRule"),
    },
    f"{_RBAC}/RoleBinding": _BINDING,
    f"{_RBAC}/ClusterRoleBinding": _BINDING,
    "authentication.k8s.io/v1/TokenRequest": _with_spec("TokenSpec"),
    "authentication.k8s.io/v1/SelfSubjectReview": {1: _META},
    "authorization.k8s.io/v1/SelfSubjectAccessReview": _with_spec("AccessSpec"),
    "authorization.k8s.io/v1/SelfSubjectRulesReview": _with_spec("RulesSpec"),
}  # fmt: skip


def readable_kinds() -> tuple[str, ...]:
    """Return ``apiVersion/Kind`` of every body that can be read."""
    return tuple(sorted(_KINDS))


def decode(raw: bytes) -> Obj:
    """Turn a protobuf request body into the object its JSON twin would be.

    Raises:
        Invalid: 400, the bytes are no protobuf envelope.
        ApiError: 415, a kind or field whose number is not known.
    """
    if not raw.startswith(MAGIC):
        raise _malformed("the body does not start with the Kubernetes protobuf prefix")
    try:
        envelope = dict(_fields(raw[len(MAGIC) :]))
        head = _message(_bytes(envelope.get(1, b"")), _MESSAGES["TypeMeta"], "TypeMeta", 0)
        gvk = f"{head.get('apiVersion', '')}/{head.get('kind', '')}"
        table = _KINDS.get(gvk)
        if table is None:
            raise _unsupported(f"protobuf bodies of {gvk} are not read")
        return {**head, **_message(_bytes(envelope.get(2, b"")), table, gvk, 0)}
    except (IndexError, UnicodeDecodeError) as error:
        raise _malformed(f"the protobuf body is cut short or damaged: {error}") from error


def _fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (number, value) of one message: integers and length-prefixed bytes are all that Kubernetes sends."""
    position = 0
    while position < len(raw):
        tag, position = _varint(raw, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(raw, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(raw, position)
            if position + length > len(raw):
                raise IndexError("length beyond the end")
            yield number, raw[position : position + length]
            position += length
        else:
            raise _malformed(f"wire type {wire} is not used by Kubernetes")


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise IndexError("number too long")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _malformed("a number stands where a message is expected")
    return value


def _message(raw: bytes, table: dict[int, Field], name: str, depth: int) -> Obj:
    if depth > MAX_DEPTH:
        raise _malformed("messages are nested too deeply")
    found: Obj = {}
    for number, value in _fields(raw):
        known = table.get(number)
        if known is None:
            if not _is_empty(value):
                raise _unsupported(f"protobuf field {number} of {name} is not read")
            continue
        _store(found, known, value, depth)
    return found


def _store(found: Obj, field: Field, value: int | bytes, depth: int) -> None:
    name, kind = field
    mark = kind[:1]
    if mark == "*":
        found.setdefault(name, []).append(_value(value, kind[1:], depth))
    elif mark == "%":
        entry = dict(_fields(_bytes(value)))
        key = _bytes(entry.get(1, b"")).decode()
        found.setdefault(name, {})[key] = _value(entry.get(2, b""), kind[1:], depth)
    elif mark == "=":
        found.update(_message(_bytes(value), _MESSAGES[kind[1:]], kind[1:], depth + 1))
    else:
        item = _value(value, kind, depth)
        # Go writes unset strings and numbers as zero values; a set zero is told apart only by the field.
        if item not in ("", 0, False, None) or kind in ("int0", "any"):
            found[name] = item


def _value(value: int | bytes, kind: str, depth: int) -> Any:
    if kind in ("int", "int0"):
        return _signed(value)
    if kind == "bool":
        return bool(value)
    if kind == "bytes":
        return base64.b64encode(_bytes(value)).decode()
    if kind == "string":
        return _bytes(value).decode()
    if kind == "quantity":
        return _bytes(dict(_fields(_bytes(value))).get(1, b"")).decode()
    if kind == "any":
        return _int_or_string(dict(_fields(_bytes(value))))
    return _message(_bytes(value), _MESSAGES[kind], kind, depth + 1)


def _signed(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _malformed("bytes stand where a number is expected")
    return value - (1 << 64) if value >= 1 << 63 else value


def _int_or_string(parts: dict[int, int | bytes]) -> int | str:
    if parts.get(1):
        return _bytes(parts.get(3, b"")).decode()
    return _signed(parts.get(2, 0))


def _is_empty(value: int | bytes, depth: int = 0) -> bool:
    """Tell whether a value is Go's zero: 0, no bytes, or a message of nothing but zeros."""
    if isinstance(value, int):
        return value == 0
    try:
        return depth < MAX_DEPTH and all(_is_empty(item, depth + 1) for _, item in _fields(value))
    except (IndexError, Invalid):
        return False


def _malformed(message: str) -> Invalid:
    return Invalid(message, status=400, reason="BadRequest")


def _unsupported(message: str) -> ApiError:
    hint = "send the object as JSON, for example with kubectl create -f FILE"
    return ApiError(message, hint=hint, status=415, reason="UnsupportedMediaType")
