"""Who notices what while a fault lasts, which source is blind, and does anything break that must not?

Two threads look at the platform several times a second, one at the Kubernetes API (objects and Argo CD), one at
Prometheus, so that a source that hangs does not hide the others. What they see is compared with a first look
before the fault. Clients are the third witness; their requests are judged afterwards, from the probe.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_lib.drills import steady
from platform_lib.drills.scenario import Safeguard, Scenario
from platform_lib.errors import NoData, PlatformError, Unreachable
from platform_lib.model import App, Obj, Platform, joined
from platform_lib.rules import manifests
from platform_lib.wait import now
from platform_lib.wire import argocd, kube, prometheus
from platform_lib.wire.probe import fetch

LOOK_S = 0.15
GRACE_S = 5.0
"""How long something outside the drill may be in trouble before it counts: one late heartbeat is none."""
ANSWER_S = 4.0
"""Argo CD takes a refresh up within this where it is alive (usual 0.1 to 1 s)."""


@dataclass(frozen=True, slots=True)
class View:
    """What one look at the cluster found."""

    ready: int
    wanted: int
    pods: frozenset[str]
    nodes: frozenset[str]
    healthy_apps: frozenset[str]
    health: str
    sync: str
    operation: str


@dataclass(slots=True)
class Notes:
    """What was seen so far; one writer per key, read by the drill."""

    noticed: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    reacted: tuple[datetime, str] | None = None
    blind: dict[str, list[list[datetime | None]]] = field(default_factory=dict)
    trouble: dict[str, tuple[datetime, str]] = field(default_factory=dict)
    breach: str = ""
    looks: int = 0


class Watch:
    """Looks at a platform during a drill; enter it before the fault.

    Args:
        platform: Where.
        app: The application of the drill.
        drill: Whose safeguards and expectations count.
        target: What the fault breaks, as JSON; nodes named in it are no outsiders.
    """

    def __init__(self, platform: Platform, app: App, drill: Scenario, target: dict[str, Any]) -> None:
        self.platform, self.app, self.drill = platform, app, drill
        self.notes = Notes()
        self._words = json.dumps(target)
        self._stop, self._armed = threading.Event(), threading.Event()
        self._before = self._view()
        self._down_before: set[str] = set()
        self._asked: datetime | None = None
        self._threads = [
            threading.Thread(target=self._loop, args=(look,), name=f"drill-{look.__name__}", daemon=True)
            for look in (self._look_at_cluster, self._look_at_metrics)
        ]

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=15.0)
        for spans in self.notes.blind.values():
            if spans[-1][1] is None:
                spans[-1][1] = now()

    def arm(self) -> None:
        """From now on everything that differs from before counts as noticed: the fault is about to strike."""
        self._armed.set()

    @property
    def breach(self) -> str:
        """What broke outside the drill, or nothing."""
        return self.notes.breach

    def detected(self) -> tuple[datetime, str, str] | None:
        """Return (moment, source, what was seen) of whoever noticed first; None when nobody has."""
        found = [(moment, source, seen) for source, (moment, seen) in dict(self.notes.noticed).items()]
        return min(found, default=None)

    def blind_s(self) -> dict[str, float]:
        """Return for how long each source was blind, in seconds; only those that were."""
        return {
            source: round(sum(((end or now()) - start).total_seconds() for start, end in spans if start), 3)
            for source, spans in dict(self.notes.blind).items()
        }

    # -- loops -------------------------------------------------------------------------------------------

    def _loop(self, look: Callable[[], None]) -> None:
        """Look until the drill is over."""
        while not self._stop.is_set():
            look()
            self.notes.looks += 1
            self._stop.wait(LOOK_S)

    def _look_at_cluster(self) -> None:
        """Compare nodes, pods and Applications with before."""
        try:
            seen = self._view()
        except PlatformError as error:
            self._see("kubernetes", "no answer")
            self._guard("api", f"the API does not answer: {error.message}")
            return
        self._sees("kubernetes")
        self._guard("api", "")
        self._compare(seen)
        self._guard_others(seen)
        if "argocd" in (*self.drill.expect.blind, *self.drill.expect.detected_by, *self.drill.safeguards):
            self._ask_argocd()
        if "ingress" in self.drill.safeguards:
            self._guard("ingress", _ingress_trouble(self.platform, self.app))

    def _look_at_metrics(self) -> None:
        """Ask Prometheus for the age of its newest sample, and for targets that went down."""
        try:
            age_s = steady.sample_age_s(self.platform)
            trouble = f"newest sample {age_s:.0f} s old" if age_s > steady.STALE_S else ""
            down = [] if trouble else self._down_targets()
        except PlatformError as error:
            trouble, down = _short(error), []
        if trouble:
            self._see("prometheus", trouble)
        else:
            self._sees("prometheus")
        if not self._armed.is_set():
            self._down_before |= set(down)
        fresh = sorted(set(down) - self._down_before)
        if fresh:
            self._notice("prometheus", f"targets down: {joined(fresh)}")
        self._guard("metrics", trouble)

    # -- what is seen ------------------------------------------------------------------------------------

    def _view(self) -> View:
        """Read nodes, pods, the Deployment and all Applications."""
        api = kube.connect(self.platform)
        pods, _ = api.list(kube.PODS, self.app.namespace, labels=f"app.kubernetes.io/name={self.app.name}")
        nodes, _ = api.list(kube.NODES)
        apps, _ = api.list(kube.APPLICATIONS, self.platform.argocd_namespace)
        deployment = api.find(kube.DEPLOYMENTS, self.app.name, self.app.namespace) or {}
        own: Obj = next((one for one in apps if one["metadata"]["name"] == self.app.name), {})
        status = own.get("status", {})
        ready = [p for p in pods if manifests.condition_true(p, "Ready") and not p["metadata"].get("deletionTimestamp")]
        return View(
            ready=len(ready),
            wanted=int(deployment.get("spec", {}).get("replicas") or 0),
            pods=frozenset(manifests.uid(pod) for pod in pods),
            nodes=frozenset(n["metadata"]["name"] for n in nodes if manifests.condition_true(n, "Ready")),
            healthy_apps=frozenset(a["metadata"]["name"] for a in apps if _health(a) in ("Healthy", "Progressing")),
            health=status.get("health", {}).get("status", "Missing"),
            sync=status.get("sync", {}).get("status", "Unknown"),
            operation=str(status.get("operationState", {}).get("startedAt", "")),
        )

    def _compare(self, seen: View) -> None:
        """Note who notices a difference, and the first sign that the platform reacts."""
        before = self._before
        lost = before.nodes - seen.nodes
        if seen.ready < min(before.ready, seen.wanted or before.ready):
            self._notice("kubernetes", f"{seen.ready} of {before.ready} pods ready")
        if lost:
            self._notice("kubernetes", f"{joined(sorted(lost))} not ready")
        if seen.wanted != before.wanted:
            self._notice("kubernetes", f"replicas wanted {before.wanted} -> {seen.wanted}")
            self._react(f"replicas wanted {before.wanted} -> {seen.wanted}")
        if (seen.health, seen.sync) != (before.health, before.sync):
            self._notice("argocd", f"{seen.sync}, {seen.health}")
        if seen.pods - before.pods:
            self._react(f"{len(seen.pods - before.pods)} new pods")
        if seen.operation and seen.operation != before.operation:
            self._react(f"Argo CD operation started at {seen.operation}")

    def _guard_others(self, seen: View) -> None:
        """Hold what the drill has no business with to its state before."""
        nodes = [node for node in self._before.nodes - seen.nodes if node not in self._words]
        apps = self._before.healthy_apps - seen.healthy_apps - {self.app.name}
        self._guard("other-nodes", f"{joined(sorted(nodes))} not ready" if nodes else "")
        self._guard("other-apps", f"{joined(sorted(apps))} not healthy" if apps else "")

    def _ask_argocd(self) -> None:
        """Ask for a refresh and see whether anybody takes it up; the annotation stays when nobody does."""
        try:
            asked = argocd.read(self.platform, self.app)["metadata"].get("annotations", {})
            waiting = "argocd.argoproj.io/refresh" in asked
            if not waiting:
                self._asked = argocd.request_refresh(self.platform, self.app)
        except PlatformError:
            return  # the API's own trouble is noted where it is read
        late_s = (now() - self._asked).total_seconds() if waiting and self._asked else 0.0
        trouble = f"a refresh waits for {late_s:.0f} s" if late_s > ANSWER_S else ""
        if trouble:
            self._see("argocd", trouble)
        elif not waiting:
            self._sees("argocd")
        self._guard("argocd", trouble)

    def _down_targets(self) -> list[str]:
        """Return the targets that Prometheus cannot reach."""
        with prometheus.connect(self.platform, timeout_s=steady.METRICS_TIMEOUT_S) as client:
            try:
                found = client.instant("count by (job, instance) (up == 0)")
            except NoData:
                return []
        return [f"{one['metric'].get('job', '?')} {one['metric'].get('instance', '')}".strip() for one in found]

    # -- notes -------------------------------------------------------------------------------------------

    def _notice(self, source: str, seen: str) -> None:
        """Note the first time a source reports a difference after the fault."""
        if self._armed.is_set():
            self.notes.noticed.setdefault(source, (now(), seen))

    def _react(self, seen: str) -> None:
        """Note the first act of the platform after the fault."""
        if self._armed.is_set() and self.notes.reacted is None:
            self.notes.reacted = (now(), seen)

    def _see(self, source: str, trouble: str) -> None:
        """A source went or stays blind; being blind is something that was noticed."""
        spans = self.notes.blind.setdefault(source, [])
        if not spans or spans[-1][1] is not None:
            spans.append([now(), None])
        self._notice(source, f"blind: {trouble}")

    def _sees(self, source: str) -> None:
        """A source answers; a blind stretch ends."""
        spans = self.notes.blind.get(source)
        if spans and spans[-1][1] is None:
            spans[-1][1] = now()

    def _guard(self, safeguard: Safeguard, trouble: str) -> None:
        """Note a safeguard's trouble; one that lasts longer than the grace is a breach."""
        if safeguard not in self.drill.safeguards:
            return
        if not trouble:
            self.notes.trouble.pop(safeguard, None)
            return
        since, _ = self.notes.trouble.setdefault(safeguard, (now(), trouble))
        if (now() - since).total_seconds() >= GRACE_S and not self.notes.breach:
            self.notes.breach = f"safeguard {safeguard}: {trouble}"


def _short(error: PlatformError) -> str:
    """What a source that cannot be asked says, in a few words."""
    return "no answer" if isinstance(error, Unreachable) else error.message


def _health(application: Obj) -> str:
    """Health of an Application."""
    return str(application.get("status", {}).get("health", {}).get("status", ""))


def _ingress_trouble(platform: Platform, app: App) -> str:
    """Say what is wrong with the ingress itself; any HTTP answer means that it is up."""
    try:
        fetch(platform, app, timeout_s=2.0)
    except PlatformError as error:
        return error.message
    return ""
