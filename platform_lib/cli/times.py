"""How do people say when? A moment in ISO 8601, or a length such as 30m that counts back from now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from platform_lib.errors import InvalidInput

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def length_of(option: str, text: str) -> timedelta:
    """Read a length of time.

    Raises:
        InvalidInput: Not a number with s, m, h or d.
    """
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS_S or not number.replace(".", "", 1).isdigit():
        raise InvalidInput(f"{option} {text!r} - a number with s, m, h or d was expected", hint=f"{option} 30m")
    return timedelta(seconds=float(number) * _UNITS_S[unit])


def moment_of(option: str, text: str) -> datetime:
    """Read a moment; without a zone it is UTC.

    Raises:
        InvalidInput: Not in ISO 8601.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "for example 2026-01-05T12:00:00Z"
        raise InvalidInput(f"{option} {text!r} - a moment in ISO 8601 was expected", hint=hint) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def begin_of(option: str, text: str, end: datetime) -> datetime:
    """Read the begin of a window: a moment, or a length before its end.

    Raises:
        InvalidInput: Neither a moment nor a length.
    """
    if text[-1:] in _UNITS_S and text[:1].isdigit():
        return end - length_of(option, text)
    try:
        return moment_of(option, text)
    except InvalidInput as error:
        raise InvalidInput(
            f"{option} {text!r} - expected a length that counts back from now, or a moment in ISO 8601",
            hint=f"{option} 30m, or {option} 2026-01-05T12:00:00Z",
        ) from error
