"""What happened to an application, one row per operation? Folds the phases on record into operations. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from platform_lib.rules.operations import OPERATION_ID
from platform_lib.rules.workload import parse_time

Record = Mapping[str, Any]
COLUMNS = (
    "started_at", "finished_at", "duration_s", "phase", "how", "by", "revision", "message", "retries",
    "objects", "failed", "different", "author", "subject", "because", "run_id", "source",
)  # fmt: skip
_ORDER = {"Running": 0, "Terminating": 1}
"""Phases that are not the last word; everything else is."""


def folded(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return one row per operation, oldest first.

    Args:
        records: Journal records ``argocd operation`` of one application, in the order of their time. Those that a
            request of ours wrote carry no start; they lend their run to the operation they asked for.

    Returns:
        Dicts with ``COLUMNS`` except those that git and deploys fill in.
    """
    operations: dict[str, dict[str, Any]] = {}
    asked: dict[str, Record] = {}
    for record in records:
        data = record["data"]
        if "started_at" not in data:
            asked[str(data.get("operation") or "")] = record
            continue
        key = f"{str(record.get('uid') or '').partition('/')[0]}/{data['started_at']}"
        operations[key] = _newer(operations.get(key), _row(record))
    for row in operations.values():
        request = asked.get(str(row.pop("identity")))
        if request is not None:
            row["run_id"] = row["run_id"] or request.get("run_id") or ""
            row["because"] = "apqx sync"
    return sorted(operations.values(), key=lambda row: row["started_at"])


def _newer(known: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    """Keep the later word on an operation, and what failed in an attempt before it."""
    if known is None:
        return row
    early, late = sorted((known, row), key=lambda one: (_ORDER.get(one["phase"], 2), one["retries"]))
    return late | {"failed": late["failed"] or early["failed"], "objects": late["objects"] or early["objects"]}


def _row(record: Record) -> dict[str, Any]:
    """Read one record."""
    data = record["data"]
    started, finished = parse_time(data["started_at"]), parse_time(data.get("finished_at"))
    ended = finished is not None and started is not None and data.get("phase") not in _ORDER
    return {
        "started_at": started,
        "finished_at": finished if ended else None,
        "duration_s": (finished - started).total_seconds() if ended and finished and started else None,
        "phase": str(data.get("phase") or ""),
        "how": how(data),
        "by": str(data.get("initiated_by") or ("automation" if data.get("automated") else "")),
        "revision": str(data.get("revision") or ""),
        "message": str(data.get("message") or ""),
        "retries": int(data.get("retries") or 0),
        "objects": int(sum((data.get("rows") or {}).values())),
        "failed": tuple(data.get("failed") or ()),
        "different": (),
        "because": "",
        "run_id": str(record.get("run_id") or ""),
        "source": "record",
        "identity": str((data.get("info") or {}).get(OPERATION_ID) or ""),
    }


def how(data: Mapping[str, Any]) -> str:
    """Say what kind of operation a record tells of."""
    prune = " with prune" if data.get("prune") else ""
    if data.get("dry_run"):
        return "rehearsal"
    if data.get("self_heal"):
        return f"self-heal no. {data['self_heal']}"
    if data.get("automated") or data.get("initiated_by") == "automation":
        return "automatic"
    if data.get("partial"):
        return f"partial sync of {len(data['partial'])}{prune}"
    if data.get("source_given") and not data.get("hooks", True):
        return f"rollback by history{prune}"
    return f"sync{prune}"


def from_history(rows: Sequence[Mapping[str, Any]], known: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return operations that only Argo CD's own history still tells: successes from before the record.

    Args:
        rows: ``status.history``.
        known: Operations on record.
    """
    starts = {row["started_at"] for row in known}
    found = []
    for row in rows:
        started, finished = parse_time(row.get("deployStartedAt")), parse_time(row.get("deployedAt"))
        if started is None or started in starts:
            continue
        by = row.get("initiatedBy") or {}
        found.append(
            {
                "started_at": started,
                "finished_at": finished,
                "duration_s": (finished - started).total_seconds() if finished else None,
                "phase": "Succeeded",
                "how": "automatic" if by.get("automated") else "sync",
                "by": "automation" if by.get("automated") else str(by.get("username") or ""),
                "revision": str(row.get("revision") or ",".join(row.get("revisions") or ())),
                "message": "",
                "retries": 0,
                "objects": 0,
                "failed": (),
                "different": (),
                "because": "",
                "run_id": "",
                "source": f"history id {row.get('id')}",
            }
        )
    return found


class Reason(NamedTuple):
    """Why an operation to a commit ran, and when that was written down."""

    at: datetime
    commit: str
    text: str
    run_id: str


def reasons(records: Iterable[Record]) -> list[Reason]:
    """Return the deploys and rollbacks of ours, in the order of their time.

    Args:
        records: Journal records of the sources ``deploy`` and ``rollback`` of one application.
    """
    found = []
    for record in records:
        data, commit, run = record["data"], str(record.get("cause") or ""), str(record.get("run_id") or "")
        if record["kind"] != "outcome" or not commit:
            continue
        if record["source"] == "deploy":
            text = f"deploy of {data.get('version') or 'a version'}"
        else:
            target = f"{data.get('to_version') or ''} ({str(data.get('to_commit') or '')[:7]})".strip()
            text = f"rollback to {target} by {data.get('method') or 'revert'}"
        found.append(Reason(record["utc"], commit, text, run))
    return found


def attached(rows: Sequence[dict[str, Any]], found: Iterable[Reason]) -> list[dict[str, Any]]:
    """Return operations with the reason of each, where there is one.

    A deploy or rollback is written down when it has ended, so it belongs to the last operation to its commit that
    began before; one that did not wait was written down before its operation began.

    Args:
        rows: Operations, oldest first.
        found: What ``reasons`` returned.
    """
    because: dict[int, Reason] = {}
    for reason in found:
        same = [index for index, row in enumerate(rows) if row["revision"] == reason.commit]
        before = [index for index in same if rows[index]["started_at"] <= reason.at]
        if same:
            because[before[-1] if before else same[0]] = reason
    return [_because(row, because.get(index)) for index, row in enumerate(rows)]


def _because(row: dict[str, Any], reason: Reason | None) -> dict[str, Any]:
    """Return an operation with its reason and the run that it belongs to."""
    run = (reason.run_id if reason else "") or row["run_id"]
    text = (reason.text if reason else "") or row["because"]
    return row | {"run_id": run, "because": f"{text} (run {run})" if text and run else text}


def drifted(records: Iterable[Record], row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the objects that differed from git when an operation began.

    Args:
        records: Journal records ``argocd sync`` of the application, in the order of their time.
        row: The operation.
    """
    found: tuple[str, ...] = ()
    for record in records:
        # Argo CD counts in whole seconds: what was seen within the second of the start came before it.
        if (record["utc"] - row["started_at"]).total_seconds() >= 1.0:
            break
        data = record["data"]
        found = tuple(data.get("different") or ()) if data.get("to") == "OutOfSync" else ()
    return found
