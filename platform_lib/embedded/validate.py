"""Which objects does Kubernetes refuse although their shape is right? One function per kind, pure.

The messages are those of Kubernetes. Rules of pods are in ``podvalidate``; the shape in ``schema``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from platform_lib.embedded.fielderrors import (
    FieldError,
    check_labels,
    invalid,
    label_1035_faults,
    label_faults,
    qualified_name_faults,
    required,
    segment_faults,
    subdomain_faults,
    unsupported,
)
from platform_lib.embedded.kindrules import RULES
from platform_lib.embedded.kinds import Kind
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.schema import Node

_MAX_ANNOTATIONS = 256 * 1024
_NAME_RULES: dict[str, Callable[[str], list[str]]] = {
    "v1/Namespace": label_faults,
    "v1/Service": label_1035_faults,
    "rbac.authorization.k8s.io/v1/Role": segment_faults,
    "rbac.authorization.k8s.io/v1/RoleBinding": segment_faults,
    "rbac.authorization.k8s.io/v1/ClusterRole": segment_faults,
    "rbac.authorization.k8s.io/v1/ClusterRoleBinding": segment_faults,
}


def validate(kind: Kind, obj: Obj, old: Obj | None, node: Node) -> list[FieldError]:
    """Return everything that is wrong with an object whose types are right and defaults applied.

    Args:
        kind: Kind of the object.
        obj: New object.
        old: Stored object on update, for fields that may not change.
        node: Schema of the kind, for required fields and the choices of custom resources.
    """
    found = list(_metadata(kind, obj))
    rule = RULES.get(f"{kind.api_version}/{kind.kind}")
    if rule is not None:
        found += rule(obj, old)
    told = {error.path for error in found}
    found += [error for error in _missing(node, obj) if error.path not in told]
    return found


def _missing(node: Node, obj: Obj) -> list[FieldError]:
    return list(_required(node, {key: value for key, value in obj.items() if key != "status"}, ""))


def _metadata(kind: Kind, obj: Obj) -> Iterable[FieldError]:
    metadata = obj.get("metadata") or {}
    name = metadata.get("name") or ""
    if not name:
        yield required("metadata.name", "name or generateName is required")
    else:
        for text in _NAME_RULES.get(f"{kind.api_version}/{kind.kind}", subdomain_faults)(name):
            yield invalid("metadata.name", name, text)
    yield from check_labels("metadata.labels", metadata.get("labels"))
    yield from _annotations(metadata.get("annotations") or {})
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield invalid(f"metadata.ownerReferences[{index}].{key}", "", "must not be empty")
    for finalizer in metadata.get("finalizers") or ():
        for text in qualified_name_faults(finalizer):
            yield invalid("metadata.finalizers", finalizer, text)


def _annotations(annotations: dict[str, Any]) -> Iterable[FieldError]:
    size = 0
    for key, value in annotations.items():
        size += len(key.encode()) + len(str(value).encode())
        for text in qualified_name_faults(key.lower()):
            yield invalid("metadata.annotations", key, text)
    if size > _MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
        yield FieldError("metadata.annotations", "FieldValueTooLong", text)


def _required(node: Node, value: Any, path: str) -> Iterable[FieldError]:
    """Find required fields that are absent. Lists count as present: Go reads a missing list as empty."""
    if isinstance(value, dict):
        for key in node.required:
            below = node.child(key)
            if value.get(key) is None and (below.type != "array" or not node.name):
                yield required(f"{path}.{key}" if path else key)
        for key, item in value.items():
            yield from _required(node.child(key), item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        if node.item is not None and node.item.type == "object":
            for index, item in enumerate(value):
                yield from _required(node.item, item, f"{path}[{index}]")
    elif node.choices and value not in node.choices:
        yield unsupported(path, value, node.choices)


def invalid_message(kind: Kind, name: str, errors: list[FieldError]) -> str:
    """Return the text of the 422 answer: ``Deployment.apps "x" is invalid: ...``."""
    texts = [str(error) for error in errors]
    listed = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return f'{kind.qualified} "{name}" is invalid: {listed}'


def causes(errors: list[FieldError]) -> list[dict[str, str]]:
    """Return ``Status.details.causes`` of the 422 answer."""
    return [{"reason": error.reason, "message": error.message, "field": error.path} for error in errors]


def decoding_message(kind: Kind, error: FieldError) -> str:
    """Return the text of the 400 answer to a value of a wrong type."""
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {error.message}'


def strict_message(kind: Kind, unknown: list[str]) -> str:
    """Return the text of the 400 answer to unknown fields (``fieldValidation=Strict``)."""
    listed = ", ".join(unknown)
    return (
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: {listed}'
    )


def strict_warnings(unknown: list[str]) -> list[str]:
    """Return the values of the ``Warning`` headers for ``fieldValidation=Warn``."""
    return ['299 - "{}"'.format(text.replace('"', '\\"')) for text in unknown]
