"""The collector as a program beside a real API: killed, blinded and started twice, it keeps every fact once."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from apiprocess import ApiServer, write_kubeconfig

from platform_lib import journal
from platform_lib.model import Platform
from platform_lib.providers import state
from platform_lib.wait import now, until

EVENTS = 60
GIT = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]


class LatePrometheus(BaseHTTPRequestHandler):
    """Refuses the first questions and then knows of no alert."""

    refusals = iter(range(2))

    def do_GET(self) -> None:
        refused = next(self.refusals, None) is not None
        body = b'{"status":"success","data":{"resultType":"vector","result":[]}}'
        self.send_response(503 if refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Collector:
    """Starts the program of one platform; everything it left running is killed at the end."""

    def __init__(self, home: Path) -> None:
        self.home, self.started = home, list[subprocess.Popen[str]]()

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "platform_lib.collect"]
        environment = {**os.environ, "APQX_HOME": str(self.home)}
        self.started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
        return self.started[-1]

    def records(self, **wanted: Any) -> list[dict[str, Any]]:
        """Lines of the record as they are on disk: nothing is folded."""
        lines = [line for path in (self.home / "journal").glob("*.jsonl") for line in path.read_text().splitlines()]
        found = [record for record in map(journal.decoded, lines) if record is not None]
        return [record for record in found if all(record[name] == value for name, value in wanted.items())]


@pytest.fixture
def platform(api_server: ApiServer, tmp_path: Path) -> Platform:
    kubeconfig = write_kubeconfig(api_server.config, tmp_path)
    home, bare = tmp_path / "home", tmp_path / "gitops.git"
    home.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run(["git", "clone", "-q", str(bare), str(tmp_path / "work")], check=True, capture_output=True)
    found = Platform("c", "existing", kubeconfig, "apqx", "http://127.0.0.1:1", "http://127.0.0.1:1", str(bare), home)
    commit(found, "first")
    state.write_endpoints(found)
    return found


@pytest.fixture
def collector(platform: Platform) -> Iterator[Collector]:
    made = Collector(platform.home)
    yield made
    for process in made.started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate(timeout=20)


def commit(platform: Platform, message: str) -> str:
    work = Path(platform.gitops_repo).parent / "work"
    for arguments in (["commit", "-q", "--allow-empty", "-m", message], ["push", "-q", "origin", "HEAD:main"]):
        subprocess.run([*GIT, "-C", str(work), *arguments], check=True, capture_output=True)
    done = subprocess.run([*GIT, "-C", str(work), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def tell(api: ApiServer, namespace: str, number: int, count: int = 1) -> dict[str, Any]:
    """Create an event."""
    event = {
        "metadata": {"name": f"e{number}", "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": f"p{number}", "namespace": namespace},
        "reason": "Told",
        "message": f"number {number}",
        "type": "Normal",
        "count": count,
        "lastTimestamp": f"{now():%FT%TZ}",
    }
    answer = api.call("POST", f"/api/v1/namespaces/{namespace}/events", event)
    assert answer.status == 201, answer.body
    return answer.json


def wait(wanted: str, reached: Callable[[], Any]) -> Any:
    return until(lambda: (reached() or None, "not yet"), timeout_s=60, wanted=wanted, interval_s=0.05)


def test_a_collector_that_is_killed_twice_loses_nothing_and_repeats_nothing(
    api_server: ApiServer, namespace: str, platform: Platform, collector: Collector
) -> None:
    def mine() -> list[dict[str, Any]]:
        return [r for r in collector.records(kind="event") if r["data"]["namespace"] == namespace]

    first = collector.start()
    for number in range(EVENTS):
        tell(api_server, namespace, number)
        if number in (EVENTS // 3, EVENTS // 2):
            wait("some records", mine)
            first.kill()
            first.wait(20)
        if number == EVENTS // 2 - 2:
            first = collector.start()
    missed = commit(platform, "made while nobody collected")
    path = f"/api/v1/namespaces/{namespace}/events/e0"
    again = api_server.call("PATCH", path, {"count": 2}, content_type="application/merge-patch+json")
    assert again.status == 200, again.body
    collector.start()
    wait("all events", lambda: len(mine()) >= EVENTS + 1)
    wait("the missed commit", lambda: collector.records(uid=missed))
    told = Counter((record["source"], record["uid"]) for record in collector.records() if record["uid"])
    assert set(told.values()) == {1}, [key for key, times in told.items() if times > 1]
    assert {r["data"]["message"] for r in mine()} == {f"number {number}" for number in range(EVENTS)}
    assert sorted(r["data"]["count"] for r in mine() if r["subject"] == "Pod/p0") == [1, 2]
    assert len(collector.records(source="git", kind="commit")) == 2


def test_the_second_collector_is_refused_and_told_who_is_at_it(platform: Platform, collector: Collector) -> None:
    holder = collector.start()
    wait("the holder", lambda: (platform.home / "collector.json").exists())
    second = collector.start()
    assert second.wait(60) != 0
    assert second.stderr is not None and f"process {holder.pid}" in second.stderr.read()
    assert holder.poll() is None
    assert json.loads((platform.home / "collector.json").read_text())["holder"].startswith(f"process {holder.pid}")


def test_a_source_that_did_not_answer_leaves_a_gap_and_a_request_to_end_is_obeyed(
    platform: Platform, collector: Collector
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), LatePrometheus) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        state.write_endpoints(replace(platform, prometheus_url=f"http://127.0.0.1:{server.server_port}"))
        process = collector.start()
        (gap,) = wait("the gap", lambda: collector.records(kind="gap", subject="prometheus"))
        server.shutdown()
    assert gap["data"]["gap_s"] > 0 and gap["data"]["since"]
    process.terminate()
    assert process.wait(20) == 0
    assert len(collector.records(kind="started")) == len(collector.records(kind="stopped")) == 1
    assert not (platform.home / "collector.json").exists()
