"""How long are events kept? One hour after they were seen last, as by the API server's ``--event-ttl``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from platform_lib.embedded.controllers.objects import created, to_time
from platform_lib.embedded.controllers.writes import (
    EVENTS,
    NOTHING,
    Change,
    Key,
    Result,
    Snapshot,
    delete,
)
from platform_lib.rules.manifests import name, namespace

NAME = "event-expiry-controller"
WATCHES = frozenset({EVENTS})

KEPT = timedelta(hours=1)


def keys_for(snapshot: Snapshot, change: Change) -> Iterable[Key]:
    """Return the event that changed."""
    return [] if change.type == "DELETED" else [(namespace(change.obj), name(change.obj))]


def reconcile(snapshot: Snapshot, key: Key, now: datetime) -> Result:
    """Delete one event that is old enough."""
    found = snapshot.get(EVENTS, *key)
    if found is None:
        return NOTHING
    seen = to_time(found.get("lastTimestamp") or found.get("eventTime")) or created(found)
    left_s = (seen + KEPT - now).total_seconds()
    return Result((), left_s + 1.0) if left_s > 0 else Result([delete(EVENTS, found)])
