"""May a sync run at this moment, and if not, which window says so and when does that end? Pure.

A sync window is a five-field cron schedule with a duration, in an AppProject.

Source: Argo CD v3.5.1, SyncWindows of an AppProject.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from platform_lib.model import Obj
from platform_lib.rules import manifests
from platform_lib.rules.appproject import glob_matches

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NAMES = {
    name: number
    for names, start in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), start)
}
_SHORTHANDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_HORIZON_DAYS = 366
_MOST_CHANGES = 2000
"""Moments that are tried before a sync counts as never allowed; a window a minute is a mistake, not a plan."""


def duration_s(text: Any, default: float = 0.0) -> float:
    """Read a Go duration (``1h30m``, ``5s``) or bare seconds; ``default`` where it is neither."""
    value = str(text if text is not None else "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return default
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def about(application: Obj) -> dict[str, str]:
    """Return what windows select an Application by: name, destination namespace, cluster."""
    destination = manifests.spec(application).get("destination") or {}
    return {
        "name": manifests.name(application),
        "namespace": str(destination.get("namespace") or ""),
        "cluster": str(destination.get("server") or destination.get("name") or ""),
    }


def sync_allowed(windows: Sequence[dict[str, Any]], app: dict[str, str], now: datetime, *, manual: bool) -> bool:
    """Decide whether a sync may run.

    Args:
        windows: ``spec.syncWindows`` of the project.
        app: ``name``, ``namespace`` (destination) and ``cluster`` that windows select by.
        now: Aware time.
        manual: A person asked for it; windows may make an exception for that.

    Source: Argo CD v3.5.1: no matching window allows; an active deny blocks; with allow windows present one of
    them must be active.
    """
    return not blocking(windows, app, now, manual=manual)


def blocking(
    windows: Sequence[dict[str, Any]], app: dict[str, str], now: datetime, *, manual: bool
) -> list[dict[str, Any]]:
    """Return the windows that forbid a sync at a moment: active denies, or allows of which none is active.

    Args:
        windows: ``spec.syncWindows`` of the project.
        app: What windows select by, see ``about``.
        now: Aware time.
        manual: A person asked for it; windows may make an exception for that.
    """
    matching = [window for window in windows if _selects(window, app)]
    denies = [window for window in matching if window.get("kind") == "deny" and is_active(window, now)]
    if denies:
        return [] if manual and all(window.get("manualSync") for window in denies) else denies
    allows = [window for window in matching if window.get("kind") == "allow"]
    if not allows or any(is_active(window, now) for window in allows):
        return []
    return [] if manual and all(window.get("manualSync") for window in allows) else allows


def opens_at(windows: Sequence[dict[str, Any]], app: dict[str, str], now: datetime, *, manual: bool) -> datetime | None:
    """Return when a sync is allowed next, to the minute; ``now`` when it is, None within a year when never.

    The answer can only change when an allow window starts or a deny window ends, so only those moments are tried.
    """
    if sync_allowed(windows, app, now, manual=manual):
        return now
    changes = []
    for window in windows:
        if _selects(window, app):
            length = timedelta(seconds=duration_s(window.get("duration")))
            shift = length if window.get("kind") == "deny" else timedelta(0)
            changes.append(_shifted(window, now - shift, shift))
    for count, moment in enumerate(heapq.merge(*changes)):
        if count >= _MOST_CHANGES:
            return None
        if moment > now and sync_allowed(windows, app, moment, manual=manual):
            return moment
    return None


def describe(window: dict[str, Any]) -> str:
    """Name a window for people: kind, schedule, duration, zone, description."""
    zone = str(window.get("timeZone") or "UTC")
    text = f"{window.get('kind')} window '{window.get('schedule')}' for {window.get('duration')} ({zone})"
    return f"{text}: {window['description']}" if window.get("description") else text


def _shifted(window: dict[str, Any], after: datetime, shift: timedelta) -> Iterator[datetime]:
    """Yield the starts of a window, moved by ``shift``."""
    return (start + shift for start in starts(window, after))


def starts(window: dict[str, Any], after: datetime) -> Iterator[datetime]:
    """Yield when a window starts, from the minute of ``after`` on, for a year; nothing for a malformed schedule."""
    fields = _parse(str(window.get("schedule") or ""))
    if fields is None:
        return
    minutes, hours = (sorted(found) for found in (fields[0] or set(range(60)), fields[1] or set(range(24))))
    local = after.astimezone(_zone(str(window.get("timeZone") or ""))).replace(second=0, microsecond=0)
    for days in range(_HORIZON_DAYS):
        day = (local + timedelta(days=days)).replace(hour=0, minute=0)
        if not _day_matches(fields, day):
            continue
        for moment in (day.replace(hour=hour, minute=minute) for hour in hours for minute in minutes):
            if moment >= local:
                yield moment.astimezone(UTC)


def _selects(window: dict[str, Any], app: dict[str, str]) -> bool:
    """Tell whether a window is about this application."""
    answers = []
    for field, value in (("applications", app["name"]), ("namespaces", app["namespace"]), ("clusters", app["cluster"])):
        globs = window.get(field) or []
        if globs:
            answers.append(any(glob_matches(str(glob), value) for glob in globs))
    if not answers:
        return False
    return all(answers) if window.get("andOperator") else any(answers)


def is_active(window: dict[str, Any], now: datetime) -> bool:
    """Tell whether the window's schedule started less than its duration ago."""
    fields = _parse(str(window.get("schedule") or ""))
    if fields is None:
        return False
    local = now.astimezone(_zone(str(window.get("timeZone") or "")))
    minutes = int(duration_s(window.get("duration")) // 60)
    start = local.replace(second=0, microsecond=0)
    return any(
        _matches(fields, start - timedelta(minutes=back))
        for back in range(minutes + 1)
        if local - (start - timedelta(minutes=back)) < timedelta(seconds=duration_s(window.get("duration")))
    )


def _zone(name: str) -> tzinfo:
    """Return a time zone; UTC where it is unknown."""
    if not name:
        return UTC
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        return UTC


def _parse(schedule: str) -> list[set[int]] | None:
    """Read a cron schedule into the allowed values of its five fields; None if it is malformed."""
    parts = _SHORTHANDS.get(schedule, schedule).split()
    if len(parts) != 5:
        return None
    try:
        fields = [_field(part.lower(), *limits) for part, limits in zip(parts, _RANGES, strict=True)]
    except ValueError:
        return None
    if 7 in fields[4]:
        fields[4].add(0)
    # cron: when both day fields are restricted, either may match; an empty set marks "any" here
    return [set() if parts[index] in ("*", "?") else field for index, field in enumerate(fields)]


def _field(text: str, low: int, high: int) -> set[int]:
    """Read one field: lists, ranges, steps and names."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            start, _, end = span.partition("-")
            first = _NAMES[start] if start in _NAMES else int(start)
            last = (_NAMES[end] if end in _NAMES else int(end)) if end else (high if step else first)
        if not low <= first <= last <= high:
            raise ValueError(part)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


def _matches(fields: list[set[int]], moment: datetime) -> bool:
    """Tell whether a minute matches a schedule."""
    minute, hour = fields[0], fields[1]
    in_time = (not minute or moment.minute in minute) and (not hour or moment.hour in hour)
    return in_time and _day_matches(fields, moment)


def _day_matches(fields: list[set[int]], moment: datetime) -> bool:
    """Tell whether a day matches a schedule."""
    _, _, day, month, weekday = fields
    if month and moment.month not in month:
        return False
    in_day, in_weekday = moment.day in day, moment.isoweekday() % 7 in weekday
    if day and weekday:
        return in_day or in_weekday
    return (not day or in_day) and (not weekday or in_weekday)
