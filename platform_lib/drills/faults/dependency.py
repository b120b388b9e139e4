"""What happens when something behind the application answers slowly?

The sample application has nothing behind it. Its own latency switch makes every request wait as if for a slow
dependency; the switch is an environment variable, so it travels through git and a rolling update. Unlike with a
real dependency the slowness therefore comes pod by pod; what a client sees once it is there is the same.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib.deploy import deploy, fault_env
from platform_lib.drills.faults.base import OnApp, Progress, Seen, proof
from platform_lib.drills.faults.taken_back import take_back
from platform_lib.model import App, Check, Platform, Step
from platform_lib.rules.manifests import image_of, parse_manifests, version_of
from platform_lib.wait import monotonic
from platform_lib.wire import kube
from platform_lib.wire.git import repository
from platform_lib.wire.probe import fetch

VARIABLE = "FAULT_LATENCY_MS"
ASKS = 5
ROLLOUT_S = 60.0


@dataclass(slots=True)
class SlowDependency(OnApp):
    """Make every request wait ``latency_ms``."""

    NOTES: ClassVar[frozenset[str]] = frozenset({"before_ms", "slow_ms"})

    latency_ms: float
    image: str
    version: str
    commit: str
    before_ms: float = 0.0
    slow_ms: float = 0.0

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Only the sample application has the switch."""
        found = kube.connect(platform).find(kube.DEPLOYMENTS, app.name, app.namespace) or {}
        known = "sample-app" in image_of(found)
        return (
            "" if known else f"{app.name} has no latency switch, and a proxy in front of it would not be its dependency"
        )

    @classmethod
    def choose(cls, platform: Platform, app: App, latency_ms: float = 100.0) -> Self:
        """Remember what git says now."""
        repo = repository(platform)
        with repo.current() as tree:
            documents = parse_manifests((tree / app.deployment_file).read_text(), app.deployment_file)
        found = next(one for one in documents if one["kind"] == "Deployment")
        return cls(platform, app, float(latency_ms), image_of(found), version_of(found), repo.head())

    def steps(self) -> tuple[Step, ...]:
        """Describe the commit and its revert."""
        return (
            Step("commit", f"{VARIABLE}={self.latency_ms:g}", "every request waits as if for a slow dependency"),
            Step("revert", VARIABLE, "undo, by a commit, also after Ctrl-C"),
        )

    def prepare(self) -> None:
        """Take the latency as it is."""
        self.before_ms = self._ask()

    def inject(self) -> None:
        """Commit the switch and wait until every pod has it."""
        env = fault_env("latency_ms", self.latency_ms)
        deploy(self.platform, self.app, image=self.image, version=self.version, env=env, timeout_s=ROLLOUT_S)
        self.slow_ms = self._ask()

    def restore(self, progress: Progress) -> None:
        """The dependency is fast again: the commit is taken back."""
        progress("the dependency is fast again")
        self.undo()

    def undo(self) -> None:
        """Take the switch out of git where it is in."""
        take_back(self.platform, self.app, self.commit, VARIABLE)

    def recovered(self) -> Seen:
        """Requests are as fast as before, give or take half of what was added."""
        done, seen = self.steady()
        if not done:
            return done, seen
        now_ms = self._ask()
        fast = now_ms < self.before_ms + self.latency_ms / 2
        return fast, f"median {now_ms:.0f} ms of {ASKS} requests"

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """What a request took."""
        return {"median_before_ms": round(self.before_ms, 1), "median_slow_ms": round(self.slow_ms, 1)}

    def checks(self) -> tuple[Check, ...]:
        """It must have been slow."""
        value = f"median {self.before_ms:.0f} ms before, {self.slow_ms:.0f} ms with the fault"
        return (proof("slowness was real", self.slow_ms >= self.latency_ms, value, f"{self.latency_ms:g} ms more"),)

    def _ask(self) -> float:
        """Return the median time of a few requests in milliseconds."""
        times = []
        for _ in range(ASKS):
            start = monotonic()
            fetch(self.platform, self.app)
            times.append((monotonic() - start) * 1000)
        return statistics.median(times)
