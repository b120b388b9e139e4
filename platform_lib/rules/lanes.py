"""When did each pod exist, and when was it ready? Lanes built from watch events; pure, time is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from platform_lib.model import Obj
from platform_lib.rules import manifests, workload

Spans = list[tuple[datetime, datetime | None]]


@dataclass(slots=True)
class Lane:
    """The life of one pod; an open span ends with None."""

    pod: str
    version: str
    node: str
    created_at: datetime
    deleted_at: datetime | None = None
    terminating_at: datetime | None = None
    restarts: int = 0
    reason: str = ""
    ready_spans: Spans = field(default_factory=list)


class Lanes:
    """Collects pods of one application in order of appearance.

    Args:
        started_at: Pods that are older keep their creation time; for others the arrival of the event is more
            exact than Kubernetes' time stamps, which have a resolution of one second.
    """

    def __init__(self, started_at: datetime) -> None:
        self._started_at = started_at
        self._lanes: dict[str, Lane] = {}

    def rows(self) -> list[Lane]:
        """Return the lanes in order of creation."""
        return sorted(self._lanes.values(), key=lambda lane: (lane.created_at, lane.pod))

    def record(self, kind: str, pod: Obj, at: datetime) -> None:
        """Take one watch event (ADDED, MODIFIED, DELETED) that arrived ``at``."""
        key = manifests.uid(pod) or manifests.name(pod)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = self._new(pod, at)
        seen = workload.pod_state(pod)
        lane.node, lane.restarts = seen.node or lane.node, seen.restarts
        lane.reason = seen.reason or lane.reason
        if manifests.deleting(pod) and lane.terminating_at is None:
            lane.terminating_at = at
        if kind == "DELETED":
            lane.deleted_at = at
        self._mark_ready(lane, seen.ready and kind != "DELETED", at)

    def first_of(self, version: str) -> datetime | None:
        """Return when the first pod of a version appeared, or None."""
        return min((lane.created_at for lane in self._lanes.values() if lane.version == version), default=None)

    def _new(self, pod: Obj, at: datetime) -> Lane:
        """Start the lane of a pod that was not seen before."""
        created = workload.parse_time(manifests.metadata(pod).get("creationTimestamp")) or at
        old = created < self._started_at.replace(microsecond=0)
        return Lane(
            manifests.name(pod),
            manifests.version_of(pod),
            str(manifests.spec(pod).get("nodeName") or ""),
            created if old else at,
        )

    @staticmethod
    def _mark_ready(lane: Lane, ready: bool, at: datetime) -> None:
        """Open or close a span when readiness changed."""
        is_open = bool(lane.ready_spans) and lane.ready_spans[-1][1] is None
        if ready and not is_open:
            lane.ready_spans.append((at, None))
        elif not ready and is_open:
            lane.ready_spans[-1] = (lane.ready_spans[-1][0], at)
