"""How is a part of the platform switched off and on again, where and however it runs?

A provider that runs the part as a process of its own stops that process. On any other cluster the part is a
Deployment or StatefulSet, found by its labels, and is scaled to nothing and back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from platform_lib import providers
from platform_lib.errors import PlatformError
from platform_lib.model import Obj, Platform, joined
from platform_lib.rules.manifests import labels, name, namespace, pod_template, replicas
from platform_lib.wait import until
from platform_lib.wire import kube

NAME_LABEL = "app.kubernetes.io/name"
WORKLOADS = (kube.DEPLOYMENTS, "apps/v1/statefulsets")
GONE_S = 60.0

_LABELS = {
    "argocd": ("argocd-application-controller",),
    "ingress": ("traefik", "ingress-nginx"),
    "metrics": ("prometheus",),
}
_COMPONENTS = {"argocd": "gitops", "ingress": "traefik", "metrics": "prometheus"}
"""The names of the embedded platform's processes."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One part that can be switched off.

    Attributes:
        role: ``git``, ``argocd``, ``ingress`` or ``metrics``.
        component: Process of the provider; empty where it is a workload.
        gvr, name, namespace, replicas: The workload and its size when it is on.
    """

    role: str
    component: str = ""
    gvr: str = ""
    name: str = ""
    namespace: str = ""
    replicas: int = 0

    def __str__(self) -> str:
        return f"process {self.component}" if self.component else f"{self.namespace}/{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON."""
        return asdict(self)

    def off(self, platform: Platform) -> None:
        """Switch it off; returns when it is.

        Raises:
            WaitTimeout: Its pods do not go.
        """
        if self.component:
            return self._provider(platform, on=False)
        self._scale(platform, 0)
        until(lambda: self._size(platform), timeout_s=GONE_S, wanted=f"no pod of {self}", interval_s=0.5)
        return None

    def on(self, platform: Platform) -> None:
        """Switch it on; does nothing where it is on already."""
        if self.component:
            return self._provider(platform, on=True)
        if replicas(kube.connect(platform).get(self.gvr, self.name, self.namespace)) == 0:
            self._scale(platform, self.replicas)
        return None

    def runs(self, platform: Platform) -> bool:
        """Return whether it runs now."""
        if self.component:
            return providers.of(platform).runs(self.component)
        found = kube.connect(platform).get(self.gvr, self.name, self.namespace)
        return int(found.get("status", {}).get("readyReplicas") or 0) > 0

    def _provider(self, platform: Platform, *, on: bool) -> None:
        """Tell the provider, by its own word for the part."""
        provider = providers.of(platform)
        if self.role == "git":
            return provider.start_git() if on else provider.stop_git()
        return provider.start_component(self.component) if on else provider.stop_component(self.component)

    def _scale(self, platform: Platform, size: int) -> None:
        """Set the number of replicas."""
        kube.connect(platform).patch(self.gvr, self.name, {"spec": {"replicas": size}}, self.namespace)

    def _size(self, platform: Platform) -> tuple[bool | None, str]:
        """Read how many pods are left."""
        left = kube.connect(platform).get(self.gvr, self.name, self.namespace).get("status", {}).get("replicas") or 0
        return (None if left else True), f"{left} pods"


def find(platform: Platform, role: str) -> tuple[Switch | None, str]:
    """Return the switch of a part, or the reason why there is none."""
    if platform.provider == "embedded":
        return Switch(role, component=_COMPONENTS.get(role, role)), ""
    try:
        if role == "git":
            return _git_server(platform)
        space = platform.argocd_namespace if role == "argocd" else None
        wanted = _LABELS[role]
        return _one(platform, role, space, lambda found: labels(found).get(NAME_LABEL) in wanted, joined(wanted))
    except PlatformError as error:
        return None, f"its {role} cannot be looked up: {error.message}"


def _git_server(platform: Platform) -> tuple[Switch | None, str]:
    """Find the workload behind the repository's URL; a server outside the cluster is not ours to stop."""
    host = urlsplit(platform.gitops_url).hostname or ""
    service, _, rest = host.partition(".")
    space, _, zone = rest.partition(".")
    if not zone.startswith("svc"):
        return None, f"its git server {host} is outside the cluster"
    selector = kube.connect(platform).get("v1/services", service, space)["spec"].get("selector") or {}

    def behind(found: Obj) -> bool:
        return bool(selector) and selector.items() <= labels(pod_template(found)).items()

    return _one(platform, "git", space, behind, f"selected by Service {space}/{service}")


def _one(
    platform: Platform, role: str, space: str | None, fits: Callable[[Obj], bool], wanted: str
) -> tuple[Switch | None, str]:
    """Return the only running workload that fits."""
    api = kube.connect(platform)
    found = [(gvr, one) for gvr in WORKLOADS for one in api.list(gvr, space)[0] if fits(one) and replicas(one) > 0]
    if len(found) != 1:
        return None, f"{len(found)} running workloads are {wanted} (for {role}), exactly one is wanted"
    gvr, one = found[0]
    return Switch(role, "", gvr, name(one), namespace(one), replicas(one)), ""
