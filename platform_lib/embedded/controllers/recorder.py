"""How do events get into the cluster? Equal ones are counted up, floods about one object are cut off.

Source: client-go tools/record (EventCorrelator: 25 events, then one in five minutes, for each object).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from platform_lib.embedded.controllers.objects import to_text
from platform_lib.embedded.controllers.writes import EVENTS, Write
from platform_lib.errors import NotFound
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api

BURST = 25
REFILL_S = 300.0
REMEMBERED = 2000

_MERGE = "application/merge-patch+json"

_K = TypeVar("_K")
_V = TypeVar("_V")

Identity = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class _Seen:
    name: str
    count: int


@dataclass(frozen=True, slots=True)
class _Allowance:
    tokens: float
    at: datetime


class Recorder:
    """Writes the events that controllers ask for.

    Args:
        api: Where events are created.
        now: Clock.
    """

    def __init__(self, api: Api, now: Callable[[], datetime]) -> None:
        self._api, self._now = api, now
        self._seen: OrderedDict[Identity, _Seen] = OrderedDict()
        self._allowances: OrderedDict[tuple[str, str], _Allowance] = OrderedDict()

    def record(self, write: Write, component: str, user: str) -> None:
        """Create an event, or count up the one that says the same.

        Raises:
            ApiError: The API refused (for instance: the namespace is going away).
        """
        body, now = write.body, self._now()
        about = body["involvedObject"]
        if not self._allowed((component, str(about.get("uid") or about.get("name"))), now):
            return
        same = (component, str(about.get("uid")), body["reason"], body["message"], write.namespace)
        seen = self._seen.get(same)
        if seen is not None and self._count_up(write, seen, now, user):
            self._seen[same] = replace(seen, count=seen.count + 1)
            self._seen.move_to_end(same)
            return
        name = f"{about['name']}.{int(now.timestamp() * 1e6):x}{len(self._seen) % 4096:03x}"
        self._api.create(EVENTS, _event(write, name, component, now), write.namespace, user=user)
        _remember(self._seen, same, _Seen(name, 1))

    def _count_up(self, write: Write, seen: _Seen, now: datetime, user: str) -> bool:
        patch = {"count": seen.count + 1, "lastTimestamp": to_text(now)}
        try:
            self._api.patch(EVENTS, seen.name, patch, write.namespace, content_type=_MERGE, user=user)
        except NotFound:
            return False  # it expired meanwhile, so a new one is created
        return True

    def _allowed(self, source: tuple[str, str], now: datetime) -> bool:
        """Take one token of the object's bucket."""
        have = self._allowances.get(source, _Allowance(BURST, now))
        tokens = min(float(BURST), have.tokens + (now - have.at).total_seconds() / REFILL_S)
        allowed = tokens >= 1
        _remember(self._allowances, source, _Allowance(tokens - 1 if allowed else tokens, now))
        return allowed


def _event(write: Write, name: str, component: str, now: datetime) -> Obj:
    moment = to_text(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": write.namespace},
        **write.body,
        "source": {"component": component},
        "reportingComponent": component,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _remember(table: OrderedDict[_K, _V], key: _K, value: _V) -> None:
    """Keep the newest entries only."""
    table[key] = value
    table.move_to_end(key)
    while len(table) > REMEMBERED:
        table.popitem(last=False)
