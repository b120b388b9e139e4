"""How long ago was it, in the words of kubectl? Pure formatting.

Source: apimachinery ``util/duration.HumanDuration``.
"""

from __future__ import annotations

from datetime import datetime

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 86400 * 365


def human(seconds: float) -> str:
    """Return a span with at most two units: ``45s``, ``3m20s``, ``5h``, ``2d4h``, ``3y``.

    Args:
        seconds: Length; a little below zero counts as zero (clocks differ), more is ``<invalid>``.
    """
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{max(whole, 0)}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    return _two(whole, _YEAR, "y", _DAY, "d") if whole < 8 * _YEAR else f"{whole // _YEAR}y"


def _two(seconds: int, unit: int, name: str, small: int, small_name: str) -> str:
    rest = seconds % unit // small
    return f"{seconds // unit}{name}{rest}{small_name}" if rest else f"{seconds // unit}{name}"


def since(text: str | None, now: datetime) -> float | None:
    """Return the seconds from a time stamp to now, or None where there is no readable stamp."""
    if not text:
        return None
    try:
        return (now - datetime.fromisoformat(text)).total_seconds()
    except ValueError:
        return None


def age(text: str | None, now: datetime) -> str:
    """Return how long ago a time stamp was, ``<unknown>`` without one."""
    seconds = since(text, now)
    return "<unknown>" if seconds is None else human(seconds)
