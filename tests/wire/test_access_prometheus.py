"""A real Prometheus behind a proxy that wants a tenant and a token, under a path, over TLS, with limits of its own."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import pytest
import trustme
from recorded_api import platform_at
from wire_tools import free_port

from platform_lib.errors import InvalidInput, PlatformError, QueryError, SettingsError, Unreachable
from platform_lib.model import Platform
from platform_lib.providers import tools
from platform_lib.settings import settings
from platform_lib.wait import until
from platform_lib.wire import prometheus
from platform_lib.wire.promhttp import endpoint

CANARY = "canary-9d2f6e1c4b7a"
PREFIX = "/team/prometheus"
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = tools.find("prometheus", settings())
    if program is None:
        pytest.skip("no Prometheus here: make setup fetches it")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    command = [program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    process = subprocess.Popen(
        [*command, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"], cwd=folder, stderr=subprocess.DEVNULL
    )

    def ready() -> tuple[bool | None, str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=1) as answer:
                return (True if answer.status == 200 else None), str(answer.status)
        except OSError as error:
            return None, str(error)

    try:
        until(ready, timeout_s=30, wanted="Prometheus ready", interval_s=0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@dataclass
class Proxy:
    """What stands before a shared Prometheus: TLS, a tenant, a token, a path and limits."""

    server: ThreadingHTTPServer
    ca: trustme.CA
    backend: int
    limit_points: int = 0
    extra: dict[str, object] = field(default_factory=dict)
    forced: tuple[int, str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.server.server_port}{PREFIX}"


def _handler(box: list[Proxy]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy, parts = box[0], urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            proxy.asked.append(query)
            status, body = self._decide(proxy, parts.path, query)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _decide(self, proxy: Proxy, path: str, query: dict[str, str]) -> tuple[int, bytes]:
            if proxy.forced:
                return proxy.forced[0], proxy.forced[1].encode()
            if self.headers["Authorization"] != f"Bearer {CANARY}":
                return 401, f"unauthorized: {self.headers['Authorization']}".encode()
            if self.headers["X-Scope-OrgID"] != "team-a":
                return 401, b"no org id\n"
            if not path.startswith(f"{PREFIX}/"):
                return 404, b"<html><head><title>404 Not Found</title></head></html>"
            if proxy.limit_points and "step" in query:
                points = (float(query["end"]) - float(query["start"])) / float(query["step"]) + 1
                if points > proxy.limit_points:
                    seen = f"query length: {points}s, limit: {proxy.limit_points}s"
                    text = f"the query time range exceeds the limit ({seen})"
                    return 422, json.dumps({"status": "error", "errorType": "execution", "error": text}).encode()
            with urlopen(f"http://127.0.0.1:{proxy.backend}{self.path.removeprefix(PREFIX)}", timeout=10) as answer:
                return 200, json.dumps(json.loads(answer.read()) | proxy.extra).encode()

        def log_message(self, *_: object) -> None:
            return

    return Handler


@pytest.fixture
def proxy(real: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("PROM_LOGIN", CANARY)
    box: list[Proxy] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(box))
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    box.append(Proxy(server, ca, real))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield box[0]
    server.shutdown()
    server.server_close()


@pytest.fixture
def platform(proxy: Proxy, tmp_path: Path) -> Platform:
    authority = tmp_path / "ca.pem"
    proxy.ca.cert_pem.write_to_path(str(authority))
    headers = (("X-Scope-OrgID", "team-a"), ("Authorization", "Bearer env:PROM_LOGIN"))
    return platform_at(
        tmp_path / "none", tmp_path, prometheus_url=proxy.url, prometheus_headers=headers, prometheus_ca=authority
    )


def refused(error: type[PlatformError], platform: Platform, *parts: str) -> PlatformError:
    with pytest.raises(error) as caught, prometheus.connect(platform) as client:
        client.instant("vector(1)")
    text = "".join(map(str, (caught.value, repr(caught.value), caught.value.context)))
    assert all(part in text for part in parts) and CANARY not in text, text
    return caught.value


def test_tenant_token_authority_and_path_reach_a_real_prometheus(platform: Platform) -> None:
    with prometheus.connect(platform) as client:
        assert client.instant("vector(41) + 1")[0]["value"][1] == "42"
        frame = client.range("vector(7)", start=START, end=START + timedelta(seconds=9), step_s=1)
        assert len(frame) == 10 and set(frame.iloc[:, 0]) == {7.0}
        assert CANARY not in repr(client) + repr(client._target) + repr(platform) + str(platform)


def test_a_limit_below_ours_is_found_and_the_frame_has_no_gap(platform: Platform, proxy: Proxy) -> None:
    proxy.limit_points = 130
    with prometheus.connect(platform) as client:
        frame = client.range("time()", start=START, end=START + timedelta(seconds=999), step_s=1)
        seconds = (frame.index - START).total_seconds()
        assert list(seconds) == list(range(1000)) and list(frame.iloc[:, 0]) == [
            START.timestamp() + i for i in range(1000)
        ]
        before = len(proxy.asked)
        client.range("time()", start=START, end=START + timedelta(seconds=499), step_s=1)
        assert len(proxy.asked) - before <= 5, "the limit is remembered: nothing is refused again"


def test_a_limit_that_no_window_meets_is_said_in_the_servers_words(platform: Platform, proxy: Proxy) -> None:
    proxy.limit_points = 1
    with prometheus.connect(platform) as client, pytest.raises(QueryError, match="exceeds the limit"):
        client.range("time()", start=START, end=START + timedelta(seconds=9_999), step_s=1)
    assert len(proxy.asked) <= 8


def test_points_of_one_answer_are_a_setting(platform: Platform, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APQX_PROMETHEUS_MAX_POINTS", "100")
    with prometheus.connect(platform) as client:
        assert len(client.range("time()", start=START, end=START + timedelta(seconds=249), step_s=1)) == 250
    assert len(proxy.asked) == 3


def test_parameters_of_thanos_go_with_each_request_and_its_warnings_are_kept(platform: Platform, proxy: Proxy) -> None:
    proxy.extra = {"warnings": ["store gateway-1: context deadline exceeded"]}
    asking = replace(platform, prometheus_url=f"{proxy.url}?dedup=true&partial_response=true")
    with prometheus.connect(asking) as client:
        frame = client.range("vector(1)", start=START, end=START + timedelta(seconds=5), step_s=1)
    assert frame.attrs["warnings"] == ["store gateway-1: context deadline exceeded"]
    assert proxy.asked[-1]["dedup"] == "true" and proxy.asked[-1]["partial_response"] == "true"


def test_without_the_tenant_or_the_token_the_header_is_named_and_no_secret_repeated(platform: Platform) -> None:
    token = ("Authorization", "Bearer env:PROM_LOGIN")
    refused(QueryError, replace(platform, prometheus_headers=(token,)), "401", "no org id", "X-Scope-OrgID")
    wrong = (("X-Scope-OrgID", "team-a"), ("Authorization", "Basic env:PROM_LOGIN"))
    refused(QueryError, replace(platform, prometheus_headers=wrong), "401", "unauthorized", "(redacted)")


def test_secrets_are_references_and_a_bad_one_is_named_without_its_value(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = replace(platform, prometheus_headers=(("Authorization", f"Bearer {CANARY}"),))
    refused(SettingsError, plain, "header Authorization", "plain value", "Bearer env:NAME")
    away = replace(platform, prometheus_headers=(("Authorization", "Bearer env:NOT_SET_ANYWHERE"),))
    refused(InvalidInput, away, "env:NOT_SET_ANYWHERE")
    monkeypatch.setenv("PROM_LOGIN", f"{CANARY}\nX-Injected: 1")
    refused(SettingsError, platform, "header Authorization", "several lines")
    (tmp_path / "token").write_text(f"{CANARY}\n")
    ours = replace(
        platform, prometheus_headers=(("X-Scope-OrgID", "team-a"), ("Authorization", f"Bearer file:{tmp_path}/token"))
    )
    with prometheus.connect(ours) as client:
        assert client.instant("vector(1)")


def test_another_authority_is_said(platform: Platform, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    refused(Unreachable, replace(platform, prometheus_ca=tmp_path / "other.pem"), "not trusted (TLS)", "prometheus_ca")
    refused(SettingsError, replace(platform, prometheus_ca=tmp_path / "none.pem"), "no such file")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, "<!DOCTYPE html><html><head><title>Sign in</title></head></html>", "a page (Sign in), expected JSON"),
        (404, "<html><head><title>404 Not Found</title></head></html>", "404 Not Found"),
        (422, '{"status":"error","errorType":"execution","error":"expanding series: the query exceeded the maximum '
              'number of series (limit: 100000 series) (err-mimir-max-series-per-query)"}', "err-mimir-max-series"),
        (400, '{"status":"error","errorType":"bad_data","error":"invalid parameter \\"query\\""}', "invalid parameter"),
        (429, '{"status":"error","errorType":"too_many_requests","error":"too many outstanding requests"}', "too many"),
        (503, "upstream connect error or disconnect/reset before headers", "upstream connect error"),
    ],
)  # fmt: skip
def test_other_answers_keep_their_words(platform: Platform, proxy: Proxy, status: int, body: str, said: str) -> None:
    proxy.forced = (status, body)
    error = refused(QueryError, platform, said, str(status))
    assert error.hint and len(proxy.asked) == 1, "what was answered is not asked again"


@pytest.mark.parametrize("url", ["prometheus:9090", "ftp://x", "", "https://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(SettingsError, match="APQX_PROMETHEUS_URL"):
        endpoint(url)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="holds a password") as caught:
        endpoint(f"https://me:{CANARY}@prometheus.example.com/")
    assert CANARY not in str(caught.value)
