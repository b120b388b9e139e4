"""Which objects belong into a list answer, page by page, and in which order of bytes?

The JSON of each object is kept by the store, so a list is a join.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from platform_lib.embedded import refusals
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.selectors import field_value, parse_field_selector, parse_label_selector
from platform_lib.embedded.store import Store, Stored, key_of
from platform_lib.embedded.watching import Match
from platform_lib.model import Obj


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list request."""

    items: Sequence[Stored]
    version: str
    following: str = ""
    remaining: int = 0

    def metadata(self) -> Obj:
        """Return the ``metadata`` of the list."""
        found: Obj = {"resourceVersion": self.version}
        if self.following:
            found["continue"] = self.following
            found["remainingItemCount"] = self.remaining
        return found


def selection(query: Mapping[str, str], gvr: str) -> Match | None:
    """Return the test that the selectors of a query make, or None without selectors.

    Raises:
        Invalid: 400, a selector cannot be read or names an unsupported field.
    """
    labels, fields = query.get("labelSelector"), query.get("fieldSelector")
    if not labels and not fields:
        return None
    by_label, by_field = parse_label_selector(labels), parse_field_selector(fields, gvr)
    if not fields:
        return lambda obj: by_label(obj["metadata"].get("labels") or {})
    if not labels:
        return by_field
    return lambda obj: by_label(obj["metadata"].get("labels") or {}) and by_field(obj)


def read_page(store: Store, kind: Kind, namespace: str, query: Mapping[str, str]) -> Page:
    """Read what a list request asks for.

    Raises:
        Expired: The continue token is older than the history.
        Invalid: A parameter cannot be read.
        ApiError: 504, a version is asked for that does not exist yet.
    """
    check_version(store, query)
    match = selection(query, kind.gvr)
    items = _candidates(store, kind, namespace, query)
    if match is not None:
        items = [found for found in items if match(found.obj)]
    version, token = str(store.version), query.get("continue")
    if token:
        version, after = _read_token(token)
        store.since(kind.gvr, int(version))  # a client continues its watch from there: it must still be known
        items = [found for found in items if key_of(found.obj) > after]
    limit = _limit(query)
    if not limit or len(items) <= limit:
        return Page(items, version)
    shown = items[:limit]
    return Page(shown, version, _write_token(version, key_of(shown[-1].obj)), len(items) - limit)


def encode(kind: Kind, page: Page) -> bytes:
    """Return the list object as JSON."""
    head = orjson.dumps({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": page.metadata()})
    return head[:-1] + b',"items":[' + b",".join([found.raw for found in page.items]) + b"]}"


def check_version(store: Store, query: Mapping[str, str]) -> None:
    """Refuse versions that this store has not reached, or cannot show exactly any more."""
    text = query.get("resourceVersion") or "0"
    if not text.isdigit():
        raise refusals.bad_request(f'resourceVersion: Invalid value: "{text}": must be a number')
    version = int(text)
    if version > store.version:
        message = f"Too large resource version: {version}, current: {store.version}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise refusals.other(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1})
    if query.get("resourceVersionMatch") == "Exact" and version not in (0, store.version):
        raise refusals.expired(f"The resourceVersion for the provided list is too old: {version}")


def _candidates(store: Store, kind: Kind, namespace: str, query: Mapping[str, str]) -> Sequence[Stored]:
    """Return what may match: one object when the query names it, else all of the scope."""
    name = field_value(query.get("fieldSelector"), "metadata.name")
    if name is None or (kind.namespaced and not namespace):
        return store.entries(kind.gvr, namespace or None)
    found = store.entry(kind.gvr, namespace, name)
    return [found] if found else []


def _limit(query: Mapping[str, str]) -> int:
    text = query.get("limit") or "0"
    if not text.isdigit():
        raise refusals.bad_request(f'limit: Invalid value: "{text}": must be a non-negative number')
    return int(text)


def _write_token(version: str, key: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps({"v": version, "after": key})).decode()


def _read_token(token: str) -> tuple[str, tuple[str, str]]:
    try:
        found = orjson.loads(base64.urlsafe_b64decode(token))
        namespace, name = found["after"]
        return str(int(found["v"])), (str(namespace), str(name))
    except (ValueError, KeyError, TypeError) as error:
        raise refusals.bad_request("continue key is not valid: it was not given out by this server") from error
