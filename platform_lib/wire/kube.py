"""How does the library talk to a Kubernetes API? Raw JSON over the official client; no policy here.

The official package gives TLS, kubeconfig and authentication. Its typed models are not used: objects
stay dictionaries, and its import (0.4 s) happens on the first connection. Every failure is translated
to ``platform_lib.errors``. A client that follows lists over time is ``wire.follow``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from platform_lib import errors, guard
from platform_lib.model import Obj, Platform
from platform_lib.wire import kubeerrors
from platform_lib.wire.kubetransport import transport

APPLICATIONS = "argoproj.io/v1alpha1/applications"
DEPLOYMENTS = "apps/v1/deployments"
ROLLOUTS = "argoproj.io/v1alpha1/rollouts"
EVENTS = "v1/events"
NODES = "v1/nodes"
PODS = "v1/pods"
REPLICASETS = "apps/v1/replicasets"

Objects = list[Obj]

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
DRY_RUN = "All"
"""Value of the query parameter ``dryRun`` with which the server answers what a write would do, and stores nothing."""

_CONNECT_S = 3.0
_REVIEWS = ("/apis/authorization.k8s.io/", "/apis/authentication.k8s.io/")
"""Questions that are asked with POST and change nothing."""
_READ_S = 30.0


def path_of(gvr: str, namespace: str | None = None, name: str = "", sub: str = "") -> str:
    """Return the URL path of a resource.

    Args:
        gvr: ``v1/pods`` or ``apps/v1/deployments``.
        namespace: None for cluster-scoped kinds and for lists over all namespaces.
        name: Object, or empty for the collection.
        sub: Subresource such as ``eviction``.
    """
    group_version, _, plural = gvr.rpartition("/")
    root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
    parts = [root, f"namespaces/{quote(namespace)}" if namespace else "", plural, quote(name), sub]
    return "/".join(part for part in parts if part)


class Kube:
    """One authenticated connection to one API server; safe to share between threads.

    Args:
        kubeconfig: File with the credentials.
        context: Context inside the file.
        before_change: Called with method and path before each request that changes something; refuses by raising.
        ours: The workbench brought the cluster up; decides which next step an error names.
    """

    def __init__(
        self,
        kubeconfig: Path,
        context: str,
        *,
        before_change: Callable[[str], None] = lambda _what: None,
        ours: bool = True,
    ) -> None:
        self._request, self.origin = transport(kubeconfig, context, ours=ours)
        self.context, self._before_change = context, before_change

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = _READ_S,
    ) -> Any:
        """Send one request and return the open answer (an ``urllib3`` response).

        Raises:
            ApiError: The server refused; the subclass tells why.
            Unreachable: No answer within ``timeout_s``, or no connection.
        """
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException
        from kubernetes.dynamic.exceptions import DynamicApiError

        asks_only = method == "GET" or path.startswith(_REVIEWS) or (params or {}).get("dryRun") == DRY_RUN
        if not asks_only:
            self._before_change(f"{method} {path}")
        try:
            return self._request(
                method,
                path,
                body=body,
                serialize=False,
                query_params=[(key, _text(value)) for key, value in (params or {}).items() if value is not None],
                content_type=content_type,
                header_params={"Accept": accept},
                _request_timeout=(_CONNECT_S, timeout_s),
            )
        except (ApiException, DynamicApiError) as error:
            if not error.status:  # the client turns a failed handshake into an answer without a status
                raise self._silent(method, path, error, timeout_s) from error
            raise kubeerrors.of_answer(method, path, int(error.status), error.body, self.origin) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._silent(method, path, error, timeout_s) from error

    def json(self, method: str, path: str, **options: Any) -> Obj:
        """Send one request and return the decoded JSON answer; errors as in ``call``."""
        import urllib3.exceptions

        answer = self.call(method, path, **options)
        try:
            document: Obj = json.loads(answer.data)
        except ValueError as error:
            text = bytes(answer.data).decode("utf-8", "replace")
            raise kubeerrors.not_an_api(method, path, text, self.origin, status=answer.status) from error
        except urllib3.exceptions.HTTPError as error:
            raise self._silent(method, path, error) from error
        return document

    def _silent(self, method: str, path: str, error: BaseException, timeout_s: float = _READ_S) -> errors.Unreachable:
        """Return the error for a server that did not answer."""
        return kubeerrors.of_silence(method, path, error, self.origin, connect_s=_CONNECT_S, read_s=timeout_s)

    def proxied(
        self, namespace: str, service: str, path: str, *, params: Mapping[str, Any], timeout_s: float
    ) -> tuple[int, bytes]:
        """Ask a Service over HTTP through the API server; return its own status and body.

        Args:
            namespace: Of the Service.
            service: ``name:port``.
            path: Below the Service.
            params: Query parameters.
            timeout_s: Time for the answer.

        Raises:
            Forbidden, NotFound, ApiError: The API server itself refused (``services/proxy``, no such Service).
            Unreachable: No answer.
        """
        from kubernetes.client.exceptions import ApiException
        from kubernetes.dynamic.exceptions import DynamicApiError

        where = f"{path_of('v1/services', namespace, service, 'proxy')}/{path}"
        try:
            answer = self.call("GET", where, params=params, timeout_s=timeout_s)
        except errors.ApiError as error:
            cause = error.__cause__
            said = (cause.body or "") if isinstance(cause, (ApiException, DynamicApiError)) else ""
            body = said if isinstance(said, bytes) else str(said).encode()
            if b'"kind":"Status"' in body.replace(b" ", b""):
                raise
            return int(error.status), body
        return int(answer.status), bytes(answer.data)

    def get(self, gvr: str, name: str, namespace: str | None = None) -> Obj:
        """Read one object; NotFound when it is absent."""
        return self.json("GET", path_of(gvr, namespace, name))

    def find(self, gvr: str, name: str, namespace: str | None = None) -> Obj | None:
        """Read one object, or None when it is absent."""
        try:
            return self.get(gvr, name, namespace)
        except errors.NotFound:
            return None

    def list(
        self, gvr: str, namespace: str | None = None, *, labels: str = "", fields: str = ""
    ) -> tuple[Objects, str]:
        """Return the objects and the version to watch from."""
        params = {"labelSelector": labels or None, "fieldSelector": fields or None}
        answer = self.json("GET", path_of(gvr, namespace), params=params)
        return _typed(answer), str(answer.get("metadata", {}).get("resourceVersion", ""))

    def create(self, gvr: str, obj: Obj, namespace: str | None = None) -> Obj:
        """Create an object; AlreadyExists when the name is taken."""
        return self.json("POST", path_of(gvr, namespace), body=obj)

    def replace(self, gvr: str, obj: Obj, namespace: str | None = None) -> Obj:
        """Replace an object; Conflict when its version is not the current one."""
        return self.json("PUT", path_of(gvr, namespace, obj["metadata"]["name"]), body=obj)

    def patch(
        self,
        gvr: str,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        content_type: str = MERGE_PATCH,
        sub: str = "",
    ) -> Obj:
        """Patch an object; with ``metadata.resourceVersion`` in a merge patch it is a guarded write."""
        return self.json("PATCH", path_of(gvr, namespace, name, sub), body=body, content_type=content_type)

    def delete(
        self, gvr: str, name: str, namespace: str | None = None, *, grace_s: int | None = None, uid: str = ""
    ) -> None:
        """Delete an object; ``uid`` guards against deleting a successor of the same name."""
        body: Obj = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        if uid:
            body["preconditions"] = {"uid": uid}
        self.json("DELETE", path_of(gvr, namespace, name), body=body)

    def evict(self, pod: str, namespace: str) -> None:
        """Evict a pod; refused with status 429 while a PodDisruptionBudget forbids it."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        self.json("POST", path_of(PODS, namespace, pod, "eviction"), body=body)

    def cordon(self, node: str, unschedulable: bool = True) -> None:
        """Stop (or allow again) scheduling of new pods onto a node."""
        self.patch(NODES, node, {"spec": {"unschedulable": unschedulable or None}})

    def logs(
        self,
        pod: str,
        namespace: str,
        *,
        container: str | None = None,
        previous: bool = False,
        tail_lines: int | None = 200,
        since_s: int | None = None,
    ) -> str:
        """Return the last lines a container wrote.

        Args:
            pod: Pod name.
            namespace: Its namespace.
            container: Needed only when the pod has several.
            previous: Read the run before the last restart.
            tail_lines: None for everything the node still has.
            since_s: Only lines of the last seconds.
        """
        params = {
            "container": container,
            "previous": True if previous else None,
            "tailLines": tail_lines,
            "sinceSeconds": since_s,
        }
        answer = self.call("GET", path_of(PODS, namespace, pod, "log"), params=params, accept="*/*")
        return bytes(answer.data).decode("utf-8", "replace")

    def events(self, namespace: str, *, name: str = "") -> Objects:
        """Return the events of a namespace, oldest first; ``name`` restricts them to one object."""
        fields = f"involvedObject.name={name}" if name else ""
        items, _ = self.list(EVENTS, namespace, fields=fields)
        return sorted(items, key=_event_time)

    def watch(
        self,
        gvr: str,
        version: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        timeout_s: int = 25,
        opened: Callable[[Any], None] | None = None,
    ) -> Iterator[tuple[str, Obj]]:
        """Yield (type, object) from ``version`` until the server ends the stream.

        Args:
            gvr: Resource.
            version: Resource version to continue from.
            namespace: None for all.
            labels: Label selector.
            fields: Field selector.
            timeout_s: The server ends the stream after this time; the caller resumes.
            opened: Receives the open answer, so that another thread can shut it down.

        Raises:
            Expired: The version is too old; list again.
            Unreachable: The stream broke.
        """
        params = {
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": version,
            "timeoutSeconds": timeout_s,
            "labelSelector": labels or None,
            "fieldSelector": fields or None,
        }
        path = path_of(gvr, namespace)
        answer = self.call("GET", path, params=params, timeout_s=timeout_s + 5.0)
        if opened is not None:
            opened(answer)
        try:
            for line in self._lines(answer, path):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    seen = event["object"]
                    raise kubeerrors.of_status("WATCH", path, int(seen.get("code", 500)), seen, self.origin)
                yield event["type"], event["object"]
        finally:
            answer.close()

    def _lines(self, answer: Any, path: str) -> Iterator[bytes]:
        """Split a chunked answer into lines of any length."""
        import urllib3.exceptions

        pending = b""
        try:
            for chunk in answer.stream(amt=None, decode_content=False):
                *complete, pending = (pending + chunk).split(b"\n")
                yield from (line for line in complete if line.strip())
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # ValueError and AttributeError: urllib3 reading a socket that another thread has shut down.
            raise self._silent("WATCH", path, error) from error


def connect(platform: Platform) -> Kube:
    """Return the connection of a platform; a rewritten kubeconfig gives a new one.

    Raises:
        Unreachable: There is no kubeconfig, so no platform of that name is up.
    """
    try:
        changed = platform.kubeconfig.stat().st_mtime_ns
    except FileNotFoundError as error:
        raise errors.Unreachable(
            f"platform {platform.name} - no kubeconfig where one was expected",
            hint="bring it up with apqx up",
            url=str(platform.kubeconfig),
        ) from error
    return _connected(platform, changed)


@lru_cache(maxsize=8)
def _connected(platform: Platform, _changed_ns: int) -> Kube:
    """Keep one connection per kubeconfig and its time of change; the guard sees every change."""
    ours = platform.provider != "existing"
    return Kube(platform.kubeconfig, platform.context, before_change=partial(guard.check, platform), ours=ours)


def _typed(answer: Obj) -> Objects:
    """Return the items of a list with kind and version: a real API server leaves them out of built-in kinds.

    Source: Kubernetes API concepts; client-go's unstructured lists do the same.
    """
    items = answer.get("items") or []
    kind, version = str(answer.get("kind") or "").removesuffix("List"), str(answer.get("apiVersion") or "")
    for item in items:
        item.setdefault("kind", kind)
        item.setdefault("apiVersion", version)
    return items


def _event_time(event: Obj) -> str:
    """Return when an event happened last, as text that sorts."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _text(value: Any) -> str:
    """Render a query parameter as the API expects it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
