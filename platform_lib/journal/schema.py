"""What is a record? Its fields, the words it may use, and how it becomes a line and back; no I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from platform_lib.model import to_json

FIELDS = ("utc", "seen_utc", "source", "kind", "subject", "run_id", "cause", "uid", "data")
"""``utc``: when it happened. ``seen_utc``: when we learned of it; the same for our own acts. ``uid``: identity of
the fact at its source, so that (source, uid) is one fact however often it is seen; empty where there is none."""

VOCABULARY: dict[str, frozenset[str]] = {
    "kubernetes": frozenset({"event", "restart", "scale", "pod"}),
    "argocd": frozenset({"operation", "health", "sync"}),
    "git": frozenset({"commit"}),
    "prometheus": frozenset({"alert"}),
    "probe": frozenset({"window"}),
    "collector": frozenset({"started", "stopped", "gap", "checkpoint"}),
    "incident": frozenset({"opened", "detected", "mitigated", "resolved"}),
    "run": frozenset({"started", "finished", "skipped"}),
    "drill": frozenset(
        {
            "fault",
            "injected",
            "detected",
            "decided",
            "recovered",
            "undone",
            "undo_failed",
            "verified",
            "measured",
            "aborted",
            "skipped",
            "blind",
        }
    ),
}
"""Kinds by source, as far as they are fixed. Operations (``deploy``, ``rollback``, ``gate``, ...) name their own
marks besides ``outcome``, ``verdict`` and ``step``."""

_SECRET_WORDS = ("token", "password", "secret", "authorization", "credential", "private_key")
_REDACTED = "[redacted]"


def encoded(record: Mapping[str, Any]) -> str:
    """Return a record as one line without its line end; values whose key names a secret are replaced."""
    clean = {name: record.get(name, "") for name in FIELDS[:-1]}
    clean["seen_utc"] = clean["seen_utc"] or clean["utc"]
    return json.dumps(to_json({**clean, "data": redacted(record["data"])}), separators=(",", ":"), default=str)


def decoded(line: str) -> dict[str, Any] | None:
    """Decode a line; None for one that is not a whole record."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or "utc" not in record:
        return None
    record.setdefault("seen_utc", record["utc"])
    record.setdefault("uid", "")
    return record


def identity(source: str, kind: str, data: Mapping[str, Any]) -> str:
    """Return the identity of a fact that names itself: a commit is the same whoever reports it."""
    if (source, kind) == ("git", "commit"):
        return str(data.get("commit") or "")
    return ""


def redacted(value: Any, key: str = "") -> Any:
    """Replace values whose key names a secret."""
    if any(word in key.lower() for word in _SECRET_WORDS):
        return _REDACTED
    if isinstance(value, Mapping):
        return {str(name): redacted(item, str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return value


def moment(text: str | datetime) -> datetime:
    """Return a time stamp of a record as an aware datetime."""
    return text if isinstance(text, datetime) else datetime.fromisoformat(text.replace("Z", "+00:00"))
