"""What happens when a bad version is deployed through the gate?

The gate has to find it, take it back in git and prove the recovery; then the drill passes. The kind ``none`` is a
good version: a gate that lets it through makes the drill fail, which shows that the drill can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from platform_lib import gate, providers
from platform_lib.deploy import fault_env
from platform_lib.drills.faults.base import OnApp, Seen, proof
from platform_lib.drills.faults.taken_back import take_back
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Check, Platform, Step, joined
from platform_lib.rules.manifests import image_of
from platform_lib.wait import now
from platform_lib.wire import kube
from platform_lib.wire.git import repository

Env = Mapping[str, str | None]

WARMUP_S, SETTLE_S, TIMEOUT_S = 2.0, 6.0, 60.0
_SWITCHES = {
    "errors": "error_ratio",
    "latency": "latency_ms",
    "never-ready": "never_ready",
    "crash-loop": "crash_after_s",
}
KINDS = (*_SWITCHES, "bad-digest", "invalid-manifest", "none")
_GATE_FIGURES = ("detect_s", "decide_s", "recover_s", "rollback_s", "users_recovered_s", "verify_s")


@dataclass(slots=True)
class BadDeploy(OnApp):
    """Deploy a version with one thing wrong."""

    NOTES: ClassVar[frozenset[str]] = frozenset({"built", "record"})

    kind: str
    value: float
    rate_rps: float
    version: str
    commit: str
    built: str = ""
    record: gate.GateRecord | None = None

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """A version needs an image of its own, and nodes that can have it."""
        if why := providers.of(platform).cannot("build_release"):
            return f"provider {platform.provider!r} gives its nodes no image that is built here: {why}"
        found = image_of(kube.connect(platform).find(kube.DEPLOYMENTS, app.name, app.namespace) or {})
        return "" if "sample-app" in found else f"{app.name} has no switches that make it bad"

    @classmethod
    def choose(cls, platform: Platform, app: App, kind: str, value: float = 1.0, rate_rps: float = 60.0) -> Self:
        """Name the version; its name is what the gate tells it by.

        Raises:
            InvalidInput: There is no such kind.
        """
        if kind not in KINDS:
            raise InvalidInput(f"kind {kind!r} - unknown, wanted one of {joined(KINDS)}", hint="correct the scenario")
        version = f"drill-{kind}-{now():%H%M%S}"
        return cls(platform, app, kind, float(value), float(rate_rps), version, repository(platform).head())

    def steps(self) -> tuple[Step, ...]:
        """Describe deploy and rollback."""
        what = f"{_SWITCHES[self.kind]}={self.value:g}" if self.kind in _SWITCHES else self.kind
        return (
            Step("deploy", f"{self.app.name} {self.version}", f"through the gate, with {what}"),
            Step("take back", self.version, "by the gate; by the undo where the gate did not"),
        )

    def prepare(self) -> None:
        """Build its image, so that only deploying is left to do."""
        self.built = providers.of(self.platform).build_release(self.version).reference

    def inject(self) -> None:
        """Let the gate deploy it, judge it and take it back."""
        name, _, digest = self.built.partition("@")
        wrong = f"{name}@sha256:{'0' * 64}"
        self.record = gate.deploy(
            self.platform,
            self.app,
            image=wrong if self.kind == "bad-digest" else f"{name}@{digest}",
            version=self.version,
            env=self._env(),
            rate_rps=self.rate_rps,
            warmup_s=WARMUP_S,
            settle_s=SETTLE_S,
            timeout_s=TIMEOUT_S,
        )

    def undo(self) -> None:
        """Take it out of git where it still is."""
        take_back(self.platform, self.app, self.commit, self.version)

    def recovered(self) -> Seen:
        """The gate has ended and the application is steady; whether it was the gate's doing is checked at the end."""
        return self.steady()

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """Return the times of the gate, as it measured them."""
        found = self.record.outcome.figures if self.record else {}
        return {f"gate_{name}": found[name] for name in _GATE_FIGURES if found.get(name) is not None}

    def checks(self) -> tuple[Check, ...]:
        """It must have been caught, taken back in git by the gate, and the recovery proven."""
        if self.record is None:
            return (proof("gate caught it", False, "the gate gave no verdict", "verdict fail"),)
        seen = self.record.verdict
        caught = proof(
            "gate caught it", seen.status == "fail", f"{seen.status}: {seen.reason}", "verdict fail", otherwise="fail"
        )
        recovery = self.record.recovery
        proven = recovery is not None and recovery.ok
        value = recovery.reason if recovery is not None else "nothing was taken back"
        repo = repository(self.platform)
        same = self.record.rolled_back and repo.same_content(self.commit, repo.head(), self.app.path)
        told = "by the gate" if same else "not by the gate"
        return (
            caught,
            proof("taken back in git", same, told, "as it was before, by the gate", otherwise="fail"),
            proof("recovery proven", proven, value, "by the service's own answers", otherwise="fail"),
        )

    def _env(self) -> Env:
        """Return the switches: one of them on, all others off."""
        if self.kind in _SWITCHES:
            return fault_env(_SWITCHES[self.kind], self.value)
        none: dict[str, str | None] = dict.fromkeys(fault_env("error_ratio", 0))
        return none | ({"A=B": "no name of a variable"} if self.kind == "invalid-manifest" else {})
