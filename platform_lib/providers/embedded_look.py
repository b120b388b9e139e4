"""How is the embedded platform looked at from outside: what would it do, what runs, what may it be asked for?

The half of the provider that changes nothing; ``embedded`` starts and ends the program.
"""

from __future__ import annotations

from typing import Any, ClassVar

from platform_lib.image import Image, build_image
from platform_lib.model import App, Plan, Platform, Step
from platform_lib.providers import seed, state
from platform_lib.providers.base import Limited, Rows
from platform_lib.providers.readiness import Readiness
from platform_lib.providers.state import Layout
from platform_lib.settings import Settings


class EmbeddedLook(Limited):
    """What can be said of the embedded platform of one state folder."""

    CANNOT: ClassVar[dict[str, str]] = {
        "merge_kubeconfig": "its kubeconfig lives and dies with its state folder; point KUBECONFIG there"
    }

    settings: Settings
    layout: Layout
    platform: Platform
    readiness: Readiness

    def is_seeded(self) -> bool:
        """Return whether the GitOps repository exists."""
        return seed.is_seeded(self.layout)

    def present(self) -> bool:
        """Return whether processes are on record and endpoints were written."""
        return bool(state.processes(self.layout)) and self.layout.endpoints.exists()

    def whole(self) -> bool:
        """Return whether the keepers and every component that should run do run."""
        return state.complete(self.layout)

    def components(self) -> Rows:
        """Return every recorded process with its state and restarts."""
        return tuple((name, _process_text(entry)) for name, entry in state.processes(self.layout).items())

    def ask(self) -> int | str:
        """Ask the application once through the ingress."""
        return self.readiness.ask()

    def build_release(self, version: str) -> Image:
        """Build the application into the layout that plays the registry."""
        return build_image(self.settings.project_dir / "app", self.layout.images, version=version)

    def plan_up(self) -> Plan:
        """Return what ``up`` would do now."""
        if self.whole():
            return Plan(f"platform {self.platform.name} is up")
        home = str(self.settings.home)
        steps = [] if self.is_seeded() else [Step("create", "git repository and first image", "none is there yet")]
        steps.append(Step("start", "API, nodes, GitOps controller, Traefik, Prometheus", f"state in {home}"))
        steps.append(Step("apply", "Application/root", "everything else follows from git"))
        steps.append(Step("wait", f"http://{App().host}/ answers 200", "only then the platform is of use"))
        return Plan(f"bring up platform {self.platform.name}", tuple(steps), {"provider": "embedded", "home": home})

    def plan_down(self, *, purge: bool = False) -> Plan:
        """Return what ``down`` would do now."""
        steps = []
        if self.layout.cluster.exists():
            steps = [
                Step("end", f"{len(state.living(self.layout))} processes and all pods", "the cluster is destroyed"),
                Step("delete", str(self.layout.cluster), "store, keys, logs and time series go with the cluster"),
            ]
        if purge and self.is_seeded():
            steps.append(Step("delete", "git repository, images and the record", "purge was asked for"))
        return Plan(f"take down platform {self.platform.name}", tuple(steps), {"purge": purge})


def _process_text(entry: dict[str, Any]) -> str:
    """Return a process's state, pid and restarts."""
    wanted = entry.get("state", "running")
    text = f"pid {entry['pid']}" if state.alive(entry) else ("stopped" if wanted == "stopped" else "not running")
    return f"{text}, {entry['restarts']} restarts" if entry.get("restarts") else text
