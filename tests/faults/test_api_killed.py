"""The API process is killed, or its disk refuses: nothing acknowledged is lost, versions never go back."""

from __future__ import annotations

import contextlib
import http.client
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from apiprocess import ApiServer, running

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def server(tmp_path: Path, cache: Path) -> Iterator[ApiServer]:
    with running(tmp_path, cache) as found:
        yield found


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


class Writer(threading.Thread):
    """Creates and patches until the server is gone; remembers what was acknowledged."""

    def __init__(self, server: ApiServer, label: str) -> None:
        super().__init__(daemon=True)
        self._server, self._label = server, label
        self.acknowledged: dict[str, int] = {}
        self.refused: list[int] = []

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            for number in range(100_000):
                name = f"{self._label}-{number}"
                self._note(name, self._server.call("POST", MAPS, config_map(name, n="0")))
                self._note(name, self._server.call("PATCH", f"{MAPS}/{name}", {"data": {"n": "1"}}, content_type=MERGE))

    def _note(self, name: str, answer: Any) -> None:
        if answer.status < 300:
            self.acknowledged[name] = int(answer.json["metadata"]["resourceVersion"])
        else:
            self.refused.append(answer.status)


def test_no_acknowledged_write_is_lost_by_a_kill(server: ApiServer) -> None:
    highest = 0
    for round_ in range(4):
        writers = [Writer(server, f"r{round_}-{number}") for number in range(4)]
        for writer in writers:
            writer.start()
        threading.Event().wait(0.4)
        server.kill()
        for writer in writers:
            writer.join(10)
        server.start()
        listed = server.call("GET", MAPS).json
        stored = {item["metadata"]["name"]: int(item["metadata"]["resourceVersion"]) for item in listed["items"]}
        for writer in writers:
            assert writer.acknowledged
            assert writer.refused == []
            lost = {name: rv for name, rv in writer.acknowledged.items() if stored.get(name, 0) < rv}
            assert lost == {}
            highest = max(highest, *writer.acknowledged.values())
        assert int(listed["metadata"]["resourceVersion"]) >= highest
        made = server.call("POST", MAPS, config_map(f"after-{round_}")).json
        assert int(made["metadata"]["resourceVersion"]) > highest


def test_a_watch_resumes_over_a_kill_without_a_gap(server: ApiServer) -> None:
    for name in ("stays", "goes", "changes"):
        server.call("POST", MAPS, config_map(name))
    version = server.call("GET", MAPS).json["metadata"]["resourceVersion"]
    server.call("DELETE", f"{MAPS}/goes")
    server.call("PATCH", f"{MAPS}/changes", {"data": {"n": "1"}}, content_type=MERGE)
    server.call("POST", MAPS, config_map("new"))
    server.kill()
    server.start()
    answer = server.call("GET", f"{MAPS}?watch=1&resourceVersion={version}&timeoutSeconds=1")
    assert answer.status == 200, answer.body
    seen = [orjson.loads(line) for line in answer.body.splitlines()]
    found = [(event["type"], event["object"]["metadata"]["name"]) for event in seen]
    assert found == [("DELETED", "goes"), ("MODIFIED", "changes"), ("ADDED", "new")]


def test_a_rebuilt_cluster_answers_410_to_the_versions_of_the_old_one(server: ApiServer) -> None:
    version = int(server.call("GET", MAPS).json["metadata"]["resourceVersion"])
    server.stop()
    for file in server.config.cluster_dir.glob("store.sqlite3*"):
        file.unlink()
    server.start()
    answer = server.call("GET", f"{MAPS}?watch=1&resourceVersion={version}")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")
    assert int(server.call("GET", MAPS).json["metadata"]["resourceVersion"]) > version


def test_a_full_disk_refuses_writes_names_the_folder_and_recovers(server: ApiServer) -> None:
    assert server.process is not None
    assert server.call("POST", MAPS, config_map("before")).status == 201
    size = (server.config.cluster_dir / "store.sqlite3-wal").stat().st_size
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))
    answer = server.call("POST", MAPS, config_map("during"))
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert str(server.config.cluster_dir) in answer.json["message"]
    assert server.call("DELETE", f"{MAPS}/before").status == 500
    assert server.call("GET", f"{MAPS}/before").status == 200
    assert server.call("GET", f"{MAPS}/during").status == 404
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    assert server.call("POST", MAPS, config_map("after")).status == 201
    server.kill()
    server.start()
    names = {item["metadata"]["name"] for item in server.call("GET", MAPS).json["items"]}
    assert {"before", "after"} <= names
    assert "during" not in names


def test_a_stop_ends_open_watches_at_once(server: ApiServer) -> None:
    port = server.config.ports.api
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=server.tls, timeout=10)
    headers = {"Authorization": f"Bearer {server.config.token('admin')}"}
    connection.request("GET", f"{MAPS}?watch=1", headers=headers)
    assert connection.getresponse().status == 200
    assert server.stop() < 2.0
    connection.close()
