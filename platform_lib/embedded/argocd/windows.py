"""May a sync run at this moment? Sync windows of a project: five-field cron schedules with a duration. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from platform_lib.embedded.argocd.render import glob_matches

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


def duration_s(text: Any, default: float = 0.0) -> float:
    """Read a Go duration (``1h30m``, ``5s``) or bare seconds; ``default`` where it is neither."""
    value = str(text if text is not None else "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return default
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


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
    matching = [window for window in windows if _selects(window, app)]
    denies = [window for window in matching if window.get("kind") == "deny" and is_active(window, now)]
    if denies:
        return manual and all(window.get("manualSync") for window in denies)
    allows = [window for window in matching if window.get("kind") == "allow"]
    if not allows or any(is_active(window, now) for window in allows):
        return True
    return manual and all(window.get("manualSync") for window in allows)


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
    return [set() if parts[index] == "*" else field for index, field in enumerate(fields)]


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
    minute, hour, day, month, weekday = fields
    ok = [not allowed or value in allowed for allowed, value in
          ((minute, moment.minute), (hour, moment.hour), (month, moment.month))]  # fmt: skip
    in_day, in_weekday = moment.day in day, moment.isoweekday() % 7 in weekday
    if day and weekday:
        return all(ok) and (in_day or in_weekday)
    return all(ok) and (not day or in_day) and (not weekday or in_weekday)
