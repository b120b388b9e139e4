"""Headers of a Prometheus endpoint hold secrets: they stay with the host they are for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from platform_lib.wire.promhttp import Refused, endpoint, session


@pytest.fixture
def hosts() -> Iterator[tuple[str, list[str]]]:
    """A host that sends everybody to another one, and the keys that the other one was shown."""
    shown: list[str] = []

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            shown.append(self.headers["X-Api-Key"])
            self.send_error(403)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    other = ThreadingHTTPServer(("127.0.0.1", 0), Other)

    class First(Other):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{other.server_port}/login")
            self.end_headers()

    first = ThreadingHTTPServer(("127.0.0.1", 0), First)
    for server in (first, other):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{first.server_port}", shown
    for server in (first, other):
        server.shutdown()
        server.server_close()


def test_a_redirect_is_refused_and_the_next_host_sees_no_header(hosts: tuple[str, list[str]]) -> None:
    url, shown = hosts
    target = endpoint(url, headers={"X-Api-Key": "secret"})
    with pytest.raises(Refused) as caught:
        session(target, lambda _lines: None).get(f"{url}/api/v1/query", timeout=(2, 2))
    assert caught.value.status == 302 and not shown
    assert "set prometheus_url" in caught.value.hint
