"""How does Kubernetes word a refused field? Constructors and the rules for names, labels and ports.

Source: apimachinery packages ``util/validation`` and ``util/validation/field`` (their messages are what
users of kubectl search for, so they are kept to the letter).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class FieldError:
    """One refused field.

    Attributes:
        path: As kubectl shows it: ``spec.containers[0].name``; empty for the whole object.
        reason: ``FieldValueInvalid``, ``FieldValueRequired`` ... (``Status.details.causes[].reason``).
        message: ``Invalid value: "x": must be ...`` (``causes[].message``).
    """

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def _with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """A value that breaks a rule."""
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {detail}")


def required(path: str, detail: str = "") -> FieldError:
    """A value that must be given."""
    return FieldError(path, "FieldValueRequired", _with_detail("Required value", detail))


def forbidden(path: str, detail: str) -> FieldError:
    """A value that may not be given or changed here."""
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: Any) -> FieldError:
    """A value that must be unique."""
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}")


def not_found(path: str, value: Any) -> FieldError:
    """A reference to something the object does not have."""
    return FieldError(path, "FieldValueNotFound", f"Not found: {_shown(value)}")


def unsupported(path: str, value: Any, choices: Iterable[Any]) -> FieldError:
    """A value outside a fixed set."""
    listed = ", ".join(_shown(choice) for choice in sorted(choices, key=str))
    text = f"Unsupported value: {_shown(value)}: supported values: {listed}"
    return FieldError(path, "FieldValueNotSupported", text)


_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_TEXT = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_NAME_PART_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
    "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
    "used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_DATA_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _shaped(value: str, limit: int, pattern: re.Pattern[str], text: str) -> list[str]:
    wrong = [f"must be no more than {limit} bytes"] if len(value.encode()) > limit else []
    return wrong if pattern.fullmatch(value) else [*wrong, text]


def label_faults(value: str) -> list[str]:
    """Say what keeps a text from being an RFC 1123 label (at most 63 bytes)."""
    return _shaped(value, 63, _LABEL, _LABEL_TEXT)


def label_1035_faults(value: str) -> list[str]:
    """Say what keeps a text from being an RFC 1035 label, the form of Service names."""
    return _shaped(value, 63, _LABEL_1035, _LABEL_1035_TEXT)


def subdomain_faults(value: str) -> list[str]:
    """Say what keeps a text from being an RFC 1123 subdomain (at most 253 bytes)."""
    return _shaped(value, 253, _SUBDOMAIN, _SUBDOMAIN_TEXT)


def segment_faults(value: str) -> list[str]:
    """Say what keeps a text from being a path segment, the form of RBAC names."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{mark}'" for mark in ("/", "%") if mark in value]


def qualified_name_faults(value: str) -> list[str]:
    """Say what keeps a text from being a label or annotation key (``prefix/name``)."""
    prefix, slash, name = value.rpartition("/")
    faults: list[str] = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults += [f"prefix part {text}" for text in subdomain_faults(prefix)]
    if not name:
        return [*faults, "name part must be non-empty"]
    if len(name.encode()) > 63:
        faults.append("name part must be no more than 63 bytes")
    return faults if _NAME_PART.fullmatch(name) else [*faults, _NAME_PART_TEXT]


def label_value_faults(value: str) -> list[str]:
    """Say what keeps a text from being a label value."""
    return _shaped(value, 63, _LABEL_VALUE, _LABEL_VALUE_TEXT)


def data_key_faults(value: str) -> list[str]:
    """Say what keeps a text from being a key of a ConfigMap or Secret."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return _shaped(value, 253, _DATA_KEY, _DATA_KEY_TEXT)


def check_labels(path: str, labels: Mapping[str, Any] | None) -> Iterable[FieldError]:
    """Check keys and values of a label map."""
    for key, value in (labels or {}).items():
        for text in qualified_name_faults(key):
            yield invalid(path, key, text)
        for text in label_value_faults(str(value)):
            yield invalid(path, value, text)


def check_port(path: str, port: Any) -> Iterable[FieldError]:
    """Check a port number (1 to 65535) or, where a name is allowed, a port name."""
    if isinstance(port, str):
        if not re.fullmatch(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*", port) or len(port) > 15:
            yield invalid(path, port, "must be a valid port name (lower case, at most 15 characters)")
    elif not isinstance(port, int) or not 1 <= port <= 65535:
        yield invalid(path, port, "must be between 1 and 65535, inclusive")


def check_not_negative(path: str, value: Any) -> Iterable[FieldError]:
    """Check a count."""
    if isinstance(value, int) and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def check_choice(path: str, value: Any, choices: tuple[Any, ...]) -> Iterable[FieldError]:
    """Check that a value is one of a fixed set."""
    if value not in choices:
        yield unsupported(path, value, choices)
