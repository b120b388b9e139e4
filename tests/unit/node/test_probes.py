"""Probes against real sockets, with periods of a tenth of a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from platform_lib.embedded.kubelet.probes import Prober, Reports, Result, Target, attempt, port_number

CONTAINER = {"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}


class App:
    """A server whose answers the test chooses."""

    def __init__(self) -> None:
        self.status, self.asked, self.delay_s, self.headers = 200, 0, 0.0, b""
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        self.headers = await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(self.delay_s)
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".encode())
        writer.close()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    served = App()
    server = await asyncio.start_server(served.answer, "127.0.0.1", 0)
    served.port = server.sockets[0].getsockname()[1]
    yield served
    server.close()


async def refuse(words: list[str], timeout_s: float) -> tuple[int, str]:
    return (0, "") if words == ["true"] else (3, "broken")


TARGET = Target("127.0.0.1", CONTAINER, refuse)


def http(app: App, **spec: Any) -> dict[str, Any]:
    return {"httpGet": {"path": "/x", "port": app.port}, "timeoutSeconds": 1, **spec}


@pytest.mark.parametrize(
    ("status", "ok"), [(200, True), (204, True), (302, True), (399, True), (400, False), (503, False)]
)
async def test_http_status_decides(app: App, status: int, ok: bool) -> None:
    app.status = status
    result = await attempt(http(app), TARGET, 1)
    assert result == Result(ok, "" if ok else f"HTTP probe failed with statuscode: {status}")


async def test_http_probe_presents_itself_and_its_headers(app: App) -> None:
    spec = http(app)
    spec["httpGet"]["httpHeaders"] = [{"name": "X-Test", "value": "1"}, {"name": "Host", "value": "example.com"}]
    await attempt(spec, TARGET, 1)
    assert app.headers.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"User-Agent: kube-probe/" in app.headers
    assert b"X-Test: 1" in app.headers
    assert app.headers.count(b"Host: ") == 1


async def test_slow_answer_times_out(app: App) -> None:
    app.delay_s = 5
    assert "context deadline exceeded" in (await attempt(http(app), TARGET, 0.1)).message


async def test_refused_connection_is_recognised() -> None:
    result = await attempt({"tcpSocket": {"port": 1}}, TARGET, 1)
    assert (result.ok, result.refused) == (False, True)


async def test_exec_probe_follows_the_exit_code() -> None:
    assert (await attempt({"exec": {"command": ["true"]}}, TARGET, 1)).ok
    assert await attempt({"exec": {"command": ["x"]}}, TARGET, 1) == Result(False, "broken")


async def test_probe_of_unknown_kind_fails_with_its_reason() -> None:
    assert "serves httpGet, tcpSocket and exec" in (await attempt({"grpc": {"port": 1}}, TARGET, 1)).message


def test_named_port_is_resolved() -> None:
    assert port_number("http", CONTAINER) == 8080
    with pytest.raises(ValueError, match="couldn't find port: none"):
        port_number("none", CONTAINER)


async def run(kind: Any, spec: dict[str, Any], *, passing: bool, for_s: float) -> tuple[list[bool], list[str]]:
    verdicts: list[bool] = []
    failures: list[str] = []
    prober = Prober(kind, spec, TARGET, Reports(verdicts.append, failures.append), passing=passing)
    task = asyncio.ensure_future(prober.run())
    await asyncio.wait([task], timeout=for_s)
    task.cancel()
    return verdicts, failures


async def test_first_success_is_found_between_periods(app: App) -> None:
    app.status = 503
    asyncio.get_running_loop().call_later(0.15, setattr, app, "status", 200)
    verdicts, failures = await run("readiness", http(app, periodSeconds=60), passing=False, for_s=0.5)
    assert (verdicts, failures) == ([True], [])


async def test_startup_probe_ends_with_success(app: App) -> None:
    verdicts, _ = await run("startup", http(app, periodSeconds=0.1), passing=False, for_s=0.4)
    assert (verdicts, app.asked) == ([True], 1)


async def test_readiness_fails_after_the_threshold_and_recovers(app: App) -> None:
    app.status = 500
    spec = http(app, periodSeconds=0.1, failureThreshold=2, successThreshold=2)
    asyncio.get_running_loop().call_later(0.35, setattr, app, "status", 200)
    verdicts, failures = await run("readiness", spec, passing=True, for_s=0.8)
    assert verdicts == [False, True]
    assert len(failures) in (3, 4)


async def test_one_success_resets_the_failures(app: App) -> None:
    async def flap() -> None:
        for _ in range(4):
            app.status = 500 if app.status == 200 else 200
            await asyncio.sleep(0.1)

    flapping = asyncio.ensure_future(flap())
    verdicts, _ = await run("liveness", http(app, periodSeconds=0.1, failureThreshold=3), passing=True, for_s=0.4)
    await flapping
    assert verdicts == []


async def test_initial_delay_is_kept(app: App) -> None:
    await run("readiness", http(app, periodSeconds=1, initialDelaySeconds=5), passing=False, for_s=0.2)
    assert app.asked == 0
