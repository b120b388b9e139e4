"""How does a record read in plain words? One sentence per kind of fact, nothing that is not in the record."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Record = Mapping[str, Any]
Data = Mapping[str, Any]


def sentence(record: Record) -> str:
    """Return a record in plain words.

    Args:
        record: Journal record: ``source``, ``kind``, ``subject``, ``cause``, ``data``.

    Returns:
        One line without a full stop; a kind that is not known is named with its plain values.
    """
    source, kind, subject = str(record["source"]), str(record["kind"]), str(record["subject"])
    data: Data = record.get("data") or {}
    words = _WORDS.get((source, kind)) or _WORDS.get(("*", kind))
    text = (
        words(source, subject, data, str(record.get("cause") or "")) if words else _plain(source, kind, subject, data)
    )
    return " ".join(text.split())


def _plain(source: str, kind: str, subject: str, data: Data) -> str:
    """Name a fact by its kind and its short values."""
    facts = ", ".join(f"{key} {_brief(value)}" for key, value in data.items() if _short(value))
    return f"{source}: {kind.replace('_', ' ')} {subject}{': ' + facts if facts else ''}"


def _brief(value: Any) -> str:
    """Return a value as text; a commit is shortened."""
    return re.sub(r"\b([0-9a-f]{7})[0-9a-f]{33}\b", r"\1", str(value))


def _short(value: Any) -> bool:
    """Whether a value belongs into a sentence."""
    return isinstance(value, (int, float)) or (isinstance(value, str) and 0 < len(value) <= 60)


def _sha(data: Data, *names: str) -> str:
    """Return the first commit among some keys, shortened."""
    return next((str(data[name])[:7] for name in names if data.get(name)), "")


def _because(text: Any) -> str:
    """Return a message as the tail of a sentence."""
    return f": {text}" if text else ""


def _event(_source: str, subject: str, data: Data, _cause: str) -> str:
    name = "/".join(str(data[key]) for key in ("involved_kind", "involved_name") if data.get(key)) or subject
    warning = "warning, " if data.get("type") == "Warning" else ""
    return f"{name}: {warning}{data.get('reason', 'event')}{_because(data.get('message'))}"


def _restart(_source: str, subject: str, data: Data, _cause: str) -> str:
    return f"container of {subject} restarted{_because(data.get('reason'))}"


def _scale(_source: str, subject: str, data: Data, cause: str) -> str:
    by = f" by {cause}" if cause else ""
    if data.get("from") is None:
        return f"{subject} seen first, with {data.get('to', '?')} replicas"
    return f"{subject} scaled from {data.get('from', '?')} to {data.get('to', '?')}{by}"


def _operation(_source: str, subject: str, data: Data, _cause: str) -> str:
    revision = _sha(data, "revision")
    to = f" to {revision}" if revision else ""
    by = f", started by {data['initiated_by']}" if data.get("initiated_by") else ""
    return f"Argo CD sync of {subject}{to} {data.get('phase', 'ran')}{by}{_because(data.get('message'))}"


def _health(_source: str, subject: str, data: Data, _cause: str) -> str:
    return f"health of {subject} went from {data.get('from') or 'unknown'} to {data.get('to') or 'unknown'}"


def _sync(_source: str, subject: str, data: Data, _cause: str) -> str:
    return f"{subject} went from {data.get('from') or 'unknown'} to {data.get('to') or 'unknown'} with git"


def _commit(_source: str, subject: str, data: Data, _cause: str) -> str:
    by = f" by {data['author']}" if data.get("author") else ""
    return f"commit {_sha(data, 'commit') or subject[:7]}{by}{_because(_first_line(data.get('message')))}"


def _alert(_source: str, subject: str, data: Data, _cause: str) -> str:
    severity = f" ({data['severity']})" if data.get("severity") else ""
    state = "fired" if data.get("state") == "firing" else str(data.get("state") or "changed")
    return f"alert {data.get('alertname') or subject}{severity} {state}"


def _window(_source: str, subject: str, data: Data, _cause: str) -> str:
    slow = f", {data['slow']} slow" if data.get("slow") else ""
    p99 = data.get("p99_ms")
    tail = f", p99 {float(p99):.0f} ms" if isinstance(p99, (int, float)) else ""
    return f"probe of {subject}: {data.get('failed', '?')} of {data.get('sent', '?')} requests failed{slow}{tail}"


def _outcome(source: str, subject: str, data: Data, _cause: str) -> str:
    ok = data.get("ok")
    end = "finished" if ok is None else ("succeeded" if ok else "failed")
    return f"{source} of {subject} {end}{_because(data.get('message'))}"


def _verdict(source: str, subject: str, data: Data, _cause: str) -> str:
    status = str(data.get("status", "given")).replace("_", " ")
    return f"verdict of the {source} of {subject}: {status}{_because(data.get('reason'))}"


def _step(source: str, subject: str, data: Data, _cause: str) -> str:
    what = str(data.get("step") or data.get("action") or "step").replace("_", " ")
    facts = ", ".join(f"{k} {_brief(v)}" for k, v in data.items() if k not in ("step", "action") and _short(v))
    return f"{source} of {subject}: {what}{_because(facts)}"


def _drill(verb: str) -> Callable[[str, str, Data, str], str]:
    """Return the sentence of a drill's moment."""

    def words(_source: str, subject: str, data: Data, _cause: str) -> str:
        what = data.get("scenario") or data.get("drill") or data.get("action") or ""
        return f"drill{' ' + str(what) if what else ''} on {subject}: {verb}{_because(data.get('reason'))}"

    return words


def _incident(verb: str) -> Callable[[str, str, Data, str], str]:
    """Return the sentence of an incident's label."""

    def words(_source: str, subject: str, data: Data, _cause: str) -> str:
        name = data.get("incident") or data.get("id") or data.get("incident_id") or ""
        return f"incident {name} of {data.get('service') or subject} {verb}{_because(data.get('reason'))}"

    return words


def _run(verb: str) -> Callable[[str, str, Data, str], str]:
    """Return the sentence of a run's start or end."""

    def words(_source: str, subject: str, data: Data, _cause: str) -> str:
        status = f" ({data['status']})" if data.get("status") else ""
        return f"run of {data.get('runbook') or subject} {verb}{status}"

    return words


def _first_line(text: Any) -> str:
    """Return the first line of a text."""
    return str(text or "").partition("\n")[0]


_WORDS: dict[tuple[str, str], Callable[[str, str, Data, str], str]] = {
    ("kubernetes", "event"): _event,
    ("kubernetes", "restart"): _restart,
    ("kubernetes", "scale"): _scale,
    ("argocd", "operation"): _operation,
    ("argocd", "health"): _health,
    ("argocd", "sync"): _sync,
    ("git", "commit"): _commit,
    ("prometheus", "alert"): _alert,
    ("probe", "window"): _window,
    ("*", "outcome"): _outcome,
    ("*", "verdict"): _verdict,
    ("*", "step"): _step,
    ("drill", "fault"): _drill("fault begins"),
    ("drill", "injected"): _drill("fault injected"),
    ("drill", "detected"): _drill("fault detected"),
    ("drill", "recovered"): _drill("service recovered"),
    ("drill", "undone"): _drill("fault undone"),
    ("drill", "undo_failed"): _drill("undo FAILED"),
    ("drill", "verified"): _drill("verified"),
    ("drill", "measured"): _drill("measured"),
    ("drill", "aborted"): _drill("aborted"),
    ("drill", "skipped"): _drill("skipped"),
    ("drill", "blind"): _drill("nothing could be seen"),
    ("run", "started"): _run("started"),
    ("run", "finished"): _run("finished"),
    ("run", "skipped"): _run("skipped"),
    ("incident", "opened"): _incident("opened"),
    ("incident", "detected"): _incident("detected"),
    ("incident", "mitigated"): _incident("mitigated"),
    ("incident", "resolved"): _incident("resolved"),
}
