"""What happens when the whole cluster is lost, and how much acknowledged desired state goes with it?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from platform_lib import providers
from platform_lib.drills.faults.base import OnApp, Progress, Seen, Target
from platform_lib.drills.sentinel import NAME, Sentinels
from platform_lib.model import App, Platform, Step
from platform_lib.sync import refresh


@dataclass(slots=True)
class ClusterLoss(OnApp):
    """Destroy the cluster with all of its state; rebuild it from git."""

    sentinels: Sentinels

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """A cluster that we did not make is not ours to destroy."""
        why = providers.of(platform).cannot("destroy_cluster")
        return f"provider {platform.provider!r} cannot make the cluster again: {why}" if why else ""

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """There is one cluster; the sentinels will tell what of git it held after the rebuild."""
        return cls(platform, app, Sentinels(platform, app))

    @classmethod
    def from_target(cls, platform: Platform, app: App, target: Mapping[str, Any]) -> Self:
        """The drill's own time stamp tells its sentinels from others."""
        sentinels = Sentinels(platform, app)
        sentinels.drill = str(target["drill"])
        return cls(platform, app, sentinels)

    def target(self) -> Target:
        """Return which sentinels are this drill's."""
        return {"drill": self.sentinels.drill}

    def steps(self) -> tuple[Step, ...]:
        """Describe the loss and the rebuild."""
        return (
            Step("commit", f"ConfigMap/{NAME}", "numbered markers right before the loss tell what survived it"),
            Step(
                "destroy",
                f"cluster {self.platform.name}",
                "everything that runs is killed, all cluster state is deleted",
            ),
            Step("rebuild", f"cluster {self.platform.name}", "from the git repository and the images alone"),
            Step("remove", f"ConfigMap/{NAME}", "undo, by a commit, also after Ctrl-C"),
        )

    def prepare(self) -> None:
        """Commit the sentinels."""
        self.sentinels.push()

    def inject(self) -> None:
        """Destroy the cluster."""
        providers.of(self.platform).destroy_cluster()

    def restore(self, progress: Progress) -> None:
        """Bring the cluster up again; this is also the undo."""
        providers.of(self.platform).rebuild(progress)

    def undo(self) -> None:
        """Bring the cluster up if it is not, and take the sentinels out of git."""
        try:
            providers.of(self.platform).rebuild(lambda _line: None)
        finally:
            removed = self.sentinels.remove()
        if removed:
            refresh(self.platform, self.app)

    def recovered(self) -> Seen:
        """The new cluster runs a steady application; what it holds then is what was recovered."""
        done, seen = self.steady()
        if done:
            self.sentinels.read()
        return done, seen

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """How much acknowledged desired state was lost."""
        return self.sentinels.figures(fault_at)
