"""The application as a real process under gunicorn: start, end and the faults that need a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import psutil
import pytest

ADDRESS = "127.0.0.1"


class Served:
    """A running application and the simplest of clients."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    def get(self, path, timeout_s=10.0):
        """Return (status, body) over a connection of its own, as a probe does."""
        try:
            with urllib.request.urlopen(f"http://{ADDRESS}:{self.port}{path}", timeout=timeout_s) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def connect(self):
        return socket.create_connection((ADDRESS, self.port), timeout=10)


def free_port():
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]


def start(project, port, **env):
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "sample_app"],
        env={
            "PYTHONPATH": str(project / "app"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BIND_ADDRESS": ADDRESS,
            "PORT": str(port),
            **env,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def serve(project):
    """Return a context manager that runs the application until the block ends."""

    @contextmanager
    def run(**env):
        port = free_port()
        process = start(project, port, **env)
        served = Served(process, port)
        try:
            wait_listening(served)
            yield served
        finally:
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.kill()
            process.communicate()
            for child in children:
                if child.is_running():
                    child.kill()

    return run


def wait_listening(served):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert served.process.poll() is None, served.process.communicate()
        try:
            return served.get("/health")
        except OSError:
            time.sleep(0.02)
    raise AssertionError("the application did not answer within 20 s")


def test_sigterm_turns_unready_first_then_finishes_the_request_and_exits_0(serve):
    with serve(FAULT_LATENCY_MS="1500", DRAIN_S="0.5") as served:
        finished = {}

        def slow():
            finished["answer"] = served.get("/")
            finished["at"] = time.monotonic()

        request = threading.Thread(target=slow)
        request.start()
        time.sleep(0.4)  # the request is in its handler now
        served.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 0.45
        seen = served.get("/ready")
        while seen[0] != 503 and time.monotonic() < deadline:
            seen = served.get("/ready")
        unready_at = time.monotonic()
        request.join(10)
        assert seen[0] == 503
        assert json.loads(seen[1])["reason"] == "draining"
        assert finished["answer"][0] == 200, "the request in flight must complete"
        assert unready_at < finished["at"], "readiness turns before the last request ends"
        assert served.process.wait(10) == 0


def test_new_requests_are_served_while_draining(serve):
    with serve(DRAIN_S="1") as served:
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert served.get("/")[0] == 200
        assert served.process.wait(10) == 0


def test_an_idle_connection_does_not_hold_up_the_end(serve):
    with serve(DRAIN_S="0") as served, served.connect() as idle:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(15) == 0
        assert time.monotonic() - started < 5


def test_a_client_that_does_not_close_stalls_nobody_else(serve):
    with serve() as served, served.connect() as lazy:
        lazy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert lazy.recv(4096).startswith(b"HTTP/1.1 200")
        started = time.monotonic()
        assert served.get("/")[0] == 200
        assert time.monotonic() - started < 1


def test_requests_are_served_at_the_same_time(serve):
    with serve(FAULT_LATENCY_MS="400") as served:
        threads = [threading.Thread(target=served.get, args=("/",)) for _ in range(4)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - started < 1.2


def test_all_log_lines_are_json_and_show_start_and_end(serve):
    with serve(DRAIN_S="0") as served:
        served.get("/")
        served.process.send_signal(signal.SIGTERM)
        out, err = served.process.communicate(timeout=10)
    lines = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert {"request", "Handling signal: term"} <= {line["message"] for line in lines}


def test_crash_fault_ends_the_whole_program_with_code_1(serve):
    with serve(FAULT_CRASH_AFTER_S="1") as served:
        workers = psutil.Process(served.process.pid).children(recursive=True)
        assert workers
        assert served.process.wait(10) == 1
        psutil.wait_procs(workers, timeout=5)
        assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)


def test_leak_fault_takes_memory(serve):
    with serve(FAULT_LEAK_MB_PER_S="50") as served:
        (worker,) = psutil.Process(served.process.pid).children()
        before, deadline = worker.memory_info().rss, time.monotonic() + 10
        while worker.memory_info().rss < before + 30 * 2**20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert worker.memory_info().rss >= before + 30 * 2**20


def test_an_unusable_environment_stops_the_start_with_code_2(project):
    process = start(project, free_port(), FAULT_ERROR_RATIO="2")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert out == ""
    assert err.startswith("sample_app does not start: FAULT_ERROR_RATIO is '2', wanted a number from 0 to 1")
    assert "Traceback" not in err
