"""How is each source followed? Kubernetes by watches; git and Prometheus by looking again and again.

A source that does not answer is looked at less often, up to ``BACKOFF_S``; when it answers again the record says for
how long the collector was blind on that eye.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from platform_lib.collect import facts
from platform_lib.collect.facts import Fact
from platform_lib.collect.known import Known
from platform_lib.errors import PlatformError
from platform_lib.model import Obj, Platform
from platform_lib.wait import now
from platform_lib.wire import kube, prometheus
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.git import Repository, repository

LOOK_S = 2.0
BACKOFF_S = 15.0
LOOK_BACK = timedelta(hours=6)
"""How far back alerts are asked for when the collector was away."""
TOPICS = tuple(Topic(gvr) for gvr in (kube.EVENTS, kube.PODS, kube.DEPLOYMENTS, kube.APPLICATIONS))


def of_object(known: Known, gvr: str, kind: str, obj: Obj) -> Iterable[Fact]:
    """Return the facts that an object of a watch tells."""
    if kind == "DELETED":
        return ()
    if gvr == kube.EVENTS:
        return facts.of_event(obj)
    if gvr == kube.PODS:
        return facts.of_pod(obj)
    if gvr == kube.DEPLOYMENTS:
        return facts.of_deployment(obj, known.values)
    return facts.of_application(obj, known.values)


def follow_cluster(platform: Platform, known: Known) -> Follow:
    """Return the watches of a cluster; every change is recorded in the thread that saw it."""

    def on_event(gvr: str, kind: str, obj: Obj) -> None:
        for fact in of_object(known, gvr, kind, obj):
            known.append(fact)

    return Follow(kube.connect(platform), TOPICS, on_event=on_event)


class Looking(threading.Thread):
    """Looks at one source in a thread of its own.

    Args:
        name: Name of the source, for people.
        look: Records what is new; raises ``PlatformError`` when the source does not answer.
        known: What is recorded.
        stop: Ends the thread.
    """

    def __init__(self, name: str, look: Callable[[], None], known: Known, stop: threading.Event) -> None:
        super().__init__(name=f"look at {name}", daemon=True)
        self.source, self._look, self._known, self._stop_event = name, look, known, stop
        self.blind_since: datetime | None = None

    def run(self) -> None:
        """Look until stopped."""
        pause_s = LOOK_S
        while not self._stop_event.is_set():
            try:
                self._look()
            except (PlatformError, OSError) as error:  # OSError: a full disk; the record goes on when there is room
                if self.blind_since is None:
                    self.blind_since, self.reason = now(), str(error)
                pause_s = min(pause_s * 2, BACKOFF_S)
            else:
                pause_s = LOOK_S
                self._sees_again()
            self._stop_event.wait(pause_s)

    def _sees_again(self) -> None:
        """Say for how long nothing could be seen."""
        if self.blind_since is not None:
            gap_s = round((now() - self.blind_since).total_seconds(), 3)
            self._known.say("gap", self.source, since=self.blind_since, gap_s=gap_s, reason=self.reason)
            self.blind_since = None


class Git:
    """Commits of the branch that Argo CD follows."""

    def __init__(self, platform: Platform, known: Known) -> None:
        self._repository: Repository = repository(platform)
        self._known, self._head = known, str(known.values.get("head", ""))
        self._looked = False

    def look(self) -> None:
        """Record the commits since the last one on record; a rewritten branch is read from its beginning."""
        head = self._repository.head()
        if head == self._head and self._looked:
            return
        for commit in self._repository.history(since=self._head):
            self._known.append(facts.of_commit(commit))
        self._head, self._looked = head, True


class Alerts:
    """Alerts of Prometheus, also those that fired and ended between two looks."""

    def __init__(self, platform: Platform, known: Known) -> None:
        self._client, self._known = prometheus.connect(platform), known
        self._last = known.last_seen or now() - timedelta(minutes=5)

    def look(self) -> None:
        """Record alerts that began or ended since the last look."""
        moment = now()
        since = max(self._last, moment - LOOK_BACK)
        span_s = max(1, int((moment - since).total_seconds()) + 1)
        firing = 'ALERTS{alertstate="firing"}'
        present = {facts.alert_key(item["metric"]) for item in self._client.instant(firing, at=moment)}
        first = self._times(f"min_over_time(timestamp({firing})[{span_s}s:1s])", moment)
        last = self._times(f"max_over_time(timestamp({firing})[{span_s}s:1s])", moment)
        self._began(first, since, present)
        self._ended(last, moment, present)
        self._last = moment

    def _times(self, promql: str, at: datetime) -> dict[str, tuple[dict[str, str], datetime]]:
        """Return labels and time stamp of each alert."""
        answer: list[dict[str, Any]] = self._client.instant(promql, at=at)
        return {
            facts.alert_key(item["metric"]): (item["metric"], datetime.fromtimestamp(float(item["value"][1]), UTC))
            for item in answer
        }

    def _began(self, first: dict[str, tuple[dict[str, str], datetime]], since: datetime, present: set[str]) -> None:
        """Record what fires and is not on record as firing."""
        for key, (labels, at) in first.items():
            if key not in self._known.alerts and (key in present or at > since):
                self._known.append(facts.of_alert(labels, "firing", at))

    def _ended(self, last: dict[str, tuple[dict[str, str], datetime]], moment: datetime, present: set[str]) -> None:
        """Record what is on record as firing and fires no longer."""
        for key, labels in list(self._known.alerts.items()):
            if key not in present:
                self._known.append(facts.of_alert(labels, "resolved", last[key][1] if key in last else moment))
