"""How well does a service deliver, from what git, Argo CD and the journal remember?

Argo CD keeps ten rows of history; the journal keeps every operation, so the window grows with the record. The
arithmetic is in ``rules.dora``, which takes plain frames and needs no platform.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform_lib import journal
from platform_lib.errors import InvalidInput, NoData
from platform_lib.model import App, Obj, Platform, to_json
from platform_lib.rules import dora as rules
from platform_lib.rules.dora import Delivery, Estimate
from platform_lib.wire import argocd
from platform_lib.wire.git import repository

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Delivery", "Estimate", "History", "delivery", "frame", "from_records", "load", "measure", "read", "save"]

_LOG = "--format=%H%x1f%cI%x1f%an%x1f%B%x1e"
_COMMITS = ("utc", "commit", "author", "message")
_DEPLOYMENTS = ("utc", "commit", "ready_utc", "uid")
_EXAMPLE = "journal.jsonl"


def _empty(columns: Iterable[str]) -> Any:
    """Return a frame without rows whose times are times."""
    return _typed([], columns)


def _typed(rows: list[dict[str, Any]], columns: Iterable[str]) -> pd.DataFrame:
    """Build a frame; columns that hold times become UTC times, absent ones NaT."""
    import pandas as pd

    frame = pd.DataFrame(rows, columns=list(columns))
    for column in (name for name in frame.columns if name.endswith("utc")):
        frame[column] = pd.to_datetime(frame[column], utc=True, format="ISO8601").astype("datetime64[ns, UTC]")
    return frame


@dataclass(frozen=True, slots=True)
class History:
    """What is known of the deliveries of one service.

    Attributes:
        commits: ``utc``, ``commit``, ``author``, ``message`` of the commits that touched it.
        deployments: ``utc``, ``commit``, ``ready_utc`` (NaT where unknown) and ``uid`` of each deployment.
    """

    commits: pd.DataFrame = field(default_factory=lambda: _empty(_COMMITS))
    deployments: pd.DataFrame = field(default_factory=lambda: _empty(_DEPLOYMENTS))

    def merged(self, other: History) -> History:
        """Return both without doubles: a commit has one name, a deployment its commit and its time."""
        return History(
            _union(self.commits, other.commits, ["commit"]),
            _union(self.deployments, other.deployments, ["commit", "utc"]),
        )

    def frame(self) -> pd.DataFrame:
        """Return one row per deployment, see ``rules.dora.changes``."""
        return rules.changes(self.commits, self.deployments)

    def lead_times(self) -> pd.DataFrame:
        """Return one row per deployed change, see ``rules.dora.lead_times``."""
        return rules.lead_times(self.commits, self.deployments)


def _union(first: pd.DataFrame, second: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Join two frames; of two rows with one key the one that knows more (its message is longer) stays."""
    import pandas as pd

    parts = [part for part in (first, second) if len(part)]
    if not parts:
        return first
    rows = pd.concat(parts, ignore_index=True)
    said = rows["message"].str.len() if "message" in rows else 0
    rows["known"] = rows.notna().sum(axis=1) + said
    rows = rows.sort_values("known", kind="stable").drop_duplicates(key, keep="last").drop(columns="known")
    return rows.sort_values("utc", kind="stable").reset_index(drop=True)


def read(platform: Platform, app: App, *, limit: int = 2000) -> History:
    """Read what git, Argo CD's history and the platform's journal know of one application.

    Args:
        platform: Where.
        app: Which service.
        limit: At most so many commits.

    Raises:
        GitError: The repository cannot be read.
        NotFound: Argo CD has no such Application.
    """
    live = History(_commits(platform, app, limit), _history(argocd.history(argocd.read(platform, app))))
    return from_records(_records(platform), app).merged(live)


def _commits(platform: Platform, app: App, limit: int) -> pd.DataFrame:
    """Return the commits that touched the folder of the application, with their whole messages."""
    repo = repository(platform)
    with repo.current():
        text = repo.run("log", f"--max-count={limit}", _LOG, "HEAD", "--", app.path)
    found = (entry.strip().split("\x1f") for entry in text.split("\x1e") if entry.strip())
    rows = [{"commit": sha, "utc": utc, "author": who, "message": said.strip()} for sha, utc, who, said in found]
    return _typed(rows[::-1], _COMMITS)


def _history(rows: list[Obj]) -> pd.DataFrame:
    """Return Argo CD's history as deployments; its times have a resolution of one second."""
    made = [{"utc": r.get("deployedAt"), "commit": r.get("revision"), "uid": f"history/{r.get('id')}"} for r in rows]
    return _typed(made, _DEPLOYMENTS)


def _records(platform: Platform) -> pd.DataFrame:
    """Return the platform's own journal; empty where none is kept yet."""
    folder = platform.home / "journal"
    return journal.frame(platform) if folder.is_dir() else journal.read(folder / "none")


def from_records(records: pd.DataFrame, app: App | str) -> History:
    """Build the history of one service from journal records alone: an archive is enough.

    Args:
        records: As ``journal.frame`` returns them.
        app: Which service.

    Returns:
        Commits from ``git``/``commit``, deployments from succeeded ``argocd``/``operation`` records, the moment
        each ran on every pod from ``deploy`` and ``rollback`` outcomes.
    """
    name = app if isinstance(app, str) else app.name
    mine = records[records["subject"] == name]
    commits: list[dict[str, Any]] = []
    deployed: list[dict[str, Any]] = []
    ready: dict[str, str] = {}
    for source, kind, utc, cause, data in mine[["source", "kind", "utc", "cause", "data"]].itertuples(index=False):
        if (source, kind) == ("git", "commit") and data.get("commit"):
            said = {"author": data.get("author", ""), "message": data.get("message") or cause}
            commits.append({"utc": data.get("committed_at") or utc.isoformat(), "commit": data["commit"]} | said)
        elif (source, kind) == ("argocd", "operation") and data.get("phase") == "Succeeded" and data.get("revision"):
            deployed.append({"utc": data.get("finished_at") or utc.isoformat(), "commit": data["revision"]})
        elif source in ("deploy", "rollback") and kind == "outcome" and cause:
            ready.setdefault(cause, utc.isoformat())
    for row in deployed:
        row["ready_utc"] = ready.get(row["commit"])
    found = History(_typed(commits, _COMMITS), _typed(deployed, _DEPLOYMENTS))
    return found.merged(History())


def delivery(platform: Platform, app: App, *, start: datetime | None = None, end: datetime | None = None) -> Delivery:
    """Compute the five DORA metrics of one application from everything the platform remembers.

    Args:
        platform: Where.
        app: Which service; figures of different services are never put in one row.
        start: Begin of the window; None for the first deployment that is known.
        end: End of the window; None for the last one.

    Raises:
        NoData: No deployment is known.
    """
    return measure(read(platform, app), app, start=start, end=end)


def measure(
    history: History, app: App | str, *, start: datetime | None = None, end: datetime | None = None
) -> Delivery:
    """Compute the five metrics from a history, wherever it came from.

    Raises:
        NoData: It holds no deployment.
    """
    name = app if isinstance(app, str) else app.name
    if not len(history.deployments) or not len(history.commits):
        raise NoData(
            f"{name} - {len(history.commits)} commits and {len(history.deployments)} deployments, wanted at least one"
            " of each",
            hint="deploy something first: apqx deploy 1.1.0",
        )
    return rules.delivery(name, history.commits, history.deployments, start=start, end=end)


def frame(found: Delivery) -> pd.DataFrame:
    """Return the metrics as a DataFrame.

    Returns:
        Index ``metric``; columns ``value``, ``low``, ``high`` (NaN for too little), ``unit``, ``n``, ``how``.
    """
    import pandas as pd

    made = pd.DataFrame(dict(rules.table(found))).set_index("metric")
    return made.astype({"value": "float64", "low": "float64", "high": "float64"})


def save(history: History, folder: Path, *, app: App | str) -> Path:
    """Write a history as journal records; ``load`` reads it anywhere.

    Returns:
        The file.
    """
    name = app if isinstance(app, str) else app.name
    rows = [_record(row, name, "git", "commit", "commit", row["commit"]) for row in _plain(history.commits)]
    for row in _plain(history.deployments):
        facts = {"phase": "Succeeded", "revision": row["commit"], "finished_at": row["utc"]}
        rows.append(_record(row, name, "argocd", "operation", "uid", "", facts))
        if row["ready_utc"]:
            rows.append(_record(row | {"utc": row["ready_utc"]}, name, "deploy", "outcome", "none", row["commit"], {}))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _EXAMPLE
    path.write_text(
        "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in sorted(rows, key=lambda r: r["utc"]))
    )
    return path


def _plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows with times as text and absent values as empty text."""

    def text(value: Any) -> Any:
        absent = value is None or value != value
        return "" if absent else to_json(value.to_pydatetime() if hasattr(value, "to_pydatetime") else value)

    return [{str(key): text(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _record(
    row: dict[str, Any], app: str, source: str, kind: str, uid: str, cause: str, data: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return one journal record."""
    facts = {key: row[key] for key in ("commit", "author", "message") if key in row} if data is None else data
    return {
        "utc": row["utc"], "seen_utc": row["utc"], "source": source, "kind": kind, "subject": app, "run_id": "",
        "cause": cause, "uid": str(row.get(uid, "")), "data": facts,
    }  # fmt: skip


def load(folder: Path | str = "examples/dora", *, app: App | str = "sample-app") -> History:
    """Read a recorded history; without an argument the example of this project.

    Raises:
        InvalidInput: The folder holds none.
    """
    from platform_lib.settings import settings

    path = settings().project_dir / folder / _EXAMPLE
    if not path.is_file():
        raise InvalidInput(f"history {path} - absent, wanted a file written by dora.save", hint="name another folder")
    return from_records(journal.read(path), app)
