"""Who synced what, when, to which revision, and what became of it? The durable record of every operation.

Argo CD keeps the last operation and ten successes. The platform's record (``collect``) keeps all of them, failed ones
and those of other people and of automation too; here they are joined with git, with our deploys and rollbacks, and
with what only Argo CD's own history still knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from platform_lib import journal
from platform_lib.errors import GitError, InvalidInput, NotFound, Unreachable
from platform_lib.journal import FOLDER
from platform_lib.journal.record import days
from platform_lib.model import App, Platform
from platform_lib.rules import operationlog as rules
from platform_lib.wire import argocd
from platform_lib.wire.git import repository

if TYPE_CHECKING:
    import pandas as pd


def operations(
    platform: Platform, app: App, *, since: datetime | None = None, until: datetime | None = None
) -> pd.DataFrame:
    """Return every operation of an application that is known, oldest first.

    Args:
        platform: Where; its record is read, and Argo CD's history when the API answers.
        app: What.
        since: First moment, aware; None is the beginning of the record.
        until: Moment after the last one; None is now.

    Returns:
        One row per operation. Columns: ``started_at``, ``finished_at`` (UTC; NaT while it runs), ``duration_s``
        (seconds), ``phase``, ``how`` (automatic, self-heal, sync, rollback by history, ...), ``by``, ``revision``,
        ``message``, ``retries``, ``objects`` (count), ``failed`` (objects with their message), ``different`` (objects
        that were out of sync when it began), ``author`` and ``subject`` of the commit, ``because`` (deploy, rollback
        or run that caused it), ``run_id``, ``source`` (``record`` or ``history id N``). ``attrs``: ``record_since``
        (moment of the first record, ISO 8601, empty without one), ``gaps`` (times the collector did not see).

    Raises:
        InvalidInput: ``until`` is before ``since``.
    """
    import pandas as pd

    record = _records(platform, since, until)
    # The collector writes down the Application, our deploys and rollbacks the application: their names may differ.
    mine = [one for one in record if one["subject"] in (app.name, app.application_name)]
    found = rules.folded(one for one in mine if (one["source"], one["kind"]) == ("argocd", "operation"))
    found += rules.from_history(_history(platform, app), found)
    syncs = [one for one in mine if (one["source"], one["kind"]) == ("argocd", "sync")]
    causes = rules.reasons(one for one in mine if one["source"] in ("deploy", "rollback"))
    found = rules.attached(sorted(found, key=_start), causes)
    found = [row for row in found if _within(row["started_at"], since, until)]
    authors = _authors(platform, record, {row["revision"] for row in found})
    for row in found:
        author, subject = authors.get(row["revision"], ("", ""))
        row |= {"author": author, "subject": subject, "different": rules.drifted(syncs, row)}
    frame = pd.DataFrame(found, columns=list(rules.COLUMNS))
    for name in ("started_at", "finished_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True)
    frame.attrs["record_since"] = _record_since(platform)
    frame.attrs["gaps"] = _gaps(record)
    return frame


def history(platform: Platform, app: App, *, since: datetime | None = None) -> pd.DataFrame:
    """Return the deployments of an application, oldest first, beyond Argo CD's ten rows.

    Args:
        platform: Where.
        app: What.
        since: First moment, aware; None is the beginning of the record.

    Returns:
        The rows of ``operations`` that deployed a whole revision, with ``version`` (as git names it at that commit,
        empty where the commit is unknown) and ``current`` (whether it is what Argo CD deployed last).
    """
    found = operations(platform, app, since=since)
    whole = ~found["how"].str.contains("self-heal|partial|rehearsal", regex=True)
    kept = found[found["phase"].eq("Succeeded") & whole].reset_index(drop=True)
    versions = {revision.sha: revision.version for revision in _log(platform, app)}
    kept["version"] = [versions.get(revision, "") for revision in kept["revision"]]
    kept["current"] = [position == len(kept) - 1 for position in range(len(kept))]
    kept.attrs = found.attrs
    return kept


def _records(platform: Platform, since: datetime | None, until: datetime | None) -> list[dict[str, Any]]:
    """Return the records that say something about operations; none where there is no record yet."""
    if since and until and until < since:
        raise InvalidInput(f"until {until} - before since {since}, a later moment was expected")
    if not (platform.home / FOLDER).is_dir():
        return []
    # An operation that began before the window is told by records of days before: whole days are read.
    start = datetime.combine(since.astimezone(UTC).date(), time(), UTC) if since else None
    frame = journal.frame(platform, start=start, source=["argocd", "git", "deploy", "rollback", "collector"])
    rows: list[dict[str, Any]] = frame.to_dict("records")  # type: ignore[assignment]
    return rows


def _start(row: dict[str, Any]) -> datetime:
    """Return when an operation began."""
    began: datetime = row["started_at"]
    return began


def _record_since(platform: Platform) -> str:
    """Return when the record begins; empty where there is none."""
    folder = platform.home / FOLDER
    for day in days(folder):
        start = datetime.combine(day, time(), UTC)
        rows = journal.frame(platform, start=start, end=start + timedelta(days=1))
        if len(rows):
            return f"{rows['utc'].min():%Y-%m-%dT%H:%M:%SZ}"
    return ""


def _within(moment: datetime, since: datetime | None, until: datetime | None) -> bool:
    """Tell whether a moment lies in a window."""
    return (since is None or moment >= since) and (until is None or moment < until)


def _history(platform: Platform, app: App) -> list[dict[str, Any]]:
    """Return Argo CD's own history; none when the application or the whole platform is gone: the record stays."""
    try:
        return argocd.history(argocd.read(platform, app))
    except (NotFound, Unreachable):
        return []


def _log(platform: Platform, app: App) -> Iterable[Any]:
    """Return the commits of an application; none when git cannot be read."""
    try:
        return repository(platform).log(app, limit=500)
    except GitError:
        return []


def _authors(platform: Platform, record: Iterable[dict[str, Any]], wanted: set[str]) -> dict[str, tuple[str, str]]:
    """Return (author, subject) by commit: from the record, else from git."""
    found = {}
    for one in record:
        data = one["data"]
        if (one["source"], one["kind"]) == ("git", "commit") and data.get("author"):
            found[str(data["commit"])] = (str(data["author"]), str(data.get("message") or "").partition("\n")[0])
    missing = {revision for revision in wanted if len(revision) == 40} - found.keys()
    return found | (_from_git(platform, missing) if missing else {})


def _from_git(platform: Platform, commits: set[str]) -> dict[str, tuple[str, str]]:
    """Ask git for author and subject; commits that it does not have, and a git that is away, give nothing."""
    try:
        return {
            str(row["commit"]): (str(row["author"]), str(row["message"]).partition("\n")[0])
            for row in repository(platform).history()
            if row["commit"] in commits
        }
    except GitError:
        return {}


def _gaps(record: Iterable[dict[str, Any]]) -> list[str]:
    """Say when nobody followed the cluster: gaps that were noticed, and times without a collector."""
    found, stopped = [], None
    for one in record:
        if one["source"] != "collector":
            continue
        if one["kind"] == "gap" and one["subject"] == "kubernetes":
            found.append(f"{one['data'].get('since')}: the API did not answer for {one['data'].get('gap_s')} s")
        elif one["kind"] == "stopped":
            stopped = one["utc"]
        elif one["kind"] == "started" and stopped is not None:
            away_s = (one["utc"] - stopped).total_seconds()
            found.append(f"{stopped:%Y-%m-%dT%H:%M:%SZ}: no collector for {away_s:.0f} s")
            stopped = None
    return found
