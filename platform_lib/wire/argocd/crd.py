"""How is Argo CD driven through its resource? Guarded writes of ``Application`` objects over the Kubernetes API.

The resource has no status subresource: specification, status and operation are written at the same place, so a
write that decides anything carries the version it was decided on.

Source: Argo CD v3.5.1, manifests/crds/application-crd.yaml, util/argo/argo.go (SetAppOperation, RefreshApp).
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

from platform_lib.errors import ApiError, Conflict, Forbidden, Invalid, NotFound
from platform_lib.model import App, Obj
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, syncrequest, workload
from platform_lib.rules.syncrequest import SyncRequest
from platform_lib.wire.argocd.door import Change, OnEvent
from platform_lib.wire.follow import Follow, Topic
from platform_lib.wire.kube import APPLICATIONS, DEPLOYMENTS, JSON_PATCH, PODS, ROLLOUTS, Kube

PROJECTS = "argoproj.io/v1alpha1/appprojects"
CONTROLLER = "argocd-application-controller"
NAME_LABEL = "app.kubernetes.io/name"
_ATTEMPTS = 5
_WORKLOADS = ("apps/v1/statefulsets", "apps/v1/deployments")
"""The controller is a StatefulSet; with dynamic sharding it is a Deployment."""


class KubernetesDoor:
    """Drives the Applications of one namespace.

    Args:
        kube: Connection.
        namespace: Of the Applications.
        control: Namespace of Argo CD itself.
    """

    def __init__(self, kube: Kube, namespace: str, control: str = "") -> None:
        self._kube, self._namespace, self._control = kube, namespace, control or namespace

    def read(self, name: str) -> Obj:
        """Return an Application; NotFound when there is none."""
        return self._kube.get(APPLICATIONS, name, self._namespace)

    def update(self, name: str, change: Change) -> Obj:
        """Write a merge patch that is guarded by the version it was decided on; decide again on conflict."""
        last: Conflict | None = None
        for _ in range(_ATTEMPTS):
            seen = self.read(name)
            patch = change(seen)
            if patch is None:
                return seen
            patch.setdefault("metadata", {})["resourceVersion"] = manifests.resource_version(seen)
            try:
                return self._kube.patch(APPLICATIONS, name, patch, self._namespace)
            except Conflict as error:
                last = error
        raise last or Conflict(f"Application {name} - changed {_ATTEMPTS} times while writing", status=409)

    def refresh(self, name: str, *, hard: bool) -> None:
        """Ask for a comparison."""
        annotation = {rules.REFRESH_ANNOTATION: "hard" if hard else "normal"}
        self._kube.patch(APPLICATIONS, name, {"metadata": {"annotations": annotation}}, self._namespace)

    def sync(self, name: str, request: SyncRequest, *, user: str) -> str:
        """Request a sync; return its identity."""

        def decide(seen: Obj) -> SyncRequest:
            syncrequest.refuse_sync(seen, request)
            return request

        return self._request(name, decide, user)

    def rollback(self, name: str, *, history_id: int, prune: bool, dry_run: bool) -> str:
        """Request that a row of the history is deployed again; return the identity of the operation."""

        def decide(seen: Obj) -> SyncRequest:
            return syncrequest.rollback(seen, history_id=history_id, prune=prune, dry_run=dry_run)

        return self._request(name, decide, syncrequest.USER)

    def _request(self, name: str, decide: Callable[[Obj], SyncRequest], user: str) -> str:
        """Write an operation, and null the state of the one before in the same write."""
        identity = str(uuid4())

        def change(seen: Obj) -> Obj:
            request = decide(seen)
            operation = syncrequest.operation(seen, request, identity=identity, user=user)
            # The old state is stored by merge patch: what the new one omits would survive from it, and the new
            # operation run as a part of the old (argo-cd issues 28701, 26530; delete when 3.6 is the minimum).
            return {"operation": operation, "status": {"operationState": None}}

        self.update(name, change)
        return identity

    def terminate(self, name: str) -> bool:
        """Ask to stop the running operation; return whether there was one."""
        patch = [
            {"op": "test", "path": "/status/operationState/phase", "value": "Running"},
            {"op": "replace", "path": "/status/operationState/phase", "value": "Terminating"},
        ]
        for _ in range(_ATTEMPTS):
            seen = self.read(name)
            if rules.operation_state(seen).get("phase") != "Running" or not seen.get("operation"):
                return False
            try:
                self._kube.patch(APPLICATIONS, name, patch, self._namespace, content_type=JSON_PATCH)
            except (Conflict, Invalid):
                continue  # it moved on between reading and writing: look again
            return True
        raise Conflict(f"Application {name} - changed {_ATTEMPTS} times while its operation was stopped", status=409)

    def project(self, name: str) -> Obj | None:
        """Return an AppProject, None where it is absent or may not be read."""
        try:
            return self._kube.find(PROJECTS, name, self._control)
        except Forbidden:
            return None  # the controller holds to it whether we may read it or not

    def elsewhere(self, name: str) -> list[str]:
        """Return other namespaces that have an Application of that name, as far as they may be read."""
        try:
            found, _ = self._kube.list(APPLICATIONS, None, fields=f"metadata.name={name}")
        except ApiError:
            return []  # only to help the reader of an error that is raised anyway
        return sorted(manifests.namespace(one) for one in found if manifests.name(one) == name)

    def controller(self) -> str:
        """Say why no controller can act on the Applications; empty when one can, or when nobody may look."""
        for gvr in _WORKLOADS:
            try:
                found = self._kube.find(gvr, CONTROLLER, self._control)
            except (Forbidden, NotFound):
                return ""
            if found is not None:
                kind = manifests.kind(found) or gvr.rpartition("/")[2]
                wanted = int(manifests.spec(found).get("replicas", 1))
                return f"{kind}/{CONTROLLER} is scaled to 0" if wanted == 0 else ""
        return ""

    def deployment(self, app: App) -> Obj | None:
        """Return the application's Deployment."""
        return self._kube.find(DEPLOYMENTS, app.name, app.namespace)

    def rollout(self, app: App) -> Obj | None:
        """Return the Rollout of Argo Rollouts that took the Deployment's pods over, None where none can be seen."""
        try:
            found, _ = self._kube.list(ROLLOUTS, app.namespace)
        except (Forbidden, NotFound):
            return None  # not installed, or not to be read: then pods without an owner are all that can be seen
        return next((one for one in found if workload.takes_over(one, app.name)), None)

    def pods(self, app: App) -> list[Obj]:
        """Return the application's pods."""
        return self._kube.list(PODS, app.namespace, labels=f"{NAME_LABEL}={app.name}")[0]

    def view(self, app: App, on_event: OnEvent | None) -> Follow:
        """Return a not yet opened view of the application."""
        topics = (
            Topic(APPLICATIONS, self._namespace, fields=f"metadata.name={app.application_name}"),
            Topic(DEPLOYMENTS, app.namespace),
            Topic(PODS, app.namespace, labels=f"{NAME_LABEL}={app.name}"),
        )
        return Follow(self._kube, topics, on_event=on_event)
