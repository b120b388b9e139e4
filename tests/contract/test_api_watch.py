"""Watches over the wire, as informers use them."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
from apiprocess import ApiServer

MERGE = "application/merge-patch+json"


class Stream:
    """One open watch: lines as they come."""

    def __init__(self, server: ApiServer, path: str, accept: str = "application/json") -> None:
        port = server.config.ports.api
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, context=server.tls, timeout=10)
        headers = {"Authorization": f"Bearer {server.config.token('admin')}", "Accept": accept}
        self._connection.request("GET", path, headers=headers)
        self.answer = self._connection.getresponse()

    def next(self) -> tuple[str, Any]:
        event = orjson.loads(self.answer.readline())
        return event["type"], event["object"]

    def rest(self) -> list[tuple[str, Any]]:
        events = [orjson.loads(line) for line in self.answer.read().splitlines()]
        return [(event["type"], event["object"]) for event in events]

    def close(self) -> None:
        self._connection.close()


@contextmanager
def watching(server: ApiServer, path: str, **options: Any) -> Iterator[Stream]:
    stream = Stream(server, path, **options)
    try:
        yield stream
    finally:
        stream.close()


@pytest.fixture
def maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def make(server: ApiServer, maps: str, name: str, **labels: str) -> Any:
    answer = server.call("POST", maps, {"metadata": {"name": name, "labels": labels}})
    assert answer.status == 201
    return answer.json


def relabel(server: ApiServer, maps: str, name: str, **labels: str | None) -> None:
    assert server.call("PATCH", f"{maps}/{name}", {"metadata": {"labels": labels}}, content_type=MERGE).status == 200


def test_a_watch_without_version_shows_what_is_there_then_changes(api_server: ApiServer, maps: str) -> None:
    make(api_server, maps, "a", w="1")
    with watching(api_server, f"{maps}?watch=true&labelSelector=w") as stream:
        assert stream.next()[0] == "ADDED"
        make(api_server, maps, "b", w="1")
        kind, obj = stream.next()
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "b")
        api_server.call("DELETE", f"{maps}/b")
        kind, gone = stream.next()
        assert kind == "DELETED"
        assert int(gone["metadata"]["resourceVersion"]) > int(obj["metadata"]["resourceVersion"])


def test_a_watch_resumes_after_given_version(api_server: ApiServer, maps: str) -> None:
    first = make(api_server, maps, "a", w="1")
    relabel(api_server, maps, "a", x="1")
    make(api_server, maps, "b", w="1")
    version = first["metadata"]["resourceVersion"]
    with watching(api_server, f"{maps}?watch=1&labelSelector=w&resourceVersion={version}") as stream:
        seen = [stream.next() for _ in range(2)]
    assert [(kind, obj["metadata"]["name"]) for kind, obj in seen] == [("MODIFIED", "a"), ("ADDED", "b")]


def test_entering_and_leaving_a_selection_shows_as_added_and_deleted(api_server: ApiServer, maps: str) -> None:
    made = make(api_server, maps, "a")
    query = f"watch=1&labelSelector=in%3Dyes&resourceVersion={made['metadata']['resourceVersion']}"
    with watching(api_server, f"{maps}?{query}") as stream:
        relabel(api_server, maps, "a", **{"in": "yes"})
        relabel(api_server, maps, "a", more="1")
        relabel(api_server, maps, "a", **{"in": None})
        relabel(api_server, maps, "a", more="2")
        relabel(api_server, maps, "a", **{"in": "yes"})
        kinds = [stream.next()[0] for _ in range(4)]
    assert kinds == ["ADDED", "MODIFIED", "DELETED", "ADDED"]


def test_initial_events_end_with_an_annotated_bookmark(api_server: ApiServer, maps: str) -> None:
    make(api_server, maps, "a", w="1")
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    with watching(api_server, f"{maps}?{query}&labelSelector=w&resourceVersion=5") as stream:
        assert stream.next()[0] == "ADDED"
        kind, mark = stream.next()
        assert kind == "BOOKMARK"
        assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
        make(api_server, maps, "b", w="1")
        kind, obj = stream.next()
        assert (kind, obj["metadata"]["name"]) == ("ADDED", "b")
        assert int(obj["metadata"]["resourceVersion"]) > int(mark["metadata"]["resourceVersion"])


def test_initial_events_without_their_match_are_invalid(api_server: ApiServer, maps: str) -> None:
    answer = api_server.call("GET", f"{maps}?watch=1&sendInitialEvents=true")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


def test_a_version_too_old_is_gone(api_server: ApiServer, maps: str) -> None:
    answer = api_server.call("GET", f"{maps}?watch=1&resourceVersion=5")
    assert (answer.status, answer.json["reason"]) == (410, "Expired")
    assert answer.json["message"].startswith("too old resource version: 5")


def test_a_watch_ends_cleanly_at_its_time_with_a_last_bookmark(api_server: ApiServer, maps: str) -> None:
    began = time.monotonic()
    with watching(api_server, f"{maps}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&labelSelector=no") as stream:
        assert stream.answer.status == 200
        events = stream.rest()
    assert 0.9 < time.monotonic() - began < 3
    assert [kind for kind, _ in events] == ["BOOKMARK"]


def test_a_table_watch_sends_tables(api_server: ApiServer, maps: str) -> None:
    make(api_server, maps, "a", w="1")
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    with watching(api_server, f"{maps}?watch=1&labelSelector=w", accept=accept) as stream:
        kind, table = stream.next()
    assert (kind, table["kind"], len(table["rows"])) == ("ADDED", "Table", 1)


def test_every_watcher_sees_every_change_once_and_in_order(api_server: ApiServer, maps: str) -> None:
    made = make(api_server, maps, "a")
    query = f"watch=1&resourceVersion={made['metadata']['resourceVersion']}&fieldSelector=metadata.name%3Da"
    streams = [Stream(api_server, f"{maps}?{query}") for _ in range(5)]
    seen: list[list[str]] = [[] for _ in streams]

    def read(number: int) -> None:
        for _ in range(50):
            seen[number].append(streams[number].next()[1]["metadata"]["labels"]["n"])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(streams))]
    for thread in threads:
        thread.start()
    for number in range(50):
        relabel(api_server, maps, "a", n=str(number))
    for thread in threads:
        thread.join(10)
    for stream in streams:
        stream.close()
    assert seen == [[str(number) for number in range(50)]] * 5


def test_a_list_continues_seamlessly_into_a_watch(api_server: ApiServer, maps: str) -> None:
    make(api_server, maps, "a")
    version = api_server.call("GET", maps).json["metadata"]["resourceVersion"]
    make(api_server, maps, "b")
    with watching(api_server, f"{maps}?watch=1&resourceVersion={version}") as stream:
        kind, obj = stream.next()
    assert (kind, obj["metadata"]["name"]) == ("ADDED", "b")
