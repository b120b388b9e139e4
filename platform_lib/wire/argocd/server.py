"""How is Argo CD driven through argocd-server? The same questions as through the cluster, asked over REST.

For users without cluster access. Workloads come from argocd-server too: a Deployment and pods as its live objects,
one request each.

Source: Argo CD v3.5.1, server/application/application.go; docs/developer-guide/api-docs.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from platform_lib import guard
from platform_lib.errors import (
    ApiError,
    Forbidden,
    Invalid,
    Locked,
    NotFound,
    RollbackRefused,
    SyncRefused,
    Unreachable,
)
from platform_lib.model import App, Obj, Platform
from platform_lib.rules import application as rules
from platform_lib.rules import manifests, syncrequest, workload
from platform_lib.rules.syncrequest import SyncRequest
from platform_lib.wire.argocd.door import Change, OnEvent
from platform_lib.wire.argocd.following import ServerView
from platform_lib.wire.argocd.rest import Rest

MOST_PODS = 50
"""Pods that are read one by one; more are left out, which the view says."""
_REFRESH_S = 2.0


def client(platform: Platform, timeout_s: float) -> Rest:
    """Return the client of a platform's argocd-server; each change of Argo CD passes the guard."""
    return _client(platform, timeout_s)


@lru_cache(maxsize=8)
def _client(platform: Platform, timeout_s: float) -> Rest:
    """Keep one client, and so its connections, per platform."""
    return Rest(
        platform.argocd_url,
        token=platform.argocd_token,
        ca=platform.argocd_ca,
        before_change=partial(guard.check, platform),
        timeout_s=timeout_s,
    )


class ServerDoor:
    """Drives the Applications of one namespace.

    Args:
        rest: Client.
        namespace: Of the Applications.
    """

    def __init__(self, rest: Rest, namespace: str) -> None:
        self.rest, self._namespace = rest, namespace

    def path(self, name: str, sub: str = "") -> str:
        """Return the path of an Application or of something below it."""
        return "/".join(part for part in (f"/applications/{quote(name)}", sub) if part)

    @property
    def query(self) -> dict[str, Any]:
        """The query that every question carries."""
        return {"appNamespace": self._namespace}

    def read(self, name: str) -> Obj:
        """Return an Application; NotFound when there is none.

        Without a project argocd-server answers 403 for an absent one, so the list, which shows what may be seen,
        tells the two apart.
        """
        try:
            return _whole(self.rest.json("GET", self.path(name), params=self.query))
        except Forbidden as error:
            if error.status != 403 or self._listed(name):
                raise
            raise NotFound(
                f"Application {name} - argocd-server shows none of that name to this token", status=404
            ) from error

    def _listed(self, name: str) -> bool:
        """Tell whether the list of what may be seen has an Application of that name here."""
        answer = self.rest.json("GET", "/applications", params={**self.query, "name": name, "fields": _NAMES_ONLY})
        return any(manifests.name(one) == name for one in answer.get("items") or [])

    def elsewhere(self, name: str) -> list[str]:
        """Return other namespaces that have an Application of that name, as far as they may be seen."""
        try:
            answer = self.rest.json("GET", "/applications", params={"name": name, "fields": _NAMES_ONLY})
        except ApiError:
            return []  # only to help the reader of an error that is raised anyway
        found = [one for one in answer.get("items") or [] if manifests.name(one) == name]
        return sorted(namespace for namespace in map(manifests.namespace, found) if namespace)

    def update(self, name: str, change: Change) -> Obj:
        """Change annotations and specification by a merge patch; the server merges it into what is there then."""
        seen = self.read(name)
        patch = change(seen)
        if patch is None:
            return seen
        body = {"name": name, "patch": json.dumps(patch), "patchType": "merge", **self._about(seen)}
        return _whole(self.rest.json("PATCH", self.path(name), body=body))

    def _about(self, seen: Obj) -> dict[str, str]:
        """Return what a request says of its Application: with the project a refusal is exact."""
        return {"appNamespace": self._namespace, "project": str(manifests.spec(seen).get("project") or "default")}

    def refresh(self, name: str, *, hard: bool) -> None:
        """Ask for a comparison; the server answers when it is done, which nobody waits for here."""
        params = {**self.query, "refresh": "hard" if hard else "normal"}
        try:
            self.rest.json("GET", self.path(name), params=params, changes=True, timeout_s=_REFRESH_S)
        except Unreachable as error:
            if "Timeout" not in error.message or "Connect" in error.message:
                raise
            # The annotation is set before the server waits; whether it was carried out, the wait finds out.

    def sync(self, name: str, request: SyncRequest, *, user: str) -> str:
        """Request a sync; the initiator is the owner of the token, ``user`` has no say here."""
        seen = self.read(name)
        syncrequest.refuse_sync(seen, request)
        identity = str(uuid4())
        body = {"name": name, **self._about(seen), **syncrequest.server_body(seen, request, identity=identity)}
        self._ask("POST", name, "sync", body)
        return identity

    def rollback(self, name: str, *, history_id: int, prune: bool, dry_run: bool) -> str:
        """Request a rollback; it carries no ``info``, so the operation that was written is its identity."""
        seen = self.read(name)
        syncrequest.rollback(seen, history_id=history_id, prune=prune, dry_run=dry_run)
        body = {"name": name, **self._about(seen), "id": history_id, "prune": prune, "dryRun": dry_run}
        written = self._ask("POST", name, "rollback", body)
        return rules.fingerprint(written.get("operation") or {})

    def terminate(self, name: str) -> bool:
        """Ask to stop the running operation; return whether there was one."""
        seen = self.read(name)
        if rules.operation_state(seen).get("phase") != "Running" or not seen.get("operation"):
            return False
        try:
            self.rest.json("DELETE", self.path(name, "operation"), params=self._about(seen))
        except Invalid as error:
            if "No operation is in progress" not in error.said:
                raise
            return False
        return True

    def _ask(self, method: str, name: str, sub: str, body: Obj) -> Obj:
        """Send a request and translate what the server refuses by rule."""
        try:
            return self.rest.json(method, self.path(name, sub), body=body)
        except (Invalid, Forbidden) as error:
            raise _by_rule(name, error) or error from error

    def project(self, name: str) -> Obj | None:
        """Return an AppProject, None where it is absent or may not be read."""
        try:
            return self.rest.json("GET", f"/projects/{quote(name)}")
        except (Forbidden, NotFound):
            return None  # the controller holds to it whether we may read it or not

    def controller(self) -> str:
        """Say nothing: argocd-server does not tell whether a controller is there."""
        return ""

    def live(self, name: str, app: App, *, group: str, kind: str, resource: str) -> Obj | None:
        """Return one live object of an Application; None when it is absent."""
        params = {
            **self.query,
            "namespace": app.namespace,
            "resourceName": resource,
            "version": "v1alpha1" if group == "argoproj.io" else "v1",
            "group": group,
            "kind": kind,
        }
        try:
            answer = self.rest.json("GET", self.path(name, "resource"), params=params)
        except (NotFound, Invalid):
            return None  # Invalid: "not found as part of application" while it is not there yet
        found: Obj = json.loads(answer.get("manifest") or "{}")
        return found or None

    def deployment(self, app: App) -> Obj | None:
        """Return the application's Deployment."""
        return self.live(app.application_name, app, group="apps", kind="Deployment", resource=app.name)

    def rollout(self, app: App) -> Obj | None:
        """Return the Rollout that took the Deployment's pods over, where it is part of the same Application."""
        try:
            found = self.live(app.application_name, app, group="argoproj.io", kind="Rollout", resource=app.name)
        except Forbidden:
            return None
        return found if found is not None and workload.takes_over(found, app.name) else None

    def pods(self, app: App) -> list[Obj]:
        """Return the application's pods, at most ``MOST_PODS``."""
        tree = self.rest.json("GET", self.path(app.application_name, "resource-tree"), params=self.query)
        named = [node for node in tree.get("nodes") or [] if _is_pod(node, app)]
        found = [
            self.live(app.application_name, app, group="", kind="Pod", resource=node["name"])
            for node in named[:MOST_PODS]
        ]
        return [pod for pod in found if pod is not None]

    def view(self, app: App, on_event: OnEvent | None) -> ServerView:
        """Return a not yet opened view of the application."""
        return ServerView(
            self.rest,
            {**self.query, "name": app.application_name},
            deployment=lambda: self.deployment(app),
            pods=lambda: self.pods(app),
            on_event=on_event,
        )


_NAMES_ONLY = "items.metadata.name,items.metadata.namespace"


def _whole(application: Obj) -> Obj:
    """Say what kind of object it is, which the REST API leaves out."""
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **application}


def _is_pod(node: Mapping[str, Any], app: App) -> bool:
    """Tell whether a node of the resource tree is a pod of the application."""
    return node.get("kind") == "Pod" and not node.get("group") and node.get("namespace") == app.namespace


def _by_rule(name: str, error: ApiError) -> Locked | RollbackRefused | SyncRefused | None:
    """Translate a refusal that one of Argo CD's rules gives; None for any other."""
    said = str(error.said)
    if "another operation is already in progress" in said:
        return Locked(f"{name} - {said}, none was expected", hint="wait for it, or terminate it", holder="argocd")
    if "rollback" in said or "does not have deployment" in said:
        return RollbackRefused(f"{name} - {said}", hint="pause automation first, or roll back by git revert")
    if "sync window" in said:
        return SyncRefused(f"{name} - {said}", hint="wait until the window opens; see apqx status", app=name)
    if "is deleting" in said or "Cannot sync" in said or "was disabled" in said:
        return SyncRefused(f"{name} - {said}", hint="commit the change to the branch, or pause automation", app=name)
    return None
