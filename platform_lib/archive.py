"""How does an incident leave the platform it happened on? Everything a post-mortem needs, as one folder or value.

``collect`` reads a window from a running platform, ``export`` writes it to a folder with a hash manifest, ``open``
reads such a folder on any machine: no cluster, no Prometheus, no git is asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platform_lib import evidence, frames, journal, metrics, redact, slo
from platform_lib.errors import InvalidInput, NoData, PlatformError
from platform_lib.model import App, Obj, Platform, to_json
from platform_lib.rules.slo import Objective, rules_of
from platform_lib.settings import settings
from platform_lib.wait import now
from platform_lib.wire import argocd, probe
from platform_lib.wire.git import repository

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
HEAD = "archive.json"
Progress = Callable[[str], None]
_STEPS = 600
"""Points of a signal over the window, at most: enough for a picture and for a change-point."""
_LOG_FORMAT = "%H%x1f%cI%x1f%an%x1f%s"


@dataclass(frozen=True)
class Archive:
    """One window of one application, complete.

    Attributes:
        name: Platform it was taken from.
        app: What it is about.
        start, end: The window, UTC.
        made_at: When it was collected.
        records: Journal records, see ``journal.frame``.
        signals: Named queries over the window, see ``metrics.frame``.
        samples: One row per probe request of runs in the window, see ``Probe.frame``; may be empty.
        applications: State of the Applications when it was collected.
        commits: Commits of the window, oldest first: ``commit``, ``utc``, ``author``, ``message``.
        versions: Of the workbench and its libraries.
        objectives: Service level objectives of the application.
        counts: Bad and all events by objective, see ``slo.history``; begins before the window (look-back).
        notes: What could not be collected, and why.
    """

    name: str
    app: App
    start: datetime
    end: datetime
    made_at: datetime
    records: pd.DataFrame
    signals: Mapping[str, pd.DataFrame]
    samples: pd.DataFrame
    applications: tuple[Obj, ...] = ()
    commits: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = ()
    counts: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rows(self) -> list[tuple[str, str]]:
        """Return what is in the archive."""
        sources: Mapping[Any, int] = self.records["source"].value_counts().sort_index().to_dict()
        return [
            ("application", f"{self.app.name} on {self.name}"),
            ("window", f"{_text(self.start)} to {_text(self.end)}"),
            ("records", ", ".join(f"{count} {source}" for source, count in sources.items()) or "none"),
            ("signals", f"{len(self.signals)}"),
            ("probe samples", f"{len(self.samples)}"),
            ("commits", f"{len(self.commits)}"),
            *(("note", note) for note in self.notes),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{label:<14} {value}" for label, value in self.rows())


def collect(
    platform: Platform, app: App, *, start: datetime, end: datetime, progress: Progress | None = None
) -> Archive:
    """Read everything about a window from a running platform.

    Args:
        platform: Where.
        app: What.
        start: Begin of the window, aware.
        end: Its end.
        progress: Called with each step.

    Returns:
        The archive, in memory. What could not be read is missing and named in ``notes``.

    Raises:
        InvalidInput: The window is empty or has no time zone.
    """
    _check(start, end)
    said = progress or (lambda _line: None)
    notes: list[str] = []
    said("reading the journal")
    records = _records(platform, start, end)
    said("reading the metrics")
    signals = _signals(platform, app, start, end, notes)
    said("reading probe samples, Applications and git")
    samples = _samples(start, end)
    if samples.empty:
        notes.append("no run in the window kept probe samples")
    applications = _noted(notes, "Applications", lambda: _applications(platform, app), ())
    commits = _noted(notes, "git", lambda: _commits(platform, start, end), ())
    objectives = _noted(notes, "objectives", lambda: _objectives(app), ())
    counts = {one.uid: table for one in objectives if (table := _counts(platform, one, start, end, notes)) is not None}
    return Archive(
        platform.name, app, start, end, now(), records, signals, samples,
        applications, commits, evidence.versions(), objectives, counts, tuple(notes),
    )  # fmt: skip


def export(
    source: Platform | Archive,
    start: datetime,
    end: datetime,
    folder: Path,
    *,
    app: App | None = None,
    form: Literal["auto", "parquet", "csv"] = "auto",
    progress: Progress | None = None,
) -> Archive:
    """Write the archive of a window to a folder.

    Args:
        source: A running platform, or an archive collected before.
        start: Begin of the window, aware.
        end: Its end.
        folder: New or empty folder.
        app: What; default the sample application.
        form: How tables are stored; ``auto`` is parquet where pyarrow is installed, else compressed CSV.
        progress: Called with each step.

    Returns:
        What was written.

    Raises:
        InvalidInput: The folder holds files already, or the window is empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput(f"folder {folder} - holds files, an empty one was expected", hint="choose another folder")
    found = (
        source
        if isinstance(source, Archive)
        else collect(source, app or App(), start=start, end=end, progress=progress)
    )
    hidden = _hidden(source)
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / HEAD, _head(found), hidden)
    _write_json(folder / "applications.json", found.applications, hidden)
    _write_json(folder / "commits.json", found.commits, hidden)
    lines = [json.dumps(to_json(record), separators=(",", ":"), default=str) for record in _rows(found.records)]
    (folder / "journal.jsonl").write_text(_cleaned("".join(f"{line}\n" for line in lines), hidden))
    frames.write(folder / "signals", dict(found.signals), form=form)
    frames.write(folder / "samples", {"probe": found.samples} if len(found.samples) else {}, form=form)
    frames.write(folder / "counts", dict(found.counts), form=form)
    redact.of_process().folder(folder)
    evidence.write_manifest(folder)
    return found


def open(folder: Path | str) -> Archive:
    """Read an archive; no platform is needed.

    Args:
        folder: What ``export`` wrote; a relative path that is not here is looked for in the project.

    Returns:
        The archive.

    Raises:
        InvalidInput: The folder is no archive, of another format, or was changed since it was written.
    """
    folder = Path(folder)
    if not folder.is_absolute() and not folder.is_dir():
        folder = settings().project_dir / folder
    head = _read_head(folder)
    differences = evidence.verify_manifest(folder)
    if differences:
        raise InvalidInput(
            f"archive {folder} - differs from its manifest: {differences[0]}",
            hint="copy it again from where it was made",
        )
    samples = frames.read(folder / "samples").get("probe", _no_samples())
    return Archive(
        name=head["name"],
        app=App(**head["app"]),
        start=datetime.fromisoformat(head["start"]),
        end=datetime.fromisoformat(head["end"]),
        made_at=datetime.fromisoformat(head["made_at"]),
        records=journal.read(folder / "journal.jsonl"),
        signals=frames.read(folder / "signals"),
        samples=samples,
        applications=tuple(json.loads((folder / "applications.json").read_text())),
        commits=tuple(json.loads((folder / "commits.json").read_text())),
        versions=head["versions"],
        objectives=tuple(_objective(entry) for entry in head["objectives"]),
        counts=frames.read(folder / "counts"),
        notes=tuple(head["notes"]),
    )


def cut(found: Archive, start: datetime, end: datetime) -> Archive:
    """Return the part of an archive in [start, end]; state and commits stay as they are.

    Raises:
        InvalidInput: The archive holds nothing of that window.
    """
    _check(start, end)
    if end <= found.start or start >= found.end:
        held = f"{_text(found.start)} to {_text(found.end)}"
        raise InvalidInput(f"window {_text(start)} to {_text(end)} - outside the archive, it holds {held}")
    first, last = max(start, found.start), min(end, found.end)
    return replace(
        found,
        start=first,
        end=last,
        records=_between(found.records, "utc", first, last),
        samples=_between(found.samples, "intended_at", first, last),
        signals={name: table[(table.index >= first) & (table.index <= last)] for name, table in found.signals.items()},
    )


def _between(table: pd.DataFrame, column: str, start: datetime, end: datetime) -> pd.DataFrame:
    """Keep the rows of a window."""
    return table[(table[column] >= start) & (table[column] <= end)].reset_index(drop=True)


def _check(start: datetime, end: datetime) -> None:
    """Refuse a window that holds nothing."""
    if start.tzinfo is None or end.tzinfo is None:
        raise InvalidInput(
            f"window {start} to {end} - has no time zone", hint="give UTC times, for example 2026-01-05T12:00Z"
        )
    if start >= end:
        raise InvalidInput(f"window - starts at {start} and ends at {end}, expected to end later")


def _read_head(folder: Path) -> Mapping[str, Any]:
    """Read what the archive says of itself."""
    try:
        head: Mapping[str, Any] = json.loads((folder / HEAD).read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder} - is no archive: {HEAD} cannot be read", hint="make one: apqx postmortem archive"
        ) from error
    if head.get("format") != FORMAT:
        raise InvalidInput(f"archive {folder} - has format {head.get('format')}, {FORMAT} was expected")
    return head


def _head(found: Archive) -> dict[str, Any]:
    """Return what the archive says of itself."""
    return {
        "format": FORMAT,
        "name": found.name,
        "app": found.app,
        "start": found.start,
        "end": found.end,
        "made_at": found.made_at,
        "versions": dict(found.versions),
        "objectives": found.objectives,
        "notes": found.notes,
    }


def _records(platform: Platform, start: datetime, end: datetime) -> pd.DataFrame:
    """Read the journal of the window: the platform's record and those of runs."""
    return journal.frame(platform, start=start, end=end)


def _rows(records: pd.DataFrame) -> list[dict[str, Any]]:
    """Return records as plain values."""
    rows: list[dict[str, Any]] = records.to_dict("records")  # type: ignore[assignment]
    for row in rows:
        for name in ("utc", "seen_utc"):
            if name in row:
                row[name] = row[name].to_pydatetime()
    return rows


def _signals(platform: Platform, app: App, start: datetime, end: datetime, notes: list[str]) -> dict[str, pd.DataFrame]:
    """Read every named query over the window; empty ones are left out, failures noted."""
    step_s = max(1.0, round((end - start).total_seconds() / _STEPS))
    found: dict[str, pd.DataFrame] = {}
    for name in metrics.queries():
        try:
            found[name] = metrics.frame(platform, name, app=app, start=start, end=end, step_s=step_s)
        except NoData:
            continue
        except PlatformError as error:
            notes.append(f"signal {name}: {error.message}")
    return found


def _objectives(app: App) -> tuple[Objective, ...]:
    """Read the objectives of the application."""
    return tuple(one for one in slo.load().values() if one.service == app.name)


def _objective(entry: Mapping[str, Any]) -> Objective:
    """Turn a stored objective back into a value; pairs were stored as lists."""
    values: dict[str, Any] = {k: tuple(map(tuple, v)) if isinstance(v, list) else v for k, v in entry.items()}
    return Objective(**values)


def _counts(
    platform: Platform, objective: Objective, start: datetime, end: datetime, notes: list[str]
) -> pd.DataFrame | None:
    """Read what an objective counts, with the look-back of its fastest rule; None when there was no event."""
    lead = timedelta(seconds=rules_of(objective)[0].long_s)
    try:
        return slo.history(platform, objective, start=start - lead, end=end)
    except NoData:
        return None
    except PlatformError as error:
        notes.append(f"objective {objective.uid}: {error.message}")
        return None


def _samples(start: datetime, end: datetime) -> pd.DataFrame:
    """Read the probe samples of runs in the window."""
    import pandas as pd

    found = []
    for folder in sorted(settings().runs_dir.glob(f"*/{probe.SAMPLES}")):
        samples = probe.kept(folder)
        if samples is not None:
            inside = samples.between(start.timestamp(), end.timestamp())
            found += [probe.frame_of(inside)] if len(inside.intended) else []
    if not found:
        return _no_samples()
    return pd.concat(found).sort_values("intended_at", kind="stable").reset_index(drop=True)


def _no_samples() -> pd.DataFrame:
    """Return the table of no probe request."""
    import pandas as pd

    columns = ("intended_at", "latency_ms", "lag_ms", "status", "error", "version", "pod", "ok")
    empty = pd.DataFrame({name: [] for name in columns})
    empty["intended_at"] = pd.to_datetime(empty["intended_at"], utc=True)
    return empty


def _applications(platform: Platform, app: App) -> tuple[Obj, ...]:
    """Read the Application without what only machines read."""
    found = argocd.read(platform, app)
    metadata = {k: v for k, v in found["metadata"].items() if k not in ("managedFields", "annotations")}
    return ({**found, "metadata": metadata},)


def _commits(platform: Platform, start: datetime, end: datetime) -> tuple[Mapping[str, Any], ...]:
    """Read the commits of the window."""
    repo = repository(platform)
    with repo.current():
        text = repo.run(
            "log", "--reverse", f"--since={start.isoformat()}", f"--until={(end + timedelta(seconds=1)).isoformat()}",
            f"--format={_LOG_FORMAT}",
        )  # fmt: skip
    rows = [line.split("\x1f") for line in text.splitlines()]
    return tuple(dict(zip(("commit", "utc", "author", "message"), row, strict=True)) for row in rows)


def _noted(notes: list[str], what: str, read: Callable[[], Any], otherwise: Any) -> Any:
    """Read one part; a part that cannot be read is noted and does not spoil the rest."""
    try:
        return read()
    except PlatformError as error:
        notes.append(f"{what}: {error.message}")
        return otherwise


def _hidden(source: Platform | Archive) -> Sequence[tuple[str, str]]:
    """Folders of this machine and what stands for them, longest first."""
    own = [(settings().project_dir, "<project>"), (settings().runs_dir.absolute(), "<runs>"), (Path.home(), "<user>")]
    if isinstance(source, Platform):
        own.append((source.home, "<home>"))
    return sorted(((str(path), name) for path, name in own), key=lambda pair: -len(pair[0]))


def _cleaned(text: str, hidden: Sequence[tuple[str, str]]) -> str:
    """Replace folders of this machine in a text."""
    for path, name in hidden:
        if len(path) > 1:
            text = re.sub(rf"(?<![\w.-]){re.escape(path)}(?![\w.-])", name, text)
    return text


def _write_json(path: Path, value: Any, hidden: Sequence[tuple[str, str]]) -> None:
    """Write a JSON file without folders of this machine."""
    path.write_text(_cleaned(json.dumps(to_json(value), indent=1, default=str) + "\n", hidden))


def _text(moment: datetime) -> str:
    """Format a time for people."""
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
