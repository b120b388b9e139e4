"""argocd-server's answers as they were recorded from its source, and what the client makes of them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from platform_lib import errors
from platform_lib.model import App
from platform_lib.rules import application as rules
from platform_lib.wire.argocd.rest import Rest, refusal
from platform_lib.wire.argocd.server import ServerDoor
from platform_lib.wire.kube import APPLICATIONS

APP = {
    "metadata": {"name": "web", "namespace": "argocd", "resourceVersion": "7"},
    "spec": {"project": "shop", "source": {"repoURL": "u", "targetRevision": "main"}, "destination": {}},
    "status": {"history": [{"id": 3, "revision": "b" * 40, "source": {"repoURL": "u"}}]},
}


def grpc(code: int, message: str) -> str:
    """The body that grpc-gateway v1 writes."""
    return json.dumps({"error": message, "code": code, "message": message})


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, grpc(16, "invalid session: token has expired"), errors.Forbidden, ["401 Unauthenticated", "expired"]),
        (403, grpc(7, "permission denied"), errors.Forbidden, ["403 PermissionDenied", "no such Application", "can-i"]),
        (404, grpc(5, 'applications.argoproj.io "web" not found'), errors.NotFound, ['"web" not found']),
        (400, grpc(9, "application is deleting"), errors.Invalid, ["400 FailedPrecondition", "is deleting"]),
        (400, grpc(3, "patch type is not supported"), errors.Invalid, ["not supported"]),
        (409, grpc(10, "conflict"), errors.Conflict, ["409"]),
        (409, grpc(6, "existing application spec is different"), errors.AlreadyExists, ["different"]),
        (500, grpc(13, "Failed to update application. Too many conflicts"), errors.ApiError, ["Too many conflicts"]),
        (503, grpc(14, "connection refused"), errors.Unreachable, ["not available", "get deploy argocd-server"]),
        (502, "Bad Gateway", errors.Unreachable, ["not available (502)"]),
        (200, "<!doctype html><title>Argo CD</title>", errors.Unreachable, ["a page", "base URL of argocd-server"]),
    ],
)
def test_each_refusal_has_its_class_its_words_and_a_next_step(
    status: int, body: str, kind: type[errors.PlatformError], words: list[str]
) -> None:
    found = refusal("GET", "/applications/web", status, body)
    assert type(found) is kind
    for word in words:
        assert word in str(found)


class Recorded:
    """A server that gives recorded answers and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.headers: dict[str, str] = {}
        self.asked: list[tuple[str, Any]] = []
        self.tokens: list[str | None] = []


@pytest.fixture
def recorded() -> Iterator[tuple[Recorded, str]]:
    found = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Say nothing: the test asserts."""

        def reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            key = f"{self.command} {self.path.partition('?')[0].removeprefix('/api/v1')}"
            found.asked.append((f"{self.command} {self.path.removeprefix('/api/v1')}", body))
            found.tokens.append(self.headers.get("Authorization"))
            status, text = found.answers.get(key, (404, grpc(5, "not recorded")))
            self.send_response(status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = do_DELETE = reply

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield found, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(5)


def door(url: str, **options: Any) -> ServerDoor:
    return ServerDoor(Rest(url, **options), "argocd")


def test_a_forbidden_answer_for_an_absent_application_becomes_not_found(recorded: tuple[Recorded, str]) -> None:
    """argocd-server answers 403 without a project, so that nobody can tell what exists."""
    server, url = recorded
    server.answers["GET /applications/web"] = (403, grpc(7, "permission denied"))
    server.answers["GET /applications"] = (200, json.dumps({"metadata": {}, "items": None}))
    with pytest.raises(errors.NotFound, match="shows none of that name to this token"):
        door(url).read("web")
    server.answers["GET /applications"] = (200, json.dumps({"items": [APP]}))
    with pytest.raises(errors.Forbidden, match="permission denied"):
        door(url).read("web")


def test_a_sync_says_what_the_server_does_not_know_and_no_more(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    server.answers["GET /applications/web"] = (200, json.dumps(APP))
    server.answers["POST /applications/web/sync"] = (200, json.dumps(APP))
    from platform_lib.rules.syncrequest import SyncRequest

    identity = door(url).sync("web", SyncRequest(revision="main", prune=True), user="me")
    asked, body = server.asked[-1]
    assert asked.startswith("POST /applications/web/sync")
    assert body == {
        "name": "web",
        "appNamespace": "argocd",
        "project": "shop",
        "revision": "main",
        "prune": True,
        "dryRun": False,
        "strategy": {"hook": {}},
        "infos": [{"name": rules.OPERATION_ID, "value": identity}],
    }


def test_a_rollback_is_recognised_by_the_operation_that_was_written(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    operation = {"sync": {"revision": "b" * 40, "syncStrategy": {"apply": {}}}, "initiatedBy": {"username": "me"}}
    server.answers["GET /applications/web"] = (200, json.dumps(APP))
    server.answers["POST /applications/web/rollback"] = (200, json.dumps(APP | {"operation": operation}))
    identity = door(url).rollback("web", history_id=3, prune=False, dry_run=False)
    assert rules.carries({"status": {"operationState": {"operation": operation}}}, identity)
    other = {"sync": {"revision": "c" * 40}}
    assert not rules.carries({"status": {"operationState": {"operation": other}}}, identity)


@pytest.mark.parametrize(
    ("code", "status", "message", "kind"),
    [
        (9, 400, "error setting app operation: another operation is already in progress", errors.Locked),
        (7, 403, "cannot sync: blocked by sync window", errors.SyncRefused),
        (9, 400, "Cannot sync to abc: auto-sync currently set to main", errors.SyncRefused),
        (9, 400, "application is deleting", errors.SyncRefused),
        (9, 400, "something else", errors.Invalid),
    ],
)
def test_what_the_server_refuses_by_rule_has_the_class_of_the_other_door(
    recorded: tuple[Recorded, str], code: int, status: int, message: str, kind: type[errors.PlatformError]
) -> None:
    from platform_lib.rules.syncrequest import SyncRequest

    server, url = recorded
    server.answers["GET /applications/web"] = (200, json.dumps(APP))
    server.answers["POST /applications/web/sync"] = (status, grpc(code, message))
    with pytest.raises(kind) as caught:
        door(url).sync("web", SyncRequest(), user="me")
    assert type(caught.value) is kind and message in str(caught.value)


def test_terminating_nothing_is_no_error(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    running = APP | {"operation": {"sync": {}}, "status": {"operationState": {"phase": "Running"}}}
    server.answers["GET /applications/web"] = (200, json.dumps(running))
    gone = grpc(3, "Unable to terminate operation. No operation is in progress")
    server.answers["DELETE /applications/web/operation"] = (400, gone)
    assert door(url).terminate("web") is False
    server.answers["DELETE /applications/web/operation"] = (200, "{}")
    assert door(url).terminate("web") is True


def test_a_redirect_to_a_login_page_gets_no_token_and_is_named(
    recorded: tuple[Recorded, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, url = recorded
    server.answers["GET /applications/web"] = (302, "")
    server.headers["Location"] = f"{url}/login?next=x"
    monkeypatch.setenv("REST_REFERENCE", "canary-value")
    with pytest.raises(errors.Unreachable, match="302 with a redirect to /login"):
        door(url, token="env:REST_REFERENCE").read("web")
    assert len(server.asked) == 1 and server.tokens == ["Bearer canary-value"]


def test_a_netrc_never_replaces_the_token(
    recorded: tuple[Recorded, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server, url = recorded
    server.answers["GET /applications/web"] = (200, json.dumps(APP))
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    token = tmp_path / "token"
    token.write_text("canary-first\n")
    way = door(url, token=f"file:{token}")
    way.read("web")
    token.write_text("canary-second\n")  # a rotated file counts at once
    way.read("web")
    assert server.tokens == ["Bearer canary-first", "Bearer canary-second"]


def test_a_token_does_not_travel_in_the_clear() -> None:
    with pytest.raises(errors.SettingsError, match="without encryption, expected https"):
        Rest("http://argocd.example", token="env:ANY")
    with pytest.raises(errors.SettingsError, match="no URL of a server"):
        Rest("argocd.example:443")
    with pytest.raises(errors.SettingsError, match=r"argocd_ca .* no such file"):
        Rest("https://argocd.example", ca=Path("/nowhere/ca.crt"))


def test_a_token_that_is_no_reference_is_refused_without_being_shown(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    with pytest.raises(errors.InvalidInput, match="argocd_token - a plain value is refused") as caught:
        door(url, token="canary-of-a-plain-token").read("web")
    assert "canary" not in str(caught.value) and server.asked == []


def test_every_change_asks_the_guard_first(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    server.answers["GET /applications/web"] = (200, json.dumps(APP))

    def refuse(what: str) -> None:
        raise errors.GuardRefused(what)

    way = door(url, before_change=refuse)
    with pytest.raises(errors.GuardRefused, match=r"GET .*/applications/web"):
        way.refresh("web", hard=False)
    with pytest.raises(errors.GuardRefused, match="PATCH"):
        way.update("web", lambda _seen: {"metadata": {"annotations": {"a": "b"}}})
    with pytest.raises(errors.GuardRefused, match="POST"):
        way.rollback("web", history_id=3, prune=False, dry_run=False)
    assert {asked.split(" ")[0] for asked, _ in server.asked} == {"GET"}


def test_a_stream_is_followed_and_its_error_is_said(recorded: tuple[Recorded, str]) -> None:
    server, url = recorded
    newer = APP | {"metadata": APP["metadata"] | {"resourceVersion": "9"}}
    older = APP | {"metadata": APP["metadata"] | {"resourceVersion": "8"}}
    failed = {"error": {"grpc_code": 7, "http_code": 403, "message": "permission denied"}}
    lines = [{"result": {"type": "MODIFIED", "application": one}} for one in (APP, newer, older)] + [failed]
    server.answers["GET /stream/applications"] = (200, "\n".join(map(json.dumps, lines)) + "\n")
    with door(url).view(App("web"), None) as view:
        for _ in range(100):
            if view.trouble():
                break
            view.wait(0.1)
        assert "403 PermissionDenied" in view.trouble()
        found = view.find(APPLICATIONS, "web")
        assert found is not None and found["metadata"]["resourceVersion"] == "9"  # an older one came after it


def test_a_stream_that_is_quiet_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_lib.wire.argocd.rest._STREAM_S", 0.3)
    line = json.dumps({"result": {"type": "ADDED", "application": APP}}).encode() + b"\n"
    let_go = threading.Event()

    class Quiet(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing: the test asserts."""

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
            let_go.wait(10)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        rest = Rest(f"http://127.0.0.1:{server.server_port}")
        events = list(rest.lines("/stream/applications", params={}, opened=lambda _answer: None))
        assert [event["type"] for event in events] == ["ADDED"]
    finally:
        let_go.set()
        server.shutdown()
        server.server_close()
