"""How is a plain JSON value copied or tidied? Small pure functions that the patch modules share."""

from __future__ import annotations

from typing import Any, TypeVar

import orjson

_T = TypeVar("_T")


def clone(value: _T) -> _T:
    """Return an independent copy of a plain JSON value.

    A round trip through orjson is several times faster than ``copy.deepcopy``.
    """
    copied: _T = orjson.loads(orjson.dumps(value))
    return copied


def drop_nulls(value: Any) -> Any:
    """Return the value without map entries that are null (nulls inside lists stay)."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [drop_nulls(item) for item in value]
    return value
