"""What happens when somebody changes the cluster by hand, behind the back of git?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from platform_lib.drills.faults.base import OnApp, Seen
from platform_lib.errors import NotFound
from platform_lib.model import App, Platform, Step
from platform_lib.wire import kube

SERVICES = "v1/services"


@dataclass(slots=True)
class Drift(OnApp):
    """Delete the Service by hand: traffic stops until self-heal puts it back."""

    uid: str

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Remember the Service that will be deleted."""
        service = kube.connect(platform).get(SERVICES, app.name, app.namespace)
        return cls(platform, app, service["metadata"]["uid"])

    def steps(self) -> tuple[Step, ...]:
        """Describe the manual change."""
        return (Step("delete", f"Service/{self.app.name}", "a change by hand that git does not know"),)

    def inject(self) -> None:
        """Delete the Service."""
        self.kube().delete(SERVICES, self.app.name, self.app.namespace, uid=self.uid)

    def recovered(self) -> Seen:
        """A new Service is there and the application is steady."""
        try:
            service = self.kube().get(SERVICES, self.app.name, self.app.namespace)
        except NotFound:
            return False, f"Service/{self.app.name} missing"
        if service["metadata"]["uid"] == self.uid:
            return False, f"Service/{self.app.name} not deleted yet"
        return self.steady()
