"""A server that plays recorded answers of a Kubernetes API, over real TLS, and notes what it was asked."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import trustme
import yaml

from platform_lib.model import Platform

RECORDED = Path(__file__).parent / "recorded"


def recording(name: str) -> dict[str, Any]:
    """Answers by ``METHOD /path``; ``METHOD /prefix*`` answers all below it. A list is answered by label selector."""
    return json.loads((RECORDED / f"{name}.json").read_text())


@dataclass
class RecordedApi:
    server: ThreadingHTTPServer
    ca: trustme.CA
    answers: dict[str, Any]
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    delay_s: float = 0.0

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_port}"

    @property
    def ca_data(self) -> str:
        return base64.b64encode(self.ca.cert_pem.bytes()).decode()

    def changes(self) -> list[str]:
        """What was asked of it that would have changed something."""
        return [f"{m} {p}" for m, p, _ in self.asked if m != "GET" and "/apis/auth" not in p]

    def answer(self, method: str, path: str, query: dict[str, str]) -> dict[str, Any]:
        found = self.answers.get(f"{method} {path}")
        if found is None:
            fits = [key for key in self.answers if key.endswith("*") and f"{method} {path}".startswith(key[:-1])]
            found = self.answers[max(fits, key=len)] if fits else None
        if isinstance(found, list):
            selector = query.get("labelSelector", "")
            found = next((one for one in found if one.get("selector", selector) in selector), {"body": {"items": []}})
        return found or {"status": 404, "content_type": "text/plain", "body": "404 page not found\n"}


def _handler(api: list[RecordedApi]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _play(self) -> None:
            playing, parts = api[0], urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            playing.asked.append((self.command, self.path, dict(self.headers)))
            playing.bodies.append(json.loads(body) if body else None)
            if playing.delay_s:
                threading.Event().wait(playing.delay_s)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            found = playing.answer(self.command, unquote(parts.path), query)
            if callable(found.get("body")):
                found = {**found, "body": found["body"](playing.bodies[-1])}
            raw = found["body"]
            data = raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()
            self.send_response(found.get("status", 200))
            self.send_header("Content-Type", found.get("content_type", "application/json"))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _play

        def log_message(self, *_: object) -> None:
            return

    return Handler


@contextmanager
def playing(answers: dict[str, Any], *, names: tuple[str, ...] = ("localhost",)) -> Iterator[RecordedApi]:
    """Serve recorded answers under a certificate for ``names``."""
    ca, holder = trustme.CA(), list[RecordedApi]()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(holder))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust us hangs up
    holder.append(RecordedApi(server, ca, answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield holder[0]
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(folder: Path, server: str, *, ca_data: str = "", context: str = "prod", **user: Any) -> Path:
    """Write a kubeconfig with one context, ``prod`` unless told."""
    cluster = {"server": server} | ({"certificate-authority-data": ca_data} if ca_data else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": f"{context}-cluster", "cluster": cluster}],
        "users": [{"name": "jane", "user": user or {"token": "opaque-token"}}],
        "contexts": [
            {"name": context, "context": {"cluster": f"{context}-cluster", "user": "jane", "namespace": "shop"}},
            {"name": "staging", "context": {"cluster": f"{context}-cluster", "user": "jane"}},
        ],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def platform_at(path: Path, home: Path, *, context: str = "prod", **fields: Any) -> Platform:
    """The endpoints of an existing cluster, for looking only."""
    return Platform(
        name=context,
        provider="existing",
        kubeconfig=path,
        context=context,
        prometheus_url=fields.pop("prometheus_url", ""),
        ingress_url="",
        gitops_repo="",
        home=home,
        writable=False,
        **fields,
    )
