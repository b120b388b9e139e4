"""What happens when somebody changes the cluster by hand, behind the back of git?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

from platform_lib.drills.faults.base import OnApp, Seen, proof
from platform_lib.errors import InvalidInput, NotFound
from platform_lib.model import App, Check, Platform, Step
from platform_lib.sync import refresh
from platform_lib.wire import kube

SERVICES = "v1/services"
NAMESPACES = "v1/namespaces"
SYSTEM = ("default", "kube-system", "kube-public", "kube-node-lease", "argocd")


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


@dataclass(slots=True)
class NamespaceDeleted(OnApp):
    """Delete the application's whole namespace: everything in it goes and comes back from git alone."""

    NOTES: ClassVar[frozenset[str]] = frozenset({"objects"})

    uid: str
    objects: int = 0

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        """Never a namespace that the cluster itself lives in, and never one with data that git cannot restore."""
        if app.namespace in (*SYSTEM, platform.argocd_namespace):
            return f"namespace {app.namespace} belongs to the cluster"
        claims, _ = kube.connect(platform).list("v1/persistentvolumeclaims", app.namespace)
        return f"{len(claims)} volumes in {app.namespace} would be lost for ever" if claims else ""

    @classmethod
    def choose(cls, platform: Platform, app: App) -> Self:
        """Remember the namespace that will be deleted.

        Raises:
            InvalidInput: See ``supported``.
        """
        why = cls.supported(platform, app)
        if why:
            raise InvalidInput(f"namespace {app.namespace} - not deleted: {why}", hint="run another drill")
        found = kube.connect(platform).get(NAMESPACES, app.namespace)
        return cls(platform, app, found["metadata"]["uid"])

    def steps(self) -> tuple[Step, ...]:
        """Describe the deletion."""
        return (Step("delete", f"Namespace/{self.app.namespace}", "with everything in it; git has it all"),)

    def inject(self) -> None:
        """Delete the namespace."""
        self.objects = len(self.kube().list(kube.PODS, self.app.namespace)[0])
        self.kube().delete(NAMESPACES, self.app.namespace, uid=self.uid)

    def undo(self) -> None:
        """Have Argo CD look again; it alone can bring the namespace back, from git."""
        if self._present() != self.uid:
            refresh(self.platform, self.app)

    def recovered(self) -> Seen:
        """Another namespace of that name is there and the application in it is steady."""
        present = self._present()
        if not present or present == self.uid:
            return False, f"Namespace/{self.app.namespace} {'is going' if present else 'missing'}"
        return self.steady()

    def checks(self) -> tuple[Check, ...]:
        """It must be another namespace."""
        new = self._present() not in ("", self.uid)
        value = f"{self.objects} pods went with it; {'a new namespace' if new else 'no new namespace'} is there"
        return (proof("namespace made anew", new, value, "another uid", otherwise="fail"),)

    def _present(self) -> str:
        """Return the uid of the namespace, empty where there is none."""
        found = self.kube().find(NAMESPACES, self.app.namespace)
        return "" if found is None else str(found["metadata"]["uid"])
