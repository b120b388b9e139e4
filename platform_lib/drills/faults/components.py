"""What happens while a part of the platform is away: git, Argo CD, the ingress or the metrics?

Nobody brings such a part back but an operator, so ``restore`` switches it on again; the scenario's ``hold_s``
says how long it stays away. Each drill proves two things: that the part was really away, and what went on without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from platform_lib.drills.faults import switch
from platform_lib.drills.faults.base import OnApp, Progress, Seen, Target, proof
from platform_lib.drills.faults.switch import Switch
from platform_lib.errors import InvalidInput, NotFound, PlatformError
from platform_lib.model import App, Check, Platform, Step
from platform_lib.sync import refresh
from platform_lib.wait import until
from platform_lib.wire import kube, prometheus
from platform_lib.wire.git import repository
from platform_lib.wire.probe import fetch

AWAY_S = 20.0
LOOK_S = 2.0
MARK = "app.kubernetes.io/part-of"
"""A label of the Service that git sets and nothing selects by: changing it harms nobody."""
DRIFTED = "drill"


@dataclass(slots=True)
class ComponentDown(OnApp):
    """Switch one part of the platform off and on again."""

    ROLE: ClassVar[str] = ""
    NOTES: ClassVar[frozenset[str]] = frozenset({"seen_away"})

    part: Switch
    seen_away: str = ""

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """The part must be found."""
        return switch.find(platform, cls.ROLE)[1]

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Find the part."""
        found, why = switch.find(platform, cls.ROLE)
        if found is None:
            raise InvalidInput(f"{cls.ROLE} - cannot be switched off: {why}", hint="run another drill")
        return cls(platform, app, found)

    @classmethod
    def from_target(cls, platform: Platform, app: App, target: Mapping[str, Any]) -> Self:
        """Make the switch of its fields again."""
        return cls(platform, app, **{**target, "part": Switch(**target["part"])})

    def target(self) -> Target:
        """Return the switch."""
        return {"part": self.part.to_json()}

    def steps(self) -> tuple[Step, ...]:
        """Describe off and on."""
        return (
            Step("stop", f"{self.ROLE} ({self.part})", "nobody but an operator brings it back"),
            Step("start again", f"{self.ROLE} ({self.part})", "undo, also after Ctrl-C"),
        )

    def inject(self) -> None:
        """Switch it off, and see for ourselves that it is away."""
        self.part.off(self.platform)

        def away() -> tuple[str | None, str]:
            serving, seen = self.serving()
            return (None if serving else seen), seen

        self.seen_away = until(away, timeout_s=AWAY_S, wanted=f"no answer from {self.ROLE}", interval_s=0.1)

    def restore(self, progress: Progress) -> None:
        """Switch it on."""
        progress(f"the operator starts {self.part}")
        self.part.on(self.platform)

    def undo(self) -> None:
        """Switch it on where it is off."""
        self.part.on(self.platform)

    def recovered(self) -> Seen:
        """The part serves and the application is steady."""
        serving, seen = self.serving()
        return self.steady() if serving else (False, seen)

    def checks(self) -> tuple[Check, ...]:
        """The part must have been away, or nothing was drilled."""
        value = self.seen_away or "never seen away"
        return (proof(f"{self.ROLE} was away", bool(self.seen_away), value, "it must not answer"),)

    def serving(self) -> Seen:
        """Ask the part for something only it can do."""
        raise NotImplementedError


@dataclass(slots=True)
class GitOutage(ComponentDown):
    """Take the git server away: no commit, no comparison; what runs must go on running."""

    ROLE: ClassVar[str] = "git"

    def serving(self) -> Seen:
        """Ask for the newest commit of the branch."""
        try:
            return True, f"branch at {repository(self.platform).head()[:7]}"
        except PlatformError as error:
            return False, error.message

    def inject(self) -> None:
        """Switch it off and have Argo CD look, so that it finds out now and not at its next poll."""
        ComponentDown.inject(self)
        refresh(self.platform, self.app)

    def restore(self, progress: Progress) -> None:
        """Switch it on and have Argo CD look again."""
        ComponentDown.restore(self, progress)
        refresh(self.platform, self.app)

    def undo(self) -> None:
        """Switch it on; a look by Argo CD clears its error at once."""
        self.part.on(self.platform)
        refresh(self.platform, self.app)


@dataclass(slots=True)
class ArgoDown(ComponentDown):
    """Take the application controller away and change something by hand: nobody heals it until it is back."""

    ROLE: ClassVar[str] = "argocd"
    NOTES: ClassVar[frozenset[str]] = frozenset({"seen_away", "unhealed"})

    label: str = ""
    unhealed: bool = False

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Find the controller, and remember the label that will be changed."""
        found, why = switch.find(platform, cls.ROLE)
        if found is None:
            raise InvalidInput(f"{cls.ROLE} - cannot be switched off: {why}", hint="run another drill")
        service = kube.connect(platform).get("v1/services", app.name, app.namespace)
        return cls(platform, app, found, label=service["metadata"].get("labels", {}).get(MARK, ""))

    def target(self) -> Target:
        """Return the switch and the label's own value."""
        return {"part": self.part.to_json(), "label": self.label}

    def steps(self) -> tuple[Step, ...]:
        """Describe off, the harmless drift, and on."""
        stop, start = ComponentDown.steps(self)
        return stop, Step("relabel", f"Service/{self.app.name}", "a drift that nobody heals meanwhile"), start

    def inject(self) -> None:
        """Switch it off, then drift."""
        ComponentDown.inject(self)
        self._relabel(DRIFTED)

    def restore(self, progress: Progress) -> None:
        """Note that the drift is still there, then switch it on."""
        self.unhealed = self._label() == DRIFTED
        ComponentDown.restore(self, progress)

    def undo(self) -> None:
        """Switch it on and put the label back, whoever is faster."""
        self.part.on(self.platform)
        if self.label and self._label() == DRIFTED:
            self._relabel(self.label)

    def recovered(self) -> Seen:
        """The drift is healed and the application is steady."""
        if self._label() == DRIFTED:
            return False, f"Service/{self.app.name} still carries the drift"
        return self.steady()

    def checks(self) -> tuple[Check, ...]:
        """It must have been away long enough that the drift stayed."""
        value = "the drift stayed while it was away" if self.unhealed else "the drift was healed meanwhile"
        return *ComponentDown.checks(self), proof("nobody healed", self.unhealed, value, "it must stay")

    def serving(self) -> Seen:
        """The provider or the workload says whether it runs; asking it for work would wait for a time-out."""
        running = self.part.runs(self.platform)
        return running, f"{self.part} {'runs' if running else 'does not run'}"

    def _label(self) -> str:
        try:
            found = self.kube().get("v1/services", self.app.name, self.app.namespace)
        except NotFound:
            return ""
        return str(found["metadata"].get("labels", {}).get(MARK, ""))

    def _relabel(self, value: str) -> None:
        body = {"metadata": {"labels": {MARK: value}}}
        self.kube().patch("v1/services", self.app.name, body, self.app.namespace)


@dataclass(slots=True)
class IngressDown(ComponentDown):
    """Take the ingress away: every client is cut off although every pod is well."""

    ROLE: ClassVar[str] = "ingress"

    def serving(self) -> Seen:
        """Ask for a page."""
        try:
            status = fetch(self.platform, self.app, timeout_s=LOOK_S).status
        except PlatformError as error:
            return False, error.message
        return 200 <= status < 400, f"HTTP {status}"


@dataclass(slots=True)
class MetricsDown(ComponentDown):
    """Take Prometheus away: the service goes on, but the drill is blind and must say so."""

    ROLE: ClassVar[str] = "metrics"

    def serving(self) -> Seen:
        """Ask for any sample."""
        try:
            with prometheus.connect(self.platform, timeout_s=LOOK_S) as client:
                found = client.instant("up")
        except PlatformError as error:
            return False, error.message
        return bool(found), f"{len(found)} targets"
