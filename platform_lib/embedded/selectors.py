"""Which objects does a selector choose? Label and field selectors of Kubernetes, parsed once, pure.

Source: Kubernetes documentation "Labels and Selectors" and "Field Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from platform_lib.errors import Invalid
from platform_lib.model import Obj

Matcher = Callable[[Mapping[str, str]], bool]
ObjectMatcher = Callable[[Obj], bool]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|<|>|[^\s=!(),<>]+)")
_KEY = re.compile(r"^([a-z0-9A-Z]([-a-z0-9A-Z.]*[a-z0-9A-Z])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
_PUNCTUATION = frozenset({"=", "==", "!=", "!", "(", ")", ",", "<", ">"})


def everything(_: Any) -> bool:
    """Match any labels or object."""
    return True


def parse_label_selector(text: str | None) -> Matcher:
    """Parse the ``labelSelector`` query parameter into a test of labels.

    Args:
        text: ``a=b,c!=d,e in (f,g),h notin (i),j,!k``; empty or None matches everything.

    Returns:
        A function from labels to True or False.

    Raises:
        Invalid: 400 BadRequest, with what could not be understood.

    Example:
        >>> parse_label_selector("app in (a,b),!old")({"app": "a"})
        True
    """
    if not text or not text.strip():
        return everything
    tests = _Parser(text).requirements()
    return tests[0] if len(tests) == 1 else lambda labels: all(test(labels) for test in tests)


class _Parser:
    """Recursive descent over the tokens of a label selector."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        end = 0
        while end < len(text.rstrip()):
            found = _TOKEN.match(text, end)
            if found is None:
                raise self._error("unreadable text")
            self._tokens.append(found.group(1))
            end = found.end()
        self._next = 0

    def requirements(self) -> list[Matcher]:
        tests = [self._requirement()]
        while self._peek():
            if self._take() != ",":
                raise self._error(f"found '{self._tokens[self._next - 1]}', expected: ',' or 'end of string'")
            tests.append(self._requirement())
        return tests

    def _requirement(self) -> Matcher:
        token = self._take()
        if token == "!":  # noqa: S105 - an operator
            return _not_exists(self._key(self._take()))
        key = self._key(token)
        operator = self._peek()
        if operator in ("", ","):
            return _exists(key)
        return self._comparison(key, self._take())

    def _comparison(self, key: str, operator: str) -> Matcher:
        if operator in ("=", "=="):
            return _in(key, frozenset({self._value()}))
        if operator == "!=":
            return _not_in(key, frozenset({self._value()}))
        if operator == "in":
            return _in(key, self._values())
        if operator == "notin":
            return _not_in(key, self._values())
        if operator in ("<", ">"):
            return _compare(key, operator, self._number())
        raise self._error(f"found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _number(self) -> int:
        value = self._value()
        if not re.fullmatch(r"[-+]?\d+", value):
            raise self._error(f"for 'Gt', 'Lt' operators, the value must be an integer: {value!r}")
        return int(value)

    def _key(self, token: str) -> str:
        if not _KEY.match(token):
            raise self._error(f"invalid label key {token!r}" if token else "found '', expected: identifier")
        return token

    def _value(self) -> str:
        return "" if self._peek() in ("", ",") else self._word()

    def _values(self) -> frozenset[str]:
        if self._take() != "(":
            raise self._error("expected: '('")
        values = set()
        while True:
            values.add("" if self._peek() in (",", ")") else self._word())
            closing = self._take()
            if closing == ")":
                return frozenset(values)
            if closing != ",":
                raise self._error(f"found '{closing}', expected: ',' or ')'")

    def _word(self) -> str:
        token = self._take()
        if token in _PUNCTUATION or not token:
            raise self._error(f"found '{token}', expected: identifier")
        return token

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _error(self, why: str) -> Invalid:
        return _bad_request(f"unable to parse requirement: {why} (selector {self._text!r})")


def _bad_request(message: str) -> Invalid:
    return Invalid(message, status=400, reason="BadRequest")


def _exists(key: str) -> Matcher:
    return lambda labels: key in labels


def _not_exists(key: str) -> Matcher:
    return lambda labels: key not in labels


def _in(key: str, values: frozenset[str]) -> Matcher:
    return lambda labels: labels.get(key) in values


def _not_in(key: str, values: frozenset[str]) -> Matcher:
    return lambda labels: labels.get(key) not in values


def _compare(key: str, operator: str, bound: int) -> Matcher:
    def test(labels: Mapping[str, str]) -> bool:
        value = labels.get(key, "")
        if not re.fullmatch(r"[-+]?\d+", value):
            return False
        return int(value) > bound if operator == ">" else int(value) < bound

    return test


def match_labels(selector: Mapping[str, Any] | None, labels: Mapping[str, str] | None) -> bool:
    """Tell whether a LabelSelector object chooses an object with these labels.

    Args:
        selector: ``{matchLabels, matchExpressions}``; ``{}`` chooses everything, None chooses nothing.
        labels: Labels of the object; None means none.

    Raises:
        Invalid: Unknown operator in an expression.
    """
    if selector is None:
        return False
    have = labels or {}
    wanted = selector.get("matchLabels") or {}
    if any(have.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(item, have) for item in selector.get("matchExpressions") or ())


def _expression(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = item["key"], item["operator"]
    values: list[str] = item.get("values") or []
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    if operator in ("Gt", "Lt") and len(values) == 1:
        return _compare(key, ">" if operator == "Gt" else "<", int(values[0]))(labels)
    raise _bad_request(f"{operator!r} is not a valid label selector operator")


def match_map(selector: Mapping[str, str] | None, labels: Mapping[str, str] | None) -> bool:
    """Tell whether an equality map (``Service.spec.selector``, ``nodeSelector``) chooses these labels.

    An empty or missing map chooses nothing here: a Service without a selector has no endpoints of its own.
    """
    if not selector:
        return False
    have = labels or {}
    return all(have.get(key) == value for key, value in selector.items())


_COMMON_FIELDS = frozenset({"metadata.name", "metadata.namespace"})
_FIELDS: dict[str, frozenset[str]] = {
    "v1/pods": frozenset({
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
        "spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName",
    }),
    "v1/nodes": frozenset({"spec.unschedulable"}),
    "v1/namespaces": frozenset({"status.phase"}),
    "v1/secrets": frozenset({"type"}),
    "v1/services": frozenset({"spec.clusterIP", "spec.type"}),
    "v1/events": frozenset({
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath",
        "reason", "reportingComponent", "source", "type",
    }),
    "apps/v1/replicasets": frozenset({"status.replicas"}),
    "batch/v1/jobs": frozenset({"status.successful"}),
}  # fmt: skip
_BOOL_FIELDS = frozenset({"spec.unschedulable", "spec.hostNetwork"})


def parse_field_selector(text: str | None, gvr: str | None = None) -> ObjectMatcher:
    """Parse the ``fieldSelector`` query parameter into a test of objects.

    Args:
        text: ``a.b=c,d.e!=f``; a value may be empty; empty or None matches everything.
        gvr: Resource, to refuse fields that Kubernetes does not support for it; None accepts any field.

    Raises:
        Invalid: 400 BadRequest: unreadable, or ``field label not supported``.
    """
    if not text or not text.strip():
        return everything
    terms: list[tuple[str, bool, str]] = [
        _field_term(term, text) for term in re.split(r"(?<!\\),", text) if term.strip()
    ]
    if gvr is not None:
        known = _FIELDS.get(gvr, frozenset()) | _COMMON_FIELDS
        for path, _, _ in terms:
            if path not in known:
                raise _bad_request(f"field label not supported: {path}")
    tests = [_field_test(path, equal, wanted) for path, equal, wanted in terms]
    return tests[0] if len(tests) == 1 else lambda obj: all(test(obj) for test in tests)


def field_value(text: str | None, path: str) -> str | None:
    """Return the value a field selector demands of one path (``metadata.name=x`` -> ``x``), else None.

    The server uses it to answer ``fieldSelector=metadata.name=x`` and ``spec.nodeName=x`` without a scan.
    """
    if not text:
        return None
    for term in re.split(r"(?<!\\),", text):
        found = re.fullmatch(r"\s*([^=!\s]+)\s*==?\s*(.*)", term)
        if found and found.group(1) == path:
            return _unescape(found.group(2).strip())
    return None


def _field_term(term: str, text: str) -> tuple[str, bool, str]:
    found = re.fullmatch(r"\s*([^=!\s]+)\s*(==|!=|=)(.*)", term)
    if found is None:
        raise _bad_request(f"invalid selector: '{text}'; can't understand '{term.strip()}'")
    return found.group(1), found.group(2) != "!=", _unescape(found.group(3).strip())


def _unescape(value: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", value)


def _field_test(path: str, equal: bool, wanted: str) -> ObjectMatcher:
    steps = path.split(".")

    def test(obj: Obj) -> bool:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        return (_as_text(value, path) == wanted) is equal

    return test


def _as_text(value: Any, path: str) -> str:
    """Fields compare as text; a missing boolean reads false, as after Go's decoding."""
    if isinstance(value, bool) or (value is None and path in _BOOL_FIELDS):
        return "true" if value else "false"
    if path == "source" and isinstance(value, dict):
        return str(value.get("component", ""))
    return "" if value is None else str(value)
