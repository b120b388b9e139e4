"""How do the parts of the embedded platform that are outside the API process reach it?

A small asynchronous client of the Kubernetes wire protocol for node agents, the GitOps controller and the
scraper. They could talk to any Kubernetes API server with it. Resources are named ``group/version/plural``
(``v1/pods``, ``apps/v1/deployments``).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from platform_lib.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NotFound,
    Unreachable,
)
from platform_lib.model import Obj

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"


def resource_path(gvr: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Build the URL path of a resource from ``group/version/plural`` (core group: ``v1/plural``)."""
    group_version, plural = gvr.rsplit("/", 1)
    root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
    parts = [root]
    if namespace:
        parts.append(f"namespaces/{namespace}")
    parts.append(plural)
    parts += [part for part in (name, sub) if part]
    return "/".join(parts)


def error_for(status: int, body: bytes, what: str) -> ApiError:
    """Map a refusal to the library's error tree by HTTP code and ``Status.reason``."""
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        doc = {}
    reason = str(doc.get("reason", "")) if isinstance(doc, dict) else ""
    message = str(doc.get("message", "")) if isinstance(doc, dict) else ""
    message = message or body[:200].decode(errors="replace")
    kind: type[ApiError] = {
        401: Forbidden,
        403: Forbidden,
        404: NotFound,
        410: Expired,
        400: Invalid,
        422: Invalid,
    }.get(status, ApiError)
    if status == 409:
        kind = AlreadyExists if reason == "AlreadyExists" else Conflict
    return kind(f"{what} - {message or status}", status=status, reason=reason, body=doc)


class Client:
    """One connection pool to one API server; use it as an async context manager."""

    def __init__(self, server: str, token: str, ca_file: Path, *, user_agent: str, timeout_s: float = 10.0) -> None:
        self.server = server
        self._ca_file = ca_file
        self._headers = {
            "Authorization": f"Bearer {token}",
            "User-Agent": user_agent,
            "Accept": "application/json",
        }
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        context = ssl.create_default_context(cafile=str(self._ca_file))
        self._session = aiohttp.ClientSession(
            self.server,
            headers=self._headers,
            timeout=self._timeout,
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            trust_env=False,
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open connection pool."""
        if self._session is None:
            raise RuntimeError("Client is used outside 'async with'")
        return self._session

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: dict[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Obj:
        """Send one request and return the decoded answer.

        Raises:
            ApiError: The server refused (subclass by code and reason).
            Unreachable: No answer.
        """
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": content_type} if data is not None else None
        try:
            async with self.session.request(method, path, data=data, params=params, headers=headers) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path} - no answer: {error!r}", url=self.server) from error
        if answer.status >= 400:
            raise error_for(answer.status, raw, f"{method} {path}")
        decoded: Obj = orjson.loads(raw) if raw else {}
        return decoded

    async def get(self, gvr: str, name: str, namespace: str | None = None) -> Obj:
        """Read one object."""
        return await self.request("GET", resource_path(gvr, namespace, name))

    async def list(
        self, gvr: str, namespace: str | None = None, *, labels: str | None = None, fields: str | None = None
    ) -> Obj:
        """Read a list object (``items``, ``metadata.resourceVersion``)."""
        params = {k: v for k, v in (("labelSelector", labels), ("fieldSelector", fields)) if v}
        return await self.request("GET", resource_path(gvr, namespace), params=params)

    async def create(self, gvr: str, obj: Obj, namespace: str | None = None, *, sub: str | None = None) -> Obj:
        """Create an object, or post to a subresource of ``obj.metadata.name``."""
        name = obj["metadata"]["name"] if sub else None
        return await self.request("POST", resource_path(gvr, namespace, name, sub), body=obj)

    async def update(self, gvr: str, obj: Obj, namespace: str | None = None, *, sub: str | None = None) -> Obj:
        """Replace an object (guarded by its resourceVersion when it carries one)."""
        return await self.request("PUT", resource_path(gvr, namespace, obj["metadata"]["name"], sub), body=obj)

    async def patch(
        self,
        gvr: str,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        content_type: str = MERGE,
        sub: str | None = None,
        params: dict[str, str] | None = None,
    ) -> Obj:
        """Patch an object."""
        path = resource_path(gvr, namespace, name, sub)
        return await self.request("PATCH", path, body=body, params=params, content_type=content_type)

    async def apply(
        self,
        gvr: str,
        obj: Obj,
        namespace: str | None = None,
        *,
        manager: str,
        force: bool = True,
        dry_run: bool = False,
    ) -> Obj:
        """Server-side apply."""
        params = {"fieldManager": manager, "force": str(force).lower()}
        if dry_run:
            params["dryRun"] = "All"
        name = obj["metadata"]["name"]
        return await self.patch(gvr, name, obj, namespace, content_type=APPLY, params=params)

    async def delete(
        self, gvr: str, name: str, namespace: str | None = None, *, options: dict[str, Any] | None = None
    ) -> Obj:
        """Delete an object; ``options`` is a DeleteOptions body."""
        return await self.request("DELETE", resource_path(gvr, namespace, name), body=options)

    async def watch(
        self,
        gvr: str,
        resource_version: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        timeout_s: int = 300,
    ) -> AsyncIterator[tuple[str, Obj]]:
        """Yield (type, object) until the server ends the stream.

        Raises:
            Expired: The version is too old (HTTP 410 or an ERROR event with code 410).
            Unreachable: The connection broke.
        """
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_s),
        }
        params |= {k: v for k, v in (("labelSelector", labels), ("fieldSelector", fields)) if v}
        path = resource_path(gvr, namespace)
        no_total = aiohttp.ClientTimeout(total=None, sock_connect=5)
        try:
            async with self.session.get(path, params=params, timeout=no_total) as answer:
                if answer.status >= 400:
                    raise error_for(answer.status, await answer.read(), f"watch {path}")
                async for line in _lines(answer):
                    event = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise error_for(
                            event["object"].get("code", 500), orjson.dumps(event["object"]), f"watch {path}"
                        )
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"watch {path} - connection broke: {error!r}", url=self.server) from error


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Split a chunked answer into lines of any length."""
    pending = b""
    async for chunk in answer.content.iter_any():
        pending += chunk
        *complete, pending = pending.split(b"\n")
        for line in complete:
            if line:
                yield line


Handler = Callable[[str, Obj], Awaitable[None] | None]


class Informer:
    """A cache of one resource that follows the server: list, watch, resume, relist after 410.

    Args:
        client: Open client.
        gvr: Resource.
        namespace, labels, fields: Restrict what is followed.
        on_event: Called with (ADDED|MODIFIED|DELETED, object) after the cache changed.
    """

    def __init__(
        self,
        client: Client,
        gvr: str,
        *,
        namespace: str | None = None,
        labels: str | None = None,
        fields: str | None = None,
        on_event: Handler | None = None,
    ) -> None:
        self.cache: dict[tuple[str, str], Obj] = {}
        self.synced = asyncio.Event()
        self._client, self._gvr, self._namespace = client, gvr, namespace
        self._labels, self._fields, self._on_event = labels, fields, on_event

    async def run(self) -> None:
        """Follow the server until cancelled; reconnects after errors with a short back-off."""
        version, backoff_s = "", 0.05
        while True:
            try:
                if not version:
                    version = await self._relist()
                    self.synced.set()
                stream = self._client.watch(
                    self._gvr, version, self._namespace, labels=self._labels, fields=self._fields
                )
                async for kind, obj in stream:
                    version = obj["metadata"]["resourceVersion"]
                    backoff_s = 0.05
                    if kind != "BOOKMARK":
                        await self._store(kind, obj)
            except Expired:
                version = ""
            except (Unreachable, ApiError):
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, 1.0)

    async def _relist(self) -> str:
        """Read everything, tell the differences, return the version to watch from."""
        answer = await self._client.list(self._gvr, self._namespace, labels=self._labels, fields=self._fields)
        group_version = self._gvr.rsplit("/", 1)[0]
        fresh = {}
        for obj in answer["items"]:
            obj.setdefault("apiVersion", group_version)
            fresh[_key(obj)] = obj
        for obj in [obj for key, obj in self.cache.items() if key not in fresh]:
            await self._store("DELETED", obj)
        for key, obj in fresh.items():
            old = self.cache.get(key)
            if old is None:
                await self._store("ADDED", obj)
            elif old["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]:
                await self._store("MODIFIED", obj)
        return str(answer["metadata"]["resourceVersion"])

    async def _store(self, kind: str, obj: Obj) -> None:
        """Change the cache, then call the handler."""
        if kind == "DELETED":
            self.cache.pop(_key(obj), None)
        else:
            self.cache[_key(obj)] = obj
        if self._on_event is not None:
            waiting = self._on_event(kind, obj)
            if waiting is not None:
                await waiting


def _key(obj: Obj) -> tuple[str, str]:
    """(namespace, name); the namespace is empty for cluster-wide kinds."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
