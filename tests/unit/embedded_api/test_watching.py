from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from platform_lib.embedded.store import Store
from platform_lib.embedded.watching import BACKLOG, Hub, Watcher, bookmark
from platform_lib.errors import Expired, Invalid

MAPS = "v1/configmaps"


def obj(name: str, namespace: str = "a", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}}


def on(item: dict[str, Any]) -> bool:
    return bool(item["metadata"]["labels"].get("on"))


def seen(watcher: Watcher) -> list[tuple[str, str]]:
    events = [orjson.loads(text) for text in watcher.take().splitlines()]
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "s.sqlite3", seed=100)


def test_only_the_namespace_asked_for_is_seen(store: Store) -> None:
    watcher = Hub(store).open(MAPS, "100", namespace="a")
    store.put(MAPS, obj("x", "a"))
    store.put(MAPS, obj("y", "b"))
    store.put("v1/secrets", obj("z", "a"))
    assert seen(watcher) == [("ADDED", "x")]


def test_a_selection_is_entered_and_left(store: Store) -> None:
    watcher = Hub(store).open(MAPS, "100", match=on)
    for labels in ({}, {"on": "1"}, {"on": "2"}, {}, {"on": "1"}):
        store.put(MAPS, obj("x", **labels))
    store.delete(MAPS, "a", "x")
    store.put(MAPS, obj("y"))
    store.delete(MAPS, "a", "y")
    assert [kind for kind, _ in seen(watcher)] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


def test_a_replay_makes_the_same_transitions(store: Store) -> None:
    for labels in ({}, {"on": "1"}, {}):
        store.put(MAPS, obj("x", **labels))
    watcher = Hub(store).open(MAPS, "101", match=on)
    assert seen(watcher) == [("ADDED", "x"), ("DELETED", "x")]


def test_after_a_restart_an_object_that_left_is_told_as_deleted(store: Store) -> None:
    store.put(MAPS, obj("x", on="1"))
    store.put(MAPS, obj("x"))
    watcher = Hub(Store(store.path, seed=100)).open(MAPS, "101", match=on)
    assert seen(watcher) == [("DELETED", "x")]


def test_a_watch_list_shows_everything_then_its_end(store: Store) -> None:
    store.put(MAPS, obj("x"))

    def end(version: str) -> bytes:
        return bookmark("ConfigMap", "v1", version, {"k8s.io/initial-events-end": "true"})

    watcher = Hub(store).open(MAPS, "7", initial_end=end)
    store.put(MAPS, obj("y"))
    assert seen(watcher) == [("ADDED", "x"), ("BOOKMARK", ""), ("ADDED", "y")]


@pytest.mark.parametrize(("version", "error"), [("7", Expired), ("9999", Expired), ("x", Invalid), ("-1", Invalid)])
def test_versions_that_cannot_be_resumed_are_refused(store: Store, version: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Hub(store).open(MAPS, version)


def test_a_closed_watch_sees_nothing_more(store: Store) -> None:
    hub = Hub(store)
    watcher = hub.open(MAPS, "100")
    hub.close(MAPS, watcher)
    store.put(MAPS, obj("x"))
    assert seen(watcher) == []


def test_a_client_that_falls_too_far_behind_is_ended() -> None:
    watcher = Watcher("", None, None)
    for _ in range(BACKLOG + 1):
        watcher.push(b"x\n")
    assert watcher.overrun


async def test_a_waiting_stream_wakes_with_the_first_line() -> None:
    import asyncio

    watcher = Watcher("", None, None)
    asyncio.get_running_loop().call_soon(watcher.push, b"x\n")
    await asyncio.wait_for(watcher.wait(60), 5)
    assert watcher.take() == b"x\n"
    await watcher.wait(0.01)
    assert watcher.take() == b""
