"""How many sync operations were there, and how long did they take? Argo CD's counters, from what is observed.

An Application keeps only its last operation, so the counting must be done while it is followed. Counters begin
at 0 with the process, as those of Argo CD's controller do.

Source: Argo CD documentation (operator-manual/metrics).
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from platform_lib.embedded.kubestate import Sample, exposition
from platform_lib.model import Obj

_ENDED = ("Succeeded", "Failed", "Error")
Key = tuple[str, str]


class Syncs:
    """Counts operations that end, by application and phase.

    Args:
        since: Operations that ended earlier are not counted.
    """

    def __init__(self, since: datetime) -> None:
        self._since = since.replace(microsecond=0)  # Kubernetes writes whole seconds
        self._last: dict[Key, tuple[str, str]] = {}
        self._counts: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)
        self._seconds: dict[tuple[tuple[str, str], ...], float] = defaultdict(float)

    def observe(self, kind: str, app: Obj) -> None:
        """Note what an event says of an application; safe to be told the same twice."""
        key = (app["metadata"].get("namespace", ""), app["metadata"]["name"])
        if kind == "DELETED":
            self._last.pop(key, None)
            return
        state = (app.get("status") or {}).get("operationState") or {}
        if state.get("phase") not in _ENDED or not state.get("finishedAt"):
            return
        operation = (state.get("startedAt", ""), state["finishedAt"])
        if self._last.get(key) != operation and _time(state["finishedAt"]) >= self._since:
            self._count(app, state)
        self._last[key] = operation

    def _count(self, app: Obj, state: Obj) -> None:
        """Count one operation."""
        spec = app.get("spec") or {}
        labels = {
            "name": app["metadata"]["name"],
            "namespace": app["metadata"].get("namespace", ""),
            "project": spec.get("project", ""),
            "dest_server": (spec.get("destination") or {}).get("server", ""),
        }
        self._counts[tuple((labels | {"phase": state["phase"]}).items())] += 1
        begin, end = (
            datetime.fromisoformat(state[name].replace("Z", "+00:00")) for name in ("startedAt", "finishedAt")
        )
        self._seconds[tuple(labels.items())] += max(0.0, (end - begin).total_seconds())

    def render(self) -> str:
        """Return the counters as exposition text; nothing before the first operation."""

        def samples(found: dict[tuple[tuple[str, str], ...], float]) -> list[Sample]:
            return [(dict(labels), value) for labels, value in found.items()]

        return exposition(
            [
                ("argocd_app_sync_total", "Number of application syncs.", samples(self._counts)),
                (
                    "argocd_app_sync_duration_seconds_total",
                    "Application sync performance in seconds total.",
                    samples(self._seconds),
                ),
            ]
        )


def _time(stamp: str) -> datetime:
    """Read an RFC 3339 time stamp."""
    return datetime.fromisoformat(stamp.replace("Z", "+00:00"))
