from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from wire_tools import at_port, free_port

from platform_lib.errors import InvalidInput, Unreachable
from platform_lib.wait import pause
from platform_lib.wire import dns
from platform_lib.wire.probe import fetch, start_probe

SERVER = """
import sys
from aiohttp import web

async def answer(request):
    headers = {"X-App-Version": "1.2.0", "X-App-Pod": "pod-1", "X-Host": request.headers["Host"]}
    return web.json_response({"version": "1.2.0"}, headers=headers)

async def fail(request):
    return web.json_response({"version": "1.3.0", "pod": "pod-2"}, status=500)

app = web.Application()
app.router.add_get("/", answer)
app.router.add_get("/fail", fail)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""


def wait_open(port: int, timeout_s: float = 10.0) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("server did not start")


@pytest.fixture
def server(platform) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    port = free_port()
    with subprocess.Popen([sys.executable, "-c", SERVER, str(port)]) as process:
        wait_open(port)
        yield process, port
        process.kill()


def test_requests_leave_by_the_clock_while_the_caller_is_busy(platform, app, server) -> None:
    with start_probe(at_port(platform, server[1]), app, rate_rps=200) as probe:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            sum(range(1000))
    samples, result = probe.samples(), probe.result()
    assert np.allclose(np.diff(samples.intended), 0.005, atol=1e-4)
    assert result.sent == pytest.approx(300, abs=40) and result.failed == 0
    assert result.lag_p99_ms is not None and result.lag_p99_ms < 500  # honest, whatever the machine does


def test_version_pod_and_host_are_carried(platform, app, server) -> None:
    moved = at_port(platform, server[1])
    with start_probe(moved, app, rate_rps=50) as probe:
        time.sleep(0.4)
    frame = probe.frame()
    assert set(frame["version"]) == {"1.2.0"} and set(frame["pod"]) == {"pod-1"} and frame["ok"].all()
    assert str(frame["intended_at"].dt.tz) == "UTC"
    assert fetch(moved, app).headers["x-host"] == app.host


def test_an_error_answer_counts_as_failed_and_names_its_version(platform, app, server) -> None:
    with start_probe(at_port(platform, server[1]), app, rate_rps=50, path="/fail") as probe:
        time.sleep(0.4)
    assert probe.result().availability == 0.0
    assert set(probe.frame()["version"]) == {"1.3.0"} and set(probe.frame()["pod"]) == {"pod-2"}


def test_a_stalled_server_is_seen_in_full(platform, app, server) -> None:
    """A closed loop would send one request in the stall; the open loop sends all of them."""
    process, port = server
    with start_probe(at_port(platform, port), app, rate_rps=100, timeout_s=0.3) as probe:
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGCONT)
        time.sleep(0.5)
    result = probe.result()
    assert result.errors.get("timeout", 0) >= 50
    assert result.outage_s[1] >= 0.5


def test_a_refused_connection_is_a_failure_of_its_kind(platform, app) -> None:
    with start_probe(at_port(platform, free_port()), app, rate_rps=50) as probe:
        time.sleep(0.4)
    assert set(probe.result().errors) == {"ConnectionRefusedError"}


def test_samples_can_be_read_while_it_runs(platform, app, server) -> None:
    with start_probe(at_port(platform, server[1]), app, rate_rps=100) as probe:
        time.sleep(0.5)
        first = len(probe.samples().intended)
        time.sleep(0.3)
        assert probe.running and len(probe.samples().intended) > first > 0
    assert not probe.running


def test_nothing_stays_behind_after_a_stop(platform, app, server) -> None:
    probe = start_probe(at_port(platform, server[1]), app, rate_rps=50).start()
    folder, pid = Path(probe._folder), probe._process.pid  # type: ignore[union-attr]
    probe.stop()
    probe.stop()
    assert not folder.exists() and not psutil.pid_exists(pid)


def test_what_was_seen_is_on_record_window_by_window(platform, app, server, tmp_path, monkeypatch) -> None:
    from platform_lib import journal
    from platform_lib.wire import probe as probes

    monkeypatch.setattr(probes, "WINDOW_S", 0.5)
    with journal.use(journal.Journal(tmp_path / "journal.jsonl")), start_probe(platform, app, rate_rps=50) as probe:
        pause(1.6)
        probe.stop()
    windows = journal.read(tmp_path / "journal.jsonl")
    assert set(zip(windows["source"], windows["kind"], windows["subject"], strict=True)) == {
        ("probe", "window", app.name)
    }
    assert len(windows) >= 3 and sum(data["sent"] for data in windows["data"]) == probe.result().sent
    assert all(data["ended_at"] > data["started_at"] for data in windows["data"])


def test_the_sender_dies_with_its_caller(platform, app, server, tmp_path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from platform_lib.model import App, Platform;"
        "from platform_lib.wire.probe import start_probe;"
        "p = Platform('t', 'existing', Path('k'), 'c', '', sys.argv[1], '', Path('h'));"
        "probe = start_probe(p, App(), rate_rps=50).start();"
        "print(probe._process.pid, probe._folder, flush=True); time.sleep(60)"
    )
    url = f"http://127.0.0.1:{server[1]}"
    with subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        pid, folder = caller.stdout.readline().split()
        caller.kill()
    end = time.monotonic() + 10
    while time.monotonic() < end and (Path(folder).exists() or psutil.pid_exists(int(pid))):
        time.sleep(0.05)
    assert not Path(folder).exists() and not psutil.pid_exists(int(pid))


@pytest.mark.parametrize("rate", [0, -1, 2001])
def test_an_impossible_rate_is_refused(platform, app, rate) -> None:
    with pytest.raises(InvalidInput, match="rate_rps"):
        start_probe(platform, app, rate_rps=rate)


def test_fetch_says_when_nobody_answers(platform, app) -> None:
    with pytest.raises(Unreachable, match="no answer through"):
        fetch(at_port(platform, free_port()), app)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("app.127.0.0.1.sslip.io", "127.0.0.1"),
        ("app-127-0-0-1.sslip.io", "127.0.0.1"),
        ("10.1.2.3.nip.io", "10.1.2.3"),
        ("APP.10.0.0.7.sslip.io.", "10.0.0.7"),
        ("localhost", "127.0.0.1"),
        ("shop.localhost", "127.0.0.1"),
        ("127.0.0.5", "127.0.0.5"),
        ("app.999.0.0.1.sslip.io", None),
        ("example.org", None),
        ("sslip.io", None),
    ],
)
def test_names_that_carry_an_address_need_no_dns(name: str, address: str | None) -> None:
    assert dns.address_in(name) == address
