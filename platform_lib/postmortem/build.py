"""How does a post-mortem come from a record? Collect, date, measure, rank: nothing here is an opinion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from platform_lib import archive as archives
from platform_lib import journal
from platform_lib.archive import Archive
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Platform, joined
from platform_lib.postmortem import expected as expectation
from platform_lib.postmortem import impact as cost
from platform_lib.postmortem import signal as signals
from platform_lib.postmortem.expected import Expected
from platform_lib.postmortem.impact import Impact
from platform_lib.postmortem.signal import Signal
from platform_lib.rules import incident as rules
from platform_lib.rules import timeline
from platform_lib.rules.actions import DETECT_TARGET_S
from platform_lib.rules.incident import Alert, Change, Moment
from platform_lib.rules.timeline import Entry

Progress = Callable[[str], None]
LEAD_S = 60.0
"""A window that was found from an incident's labels begins so long before, and ends so long after."""


@dataclass(frozen=True, repr=False)
class PostMortem:
    """The facts of one incident.

    Attributes:
        app, platform: What and where.
        start, end: Window that was looked at.
        incident: Its name, empty without one.
        timeline: Merged entries of all sources, oldest first.
        signal: Requests per interval; None when nothing was recorded.
        stamps: The four moments by name.
        impact: What users lost; None without a signal.
        changes: Ranked by lag to the onset; ``wording`` of each says how sure that is.
        alerts: Alerts that fired, in order.
        expected: Alerts that the objectives would have raised.
        expected_note: Where ``expected`` comes from, or why it was not assessed.
        durations: ``detect_s``, ``mitigate_s``, ``resolve_s`` from the start, as far as known.
        notes: What the reader has to know about the evidence.
        archive: The evidence itself.
    """

    app: str
    platform: str
    start: datetime
    end: datetime
    incident: str
    timeline: tuple[Entry, ...]
    signal: Signal | None
    stamps: Mapping[str, Moment]
    impact: Impact | None
    changes: tuple[Change, ...]
    alerts: tuple[Alert, ...]
    expected: tuple[Expected, ...]
    expected_note: str
    durations: Mapping[str, float]
    archive: Archive = field(repr=False)
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Name of the document."""
        started = self.stamps["started"].at or self.start
        return f"{self.incident or 'Incident'} of {self.app}, {started:%Y-%m-%d %H:%M} UTC"

    @property
    def detection_slow(self) -> bool:
        """Whether detection took longer than the target; unknown counts as slow."""
        return self.durations.get("detect_s", float("inf")) > DETECT_TARGET_S

    def rows(self) -> list[tuple[str, str]]:
        """Return the facts a reader wants first."""
        return [
            ("incident", self.title),
            *((name, moment_text(stamp)) for name, stamp in self.stamps.items()),
            ("impact", impact_text(self.impact)),
            ("first change", _first_change(self.changes)),
            ("alerts", joined(alert.name for alert in self.alerts)),
            ("timeline", f"{len(self.timeline)} entries"),
            *(("note", note) for note in self.notes),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{label:<13} {value}" for label, value in self.rows())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from html import escape

        rows = "".join(
            f"<tr><th style='text-align:left'>{escape(label)}</th><td style='text-align:left'>{escape(text)}</td></tr>"
            for label, text in self.rows()
        )
        return f"<table class='apqx'>{rows}</table>"

    def figures(self) -> dict[str, Any]:
        """Return the facts as plain values, units in the names."""
        impact = self.impact
        return {
            "requests_sent": impact.sent if impact else None,
            "requests_lost": impact.failed if impact else None,
            "budget_burned_ratio": impact.budget_burned if impact else None,
            **{name: round(value, 3) for name, value in self.durations.items()},
            **{f"{name}_at": stamp.at for name, stamp in self.stamps.items()},
        }


def build(
    source: Platform | Archive,
    *,
    app: App | str = "sample-app",
    start: datetime | None = None,
    end: datetime | None = None,
    incident: str | None = None,
    objective: float | None = None,
    progress: Progress | None = None,
) -> PostMortem:
    """Build the post-mortem of a window.

    Args:
        source: A running platform, or an archive (``archive.open``) on any machine.
        app: What it is about.
        start: Begin of the window, aware; default: that of the incident, else of the archive.
        end: Its end, likewise.
        incident: Labels of this incident are used where the record has them.
        objective: Wanted share of good requests; default the application's own, else 99.9 %.
        progress: Called with each step.

    Returns:
        The facts.

    Raises:
        InvalidInput: No window can be told from the arguments.
    """
    target = app if isinstance(app, App) else App(name=app, namespace=app, path=f"gitops/workloads/{app}")
    first, last = window(source, incident=incident, start=start, end=end)
    if isinstance(source, Archive):
        found = archives.cut(source, first, last)
    else:
        found = archives.collect(source, target, start=first, end=last, progress=progress)
    return _derive(found, target, incident, objective)


def window(
    source: Platform | Archive,
    *,
    incident: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> tuple[datetime, datetime]:
    """Return the window to look at: as given, else around the incident's labels, else the whole archive.

    Raises:
        InvalidInput: Nothing tells when to look.
    """
    if start is not None and end is not None:
        return start, end
    records = source.records if isinstance(source, Archive) else journal.frame(source, source="incident")
    labels = [
        e.utc for e in timeline.merge(_dicts(records)) if e.source == "incident" and rules.incident_of(e) == incident
    ]
    if incident and labels:
        lead = timedelta(seconds=LEAD_S)
        return start or min(labels) - lead, end or max(labels) + lead
    if isinstance(source, Archive) and not incident:
        return start or source.start, end or source.end
    wanted = f"incident {incident!r} is not in the record" if incident else "no start and end"
    raise InvalidInput(f"window - {wanted}", hint="give --since 30m, or --start and --end, or the id of an incident")


def _derive(found: Archive, app: App, incident: str | None, objective: float | None) -> PostMortem:
    """Derive every fact from the evidence."""
    entries = timeline.merge(_dicts(found.records))
    signal = signals.choose(found)
    symptom = signals.symptom(signal)
    stamps = _stamps(entries, symptom, app.name, incident)
    started, mitigated = stamps["started"], stamps["mitigated"]
    promised = expectation.promised(found)
    impact = cost.measure(
        found,
        signal,
        started=started.low,
        ended=mitigated.high,
        objective=objective or (promised.objective if promised else cost.OBJECTIVE),
        period_days=promised.period_days if promised else cost.PERIOD_DAYS,
    )
    expected, note = expectation.assess(found, started.low)
    return PostMortem(
        app=app.name,
        platform=found.name,
        start=found.start,
        end=found.end,
        incident=incident or _only_incident(entries),
        timeline=entries,
        signal=signal,
        stamps=stamps,
        impact=impact,
        changes=rules.changes(entries, app.name, started.at),
        alerts=rules.alerts(entries),
        expected=expected,
        expected_note=note,
        durations=rules.durations(stamps),
        archive=found,
        notes=_notes(found, entries),
    )


def _stamps(entries: tuple[Entry, ...], symptom: signals.Symptom, app: str, incident: str | None) -> dict[str, Moment]:
    """Derive the four stamps: what the data show, else what people noted."""
    started = symptom.started
    if started.at is None:
        noted = rules.label("started", entries, incident)
        started = replace(noted, how=f"{noted.how}; not from data: {started.how}") if noted else started
    mitigated = symptom.mitigated
    if mitigated.at is None:
        mitigated = rules.label("mitigated", entries, incident) or mitigated
    return {
        "started": started,
        "detected": rules.detected(entries, started, incident),
        "mitigated": mitigated,
        "resolved": rules.resolved(entries, app, started, mitigated, incident),
    }


def _only_incident(entries: tuple[Entry, ...]) -> str:
    """Return the name of the incident when the record holds exactly one."""
    names = {rules.incident_of(entry) for entry in entries if entry.source == "incident"} - {""}
    return names.pop() if len(names) == 1 else ""


def _notes(found: Archive, entries: tuple[Entry, ...]) -> tuple[str, ...]:
    """Say what limits the evidence."""
    doubts = sum(bool(entry.doubt) for entry in entries)
    sources = {entry.source for entry in entries} | ({"probe"} if len(found.samples) else set())
    missing = [name for name in ("kubernetes", "argocd", "git", "prometheus", "probe") if name not in sources]
    notes = list(found.notes)
    if missing:
        notes.append(f"the record has nothing from: {joined(missing)}")
    if doubts:
        notes.append(f"{doubts} of {len(entries)} timeline entries have an uncertain place in time, marked (?)")
    return tuple(notes)


def _dicts(records: Any) -> list[dict[str, Any]]:
    """Return journal rows with plain times; the collector's own notes about its place are left out."""
    rows: list[dict[str, Any]] = [r for r in records.to_dict("records") if r["kind"] != "checkpoint"]
    for row in rows:
        row["utc"] = row["utc"].to_pydatetime()
        seen = row.get("seen_utc")
        row["seen_utc"] = seen.to_pydatetime() if seen is not None and seen == seen else row["utc"]
    return rows


def _first_change(changes: tuple[Change, ...]) -> str:
    """Name the change nearest before the onset."""
    before = [change for change in changes if change.before]
    if before:
        return f"{before[0].what}, {before[0].lag_s:.1f} s before the onset ({before[0].wording})"
    return "none recorded before the onset" if changes else "none recorded"


def moment_text(stamp: Moment) -> str:
    """Format a stamp with its interval and its derivation."""
    if stamp.at is None:
        return f"not known: {stamp.how}"
    interval = ""
    if stamp.low and stamp.high and stamp.width_s > 0:
        interval = f" (between {stamp.low:%H:%M:%S.%f}"[:-4] + f" and {stamp.high:%H:%M:%S.%f}"[:-4] + ")"
    return f"{stamp.at:%H:%M:%S.%f}"[:-4] + f"{interval}, {stamp.how}"


def impact_text(impact: Impact | None) -> str:
    """Say the cost in one sentence."""
    if impact is None:
        return "not known: no probe and no metric covers the window"
    burned = (
        "" if impact.budget_burned is None else f", {impact.budget_burned:.2%} of the {impact.period_days:g}-day budget"
    )
    return f"{impact.failed} of {impact.sent} requests lost{burned}"
