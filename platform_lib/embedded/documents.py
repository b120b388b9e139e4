"""What does the server say about itself? Health, version, discovery and schemas; all of it read-only."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from platform_lib.embedded import answers
from platform_lib.embedded.negotiation import accepts
from platform_lib.embedded.registry import CRDS
from platform_lib.embedded.schemacache import KUBERNETES_VERSION

if TYPE_CHECKING:
    from platform_lib.embedded.api import Api
    from platform_lib.embedded.openapi import OpenApi

HEALTH = ("/healthz", "/livez", "/readyz")
PUBLIC = frozenset({*HEALTH, "/version"})
"""Paths that answer without a token: clients probe them before they log in."""

_AGGREGATED = {"g": "apidiscovery.k8s.io", "v": "v2", "as": "APIGroupDiscoveryList"}


class Documents:
    """Builds each document once and again when the set of kinds changes."""

    def __init__(self, api: Api, schema_file: Path) -> None:
        self._api, self._schema_file = api, schema_file
        self._cache: dict[tuple[str, bool], bytes | None] = {}
        self._version = self._openapi_version = -1
        self._openapi_documents: OpenApi | None = None

    def get(self, path: str, accept: str) -> web.Response | None:
        """Return the answer for a path, or None when nobody serves it."""
        path = path.rstrip("/") or "/"
        if path in HEALTH or path.startswith(tuple(f"{name}/" for name in HEALTH)):
            return answers.text("ok")
        if path == "/version":
            return answers.document(version_document())
        if path.startswith("/openapi/v3"):
            return self._openapi(path)
        return self._discovery(path, accept)

    def _discovery(self, path: str, accept: str) -> web.Response | None:
        """Serve ``/api``, ``/apis`` and what is below them, from bytes kept until the set of kinds changes."""
        from platform_lib.embedded import discovery

        if self._version != self._api.registry.version:
            self._version = self._api.registry.version
            self._cache.clear()
        aggregated = path in ("/api", "/apis") and accepts(accept, "application/json", **_AGGREGATED)
        key = (path, aggregated)
        if key not in self._cache:
            found = discovery.document(path, self._api.registry.all(), aggregated=aggregated)
            self._cache[key] = None if found is None else orjson.dumps(found)
        body = self._cache[key]
        if body is None:
            return None
        answer = answers.raw(body)
        if aggregated:
            options = ";".join(f"{name}={value}" for name, value in _AGGREGATED.items())
            answer.headers["Content-Type"] = f"application/json;{options}"
        return answer

    def _openapi(self, path: str) -> web.Response | None:
        """Serve the OpenAPI v3 index and documents; clients keep a document by the hash in its URL."""
        if self._openapi_documents is None:
            from platform_lib.embedded.openapi import OpenApi

            self._openapi_documents = OpenApi(self._schema_file)
        if self._openapi_version != self._api.registry.version:
            self._openapi_version = self._api.registry.version
            self._openapi_documents.set_crds(self._api.store.list(CRDS))
        if path == "/openapi/v3":
            return answers.document(self._openapi_documents.index())
        body = self._openapi_documents.document(path.removeprefix("/openapi/v3/"))
        if body is None:
            return None
        return answers.raw(body, headers={"Cache-Control": "public, immutable"})


def version_document() -> dict[str, str]:
    """Return what ``/version`` answers."""
    major, minor, _ = KUBERNETES_VERSION.split(".")
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{KUBERNETES_VERSION}+apqx",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{machine}",
    }
