"""When did an incident start, when was it seen, stopped, over, and what changed just before? Pure choice from entries.

Every answer says how it was derived. Changes are ranked by their distance in time to the onset; that is a
correlation and never called more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from platform_lib.model import joined
from platform_lib.rules.timeline import Entry

CORRELATED = "correlated, not proven"
STAMPS = ("started", "detected", "mitigated", "resolved")
_LABELS = {"started": "opened", "detected": "detected", "mitigated": "mitigated", "resolved": "resolved"}
_CHANGES = {
    ("git", "commit"),
    ("argocd", "operation"),
    ("kubernetes", "scale"),
    ("drill", "fault"),
    ("drill", "injected"),
}
_ACTS = {"deploy", "rollback", "sync", "cluster"}
_SLACK_S = 1.0
"""Time stamps of Kubernetes and git are whole seconds: so much earlier still counts as the same moment."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One of the four time stamps.

    Attributes:
        name: ``started``, ``detected``, ``mitigated`` or ``resolved``.
        at: When; None when it is not known (``how`` says why).
        low, high: Where it lies; equal to ``at`` for what was recorded as a moment.
        how: What it was derived from.
    """

    name: str
    at: datetime | None
    low: datetime | None
    high: datetime | None
    how: str

    @property
    def width_s(self) -> float:
        """Width of the interval in seconds."""
        return (self.high - self.low).total_seconds() if self.low and self.high else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed, as far as the record knows.

    Attributes:
        at: Its last moment before the onset (its first one, when all came after).
        first_at: When it began.
        what: In plain words.
        identity: Commit or other name that joins its entries.
        lag_s: Seconds from ``at`` to the onset; below 0 when it came after.
        entries: How many entries belong to it.
        wording: How sure this is.
    """

    at: datetime
    first_at: datetime
    what: str
    identity: str
    lag_s: float
    entries: int
    wording: str = CORRELATED

    @property
    def before(self) -> bool:
        """Whether it can have come before the onset, at the resolution of the clocks."""
        return self.lag_s >= -_SLACK_S


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: when it fired and resolved."""

    name: str
    severity: str
    fired_at: datetime
    resolved_at: datetime | None


def recorded(at: datetime, name: str, how: str) -> Moment:
    """Return a stamp that was recorded as a moment."""
    return Moment(name, at, at, at, how)


def unknown(name: str, why: str) -> Moment:
    """Return a stamp that is not known."""
    return Moment(name, None, None, None, why)


def label(name: str, entries: Iterable[Entry], incident: str | None) -> Moment | None:
    """Return a stamp that a person or drill recorded for this incident, None when there is none."""
    for entry in entries:
        ours = incident is None or incident_of(entry) in (incident, "")
        if entry.source == "incident" and entry.kind == _LABELS[name] and ours:
            return recorded(entry.utc, name, f"label of incident {incident or incident_of(entry)}")
    return None


def incident_of(entry: Entry) -> str:
    """Return the incident that a label belongs to."""
    return str(entry.data.get("incident") or entry.data.get("id") or entry.data.get("incident_id") or "")


def detected(entries: Sequence[Entry], started: Moment, incident: str | None) -> Moment:
    """Return when the incident was first noticed, by whatever noticed it first.

    Args:
        entries: The timeline.
        started: Signs from before it do not count.
        incident: Whose labels count; None for any.
    """
    floor = (started.low - timedelta(seconds=_SLACK_S)) if started.low else None
    seen = [e for e in entries if _notices(e) and (floor is None or e.utc >= floor)]
    named = label("detected", entries, incident)
    if named and not (seen and seen[0].utc < (named.at or seen[0].utc)):
        return named
    if not seen:
        return unknown("detected", "no verdict, alert, drill or person in the record noticed it")
    return recorded(seen[0].utc, "detected", f"first sign in the record: {seen[0].text}")


def _notices(entry: Entry) -> bool:
    """Whether an entry says that somebody or something noticed trouble."""
    if entry.kind == "detected" and entry.source != "incident":
        return True
    if entry.kind == "verdict":
        return entry.data.get("status") == "fail"
    if (entry.source, entry.kind) == ("prometheus", "alert"):
        return entry.data.get("state") == "firing" and str(entry.data.get("alertname")) != "Watchdog"
    return (entry.source, entry.kind) == ("argocd", "health") and entry.data.get("to") == "Degraded"


def resolved(entries: Sequence[Entry], app: str, started: Moment, mitigated: Moment, incident: str | None) -> Moment:
    """Return when all was as wanted again: symptoms gone, repair finished, alerts resolved.

    Args:
        entries: The timeline.
        app: Whose operations and health count.
        started: What came before it does not count.
        mitigated: The end of the symptoms; without one there is no end.
        incident: Whose labels count; None for any.
    """
    named = label("resolved", entries, incident)
    if named:
        return named
    if mitigated.at is None or started.low is None:
        return unknown("resolved", "symptoms had not ended in the record")
    open_alerts = [
        alert.name for alert in alerts(entries) if alert.resolved_at is None and alert.fired_at >= started.low
    ]
    if open_alerts:
        return unknown("resolved", f"alerts still firing at the end of the window: {joined(sorted(set(open_alerts)))}")
    after = [e for e in entries if e.utc >= started.low and _repairs(e, app)]
    last = max(after, key=lambda entry: entry.utc, default=None)
    if last is None or last.utc <= mitigated.at:
        return recorded(mitigated.at, "resolved", "the end of the symptoms; nothing in the record ended later")
    return recorded(last.utc, "resolved", f"last sign of repair: {last.text}")


def _repairs(entry: Entry, app: str) -> bool:
    """Whether an entry says that the application came back to what is wanted."""
    pair = (entry.source, entry.kind)
    if pair == ("prometheus", "alert"):
        return entry.data.get("state") == "resolved"
    if pair in {("drill", "recovered"), ("drill", "undone")}:
        return True
    if entry.subject != app:
        return False
    if pair == ("rollback", "outcome") or entry.kind == "recovered":
        return True
    return pair == ("argocd", "health") and entry.data.get("to") == "Healthy"


def alerts(entries: Iterable[Entry]) -> tuple[Alert, ...]:
    """Join firing and resolved entries of each alert, in the order of firing."""
    found: list[Alert] = []
    open_at: dict[str, int] = {}
    for entry in entries:
        if (entry.source, entry.kind) != ("prometheus", "alert"):
            continue
        name = str(entry.data.get("alertname") or entry.subject)
        key = f"{name} {sorted((entry.data.get('labels') or {}).items())}"
        if entry.data.get("state") == "firing":
            open_at.setdefault(key, len(found))
            if open_at[key] == len(found):
                found.append(Alert(name, str(entry.data.get("severity") or ""), entry.utc, None))
        elif key in open_at:
            place = open_at.pop(key)
            found[place] = Alert(name, found[place].severity, found[place].fired_at, entry.utc)
    return tuple(found)


def changes(entries: Sequence[Entry], app: str, onset: datetime | None) -> tuple[Change, ...]:
    """Rank what was changed by its lag to the onset, nearest before it first, what came after it last.

    A commit, the sync that applied it and the command that asked for it are one change.

    Args:
        entries: The timeline.
        app: Changes of other applications are left out.
        onset: None ranks by time alone.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        identity = _change(entry, app)
        if identity:
            groups.setdefault(identity, []).append(entry)
    found = [_grouped(identity, group, onset) for identity, group in groups.items()]
    return tuple(sorted(found, key=lambda change: (not change.before, abs(change.lag_s), change.first_at)))


def _change(entry: Entry, app: str) -> str:
    """Return the identity of the change an entry belongs to; empty when it is none."""
    if entry.source == "git" and not _touches(entry, app):
        return ""
    if entry.source != "git" and entry.source != "drill" and not _about(entry, app):
        return ""
    if entry.kind == "scale" and entry.data.get("from") is None:
        return ""  # the first sight of a number is no change of it
    commit = str(entry.data.get("commit") or entry.data.get("revision") or "")
    if (entry.source, entry.kind) in _CHANGES:
        return commit or f"{entry.source} {entry.subject} {entry.cause or entry.utc.isoformat()}"
    if entry.source in _ACTS and entry.kind in ("outcome", "step"):
        return commit or entry.cause
    return ""


def _touches(entry: Entry, app: str) -> bool:
    """Whether a commit changes files of the application; one without a list of files goes by its subject."""
    files = entry.data.get("files")
    if isinstance(files, (list, tuple)) and files:
        return any(app in str(name).split("/") for name in files)
    return entry.subject == app


def _about(entry: Entry, app: str) -> bool:
    """Whether an entry is about the application or an object that carries its name."""
    if entry.subject == app:
        return True
    kind, _, name = entry.subject.partition("/")
    return kind in ("Deployment", "HorizontalPodAutoscaler") and name == app


def _grouped(identity: str, group: Sequence[Entry], onset: datetime | None) -> Change:
    """Join the entries of one change."""
    first = group[0].utc
    limit = onset + timedelta(seconds=_SLACK_S) if onset else None
    earlier = [entry.utc for entry in group if limit is None or entry.utc <= limit]
    at = max(earlier) if earlier else first
    lag_s = (onset - at).total_seconds() if onset else 0.0
    return Change(at, first, _words(group), identity, lag_s, len(group))


def _words(group: Sequence[Entry]) -> str:
    """Name a change by its most telling entry, with the version it brought."""
    for source in ("git", "drill", "deploy", "rollback", "argocd"):
        for entry in group:
            if entry.source == source:
                return entry.text + _version(group)
    return group[0].text


def _version(group: Sequence[Entry]) -> str:
    """Return the version that a change brought, where an entry names one that the text does not."""
    for entry in group:
        facts: Mapping[str, object] = entry.data
        version = facts.get("version") or facts.get("to_version")
        if version and not any(str(version) in other.text for other in group):
            return f" (version {version})"
    return ""


def durations(stamps: Mapping[str, Moment]) -> dict[str, float]:
    """Return seconds between the stamps that are known: to detect, to mitigate, to resolve, all from the start."""
    start = stamps["started"].at
    pairs = {"detect_s": "detected", "mitigate_s": "mitigated", "resolve_s": "resolved"}
    known = {key: stamps[name].at for key, name in pairs.items()}
    return {key: (at - start).total_seconds() for key, at in known.items() if at is not None and start is not None}
