"""How a registry refuses, and how the library says so: recorded answers of GHCR and others, replayed on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from platform_lib.errors import ImageError, InvalidInput, Unreachable
from platform_lib.wire.registry import Registry, is_loopback, parse

DIGEST = "sha256:" + "a" * 64
MANIFEST = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
OF_MANIFEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"
UNAUTHORISED = b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
DENIED = b'{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}'
UNKNOWN = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'

Answer = tuple[int, dict[str, str], bytes]


class Ghcr:
    """A registry that answers as GHCR does; each test sets what its token server and its manifests say."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.token: Callable[[str], Answer] = lambda _who: (200, {}, b'{"token":"issuedBearerToken"}')
        self.answer: Callable[[str, str], Answer] = lambda _path, _who: (200, {}, MANIFEST)
        self.scheme = "Bearer"
        self.realm = ""

    def reply(self, path: str, who: str) -> Answer:
        self.seen.append((path, who))
        place = urlsplit(path)
        if place.path == "/token":
            return self.token(who)
        if not who:
            scope = '"repository:you/sample-app:pull"'
            challenge = f'{self.scheme} realm="{self.realm}",service="ghcr.io",scope={scope}'
            return 401, {"WWW-Authenticate": challenge}, UNAUTHORISED
        return self.answer(place.path, who)


@pytest.fixture
def ghcr() -> Iterator[Ghcr]:
    played = Ghcr()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = played.reply(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    played.host = f"127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    played.realm = f"http://{played.host}/token"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


def ask(ghcr: Ghcr, token: str = "") -> Registry:
    return Registry(parse(f"{ghcr.host}/you/sample-app@{DIGEST}"), token=token, timeout_s=5)  # type: ignore[attr-defined]


def test_an_anonymous_token_is_fetched_for_just_this_repository(ghcr: Ghcr) -> None:
    with ask(ghcr) as registry:
        assert registry.manifest(OF_MANIFEST).digest == OF_MANIFEST
        registry.manifest(OF_MANIFEST)
    asked = [(urlsplit(path), who) for path, who in ghcr.seen]
    assert [place.path for place, _ in asked].count("/token") == 1, "the token is kept"
    query = next(parse_qs(place.query) for place, _ in asked if place.path == "/token")
    assert query == {"service": ["ghcr.io"], "scope": ["repository:you/sample-app:pull"]}
    assert [who for place, who in asked if place.path == "/token"] == [""]
    assert asked[-1][1] == "Bearer issuedBearerToken"


def test_a_token_of_ours_goes_to_the_token_server_only(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READS", "ghp_personalAccessToken")
    with ask(ghcr, "env:READS") as registry:
        registry.manifest(OF_MANIFEST)
    pair = base64.b64encode(b"apqx:ghp_personalAccessToken").decode()
    assert [path.partition("?")[0] for path, who in ghcr.seen if pair in who] == ["/token"]


@pytest.mark.parametrize(
    ("status", "body", "kind"), [(401, UNAUTHORISED, "unauthorised"), (403, DENIED, "denied")], ids=["401", "403"]
)
def test_a_private_repository_without_a_token_says_how_to_give_one(
    ghcr: Ghcr, status: int, body: bytes, kind: str
) -> None:
    ghcr.token = lambda _who: (status, {}, body)
    with ask(ghcr) as registry, pytest.raises(ImageError) as caught:
        registry.manifest(DIGEST)
    assert caught.value.kind == kind and caught.value.status == status
    assert f"refused with {status} without a token" in str(caught.value)
    assert "APQX_REGISTRY_TOKEN=env:NAME" in caught.value.hint


def test_an_expired_token_is_named_by_its_reference(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READS", "ghp_expiredTokenValue")
    ghcr.token = lambda who: (403, {}, DENIED) if who else (200, {}, b'{"token":"anonymous"}')
    with ask(ghcr, "env:READS") as registry, pytest.raises(ImageError) as caught:
        registry.manifest(DIGEST)
    assert "with the token of env:READS (DENIED: requested access" in caught.value.message
    assert "read:packages" in caught.value.hint and "expiredTokenValue" not in str(caught.value)


def test_a_token_that_may_not_read_this_package_is_denied(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READS", "ghp_otherRepository")
    ghcr.answer = lambda _path, _who: (403, {}, DENIED)
    with ask(ghcr, "env:READS") as registry, pytest.raises(ImageError) as caught:
        registry.manifest(DIGEST)
    assert caught.value.kind == "denied"


def test_an_absent_manifest_is_not_found_and_an_optional_one_is_none(ghcr: Ghcr) -> None:
    ghcr.answer = lambda _path, _who: (404, {}, UNKNOWN)
    with ask(ghcr) as registry:
        assert registry.find_manifest("sha256-a.sig") is None
        with pytest.raises(ImageError) as caught:
            registry.manifest(DIGEST)
    assert caught.value.kind == "not found" and DIGEST in caught.value.message


def test_a_registry_that_hands_out_something_else_is_not_believed(ghcr: Ghcr) -> None:
    with ask(ghcr) as registry, pytest.raises(ImageError) as caught:
        registry.manifest(DIGEST)
    assert caught.value.kind == "corrupted" and OF_MANIFEST in caught.value.message


def test_a_login_page_is_no_manifest(ghcr: Ghcr) -> None:
    ghcr.answer = lambda _path, _who: (200, {"Content-Type": "text/html"}, b"<html>please log in</html>")
    with ask(ghcr) as registry, pytest.raises(ImageError, match="no JSON object"):
        registry.manifest("1.4.0")


def test_an_answer_without_end_is_cut_off(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_lib.wire.registry.MAX_MANIFEST_BYTES", 1000)
    ghcr.answer = lambda _path, _who: (200, {}, b"x" * 100_000)
    with ask(ghcr) as registry, pytest.raises(ImageError) as caught:
        registry.manifest("1.4.0")
    assert caught.value.kind == "too large"


def test_too_many_requests_are_tried_again_and_then_said(ghcr: Ghcr) -> None:
    tries: list[int] = []

    def busy(_path: str, _who: str) -> Answer:
        tries.append(1)
        return (429, {"Retry-After": "3600"}, b"") if len(tries) < 3 else (200, {}, MANIFEST)

    ghcr.answer = busy
    with ask(ghcr) as registry:
        assert registry.manifest(OF_MANIFEST)
    ghcr.answer = lambda _path, _who: (429, {"Retry-After": "3600"}, b"")
    with ask(ghcr) as registry, pytest.raises(ImageError) as caught:
        registry.manifest(OF_MANIFEST)
    assert caught.value.kind == "busy"


def test_a_token_is_not_sent_to_an_address_without_tls(ghcr: Ghcr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READS", "ghp_personalAccessToken")
    ghcr.realm = "http://tokens.example.org/token"
    with ask(ghcr, "env:READS") as registry, pytest.raises(ImageError, match="expected an https address"):
        registry.manifest(DIGEST)


def test_referrers_come_from_the_api_or_from_the_tag(ghcr: Ghcr) -> None:
    listed = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{"digest": "x"}],
    }
    body = json.dumps(listed).encode()
    for serves in ("/referrers/", f"/manifests/{DIGEST.replace(':', '-')}"):
        ghcr.answer = lambda path, _who, serves=serves: (200, {}, body) if serves in path else (404, {}, UNKNOWN)
        with ask(ghcr) as registry:
            assert registry.referrers(DIGEST) == [{"digest": "x"}]
    ghcr.answer = lambda _path, _who: (404, {}, UNKNOWN)
    with ask(ghcr) as registry:
        assert registry.referrers(DIGEST) == []


def test_a_registry_that_is_not_there_is_unreachable() -> None:
    nobody = Registry(parse(f"127.0.0.1:9/you/sample-app@{DIGEST}"), timeout_s=2)
    with nobody, pytest.raises(Unreachable, match=r"registry 127\.0\.0\.1:9 - no answer"):
        nobody.manifest(DIGEST)


@pytest.mark.parametrize(
    "text",
    ["", "nginx", "library/nginx@" + DIGEST, "ghcr.io/Up/x@" + DIGEST, "ghcr.io/you/x@sha256:1", "a b/c", "-x/y"],
)
def test_a_text_that_is_no_whole_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="with the name of the registry"):
        parse(text)


def test_a_reference_with_tag_and_digest_is_taken_apart() -> None:
    found = parse(f"localhost:5050/a/b:1.0@{DIGEST}")
    assert (found.host, found.repository, found.tag, found.digest) == ("localhost:5050", "a/b", "1.0", DIGEST)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:5000", True),
        ("localhost", True),
        ("[::1]:5000", True),
        ("registry.localhost:5000", True),
        ("ghcr.io", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
    ],
)
def test_plain_http_is_for_loopback_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
