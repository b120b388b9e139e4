from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from platform_lib.embedded.store import HISTORY, Event, Store
from platform_lib.errors import ApiError, Expired

PODS = "v1/pods"


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": name} | metadata,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite3"


def test_objects_and_versions_survive_a_reopened_database(path: Path) -> None:
    store = Store(path)
    store.put(PODS, pod("a"))
    store.put(PODS, pod("b"))
    store.delete(PODS, "default", "b")
    last = store.version
    again = Store(path)  # the first one was never closed, as after a kill
    assert [obj["metadata"]["name"] for obj in again.list(PODS)] == ["a"]
    assert again.version >= last


def test_versions_start_at_the_wall_clock_so_a_rebuilt_cluster_is_newer(tmp_path: Path) -> None:
    old = Store(tmp_path / "old.sqlite3", seed=1000)
    for _ in range(50):
        old.put(PODS, pod("a"))
    assert Store(tmp_path / "new.sqlite3").version > old.version


def test_subscribers_see_old_and_new_in_order(path: Path) -> None:
    store, seen = Store(path), list[Event]()
    stop = store.subscribe(seen.append)
    store.put(PODS, pod("a"))
    store.put(PODS, pod("a", labels={"x": "y"}))
    store.delete(PODS, "default", "a")
    stop()
    store.put(PODS, pod("b"))
    assert [event.type for event in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert [event.old is None for event in seen] == [True, False, False]
    assert [event.rv for event in seen] == sorted({event.rv for event in seen})
    assert seen[2].obj["metadata"]["resourceVersion"] == str(seen[2].rv)


def test_history_resumes_after_a_given_version(path: Path) -> None:
    store = Store(path)
    first = store.put(PODS, pod("a"))
    store.put(PODS, pod("b"))
    records = store.since(PODS, int(first["metadata"]["resourceVersion"]))
    assert [record.type for record in records] == ["ADDED"]


def test_history_resumes_over_a_restart_with_deletions(path: Path) -> None:
    store = Store(path, seed=100)
    first = store.put(PODS, pod("a"))
    store.put(PODS, pod("b"))
    store.put(PODS, pod("c"))
    store.delete(PODS, "default", "b")
    again = Store(path, seed=100)
    records = again.since(PODS, int(first["metadata"]["resourceVersion"]))
    assert [(record.type, b'"b"' in record.raw) for record in records] == [
        ("ADDED", False),
        ("DELETED", True),
    ]


def test_a_version_before_the_history_is_expired(path: Path) -> None:
    store = Store(path, seed=100)
    for _ in range(HISTORY + 5):
        store.put(PODS, pod("a"))
    with pytest.raises(Expired, match="too old resource version: 101"):
        store.since(PODS, 101)


def test_a_version_of_another_cluster_is_expired(path: Path) -> None:
    store = Store(path, seed=100)
    with pytest.raises(Expired):
        store.since(PODS, 5000)
    with pytest.raises(Expired):
        store.since(PODS, 5)


def test_owner_index_follows_changes(path: Path) -> None:
    store = Store(path)
    store.put(PODS, pod("a", ownerReferences=[{"uid": "rs"}]))
    store.put(PODS, pod("b", ownerReferences=[{"uid": "rs"}]))
    store.put(PODS, pod("a"))
    assert [obj["metadata"]["name"] for obj in store.owned_by("rs")] == ["b"]
    store.delete(PODS, "default", "b")
    assert list(store.owned_by("rs")) == []


def test_a_full_disk_is_a_500_that_names_the_folder_and_recovers(path: Path) -> None:
    store = Store(path)
    store.put(PODS, pod("a"))
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages}")
    before = store.version
    big = {"note": "x" * 500_000}
    with pytest.raises(ApiError, match="could not save the change") as caught:
        store.put(PODS, pod("b", annotations=big))
    assert caught.value.context["status"] == 500
    assert str(path.parent) in caught.value.message
    assert (store.get(PODS, "default", "b"), store.version) == (None, before)
    store._db.execute("PRAGMA max_page_count=1000000")
    store.put(PODS, pod("b", annotations=big))
    assert len(Store(path).list(PODS)) == 2


def test_a_read_only_database_refuses_deletes_and_keeps_the_object(path: Path) -> None:
    store = Store(path)
    store.put(PODS, pod("a"))
    store._db.execute("PRAGMA query_only=ON")
    with pytest.raises(ApiError):
        store.delete(PODS, "default", "a")
    assert store.get(PODS, "default", "a") is not None
    store._db.execute("PRAGMA query_only=OFF")
    store.delete(PODS, "default", "a")
    assert store.get(PODS, "default", "a") is None


def test_a_checkpoint_moves_the_log_into_the_database(path: Path) -> None:
    store = Store(path)
    for number in range(20):
        store.put(PODS, pod(f"p{number}"))
    store.checkpoint()
    store.close()
    assert sqlite3.connect(path).execute("SELECT count(*) FROM objects").fetchone() == (20,)


def test_transient_objects_take_no_version_and_no_room_on_disk(path: Path) -> None:
    store, seen = Store(path), list[Event]()
    store.subscribe(seen.append)
    before = store.version
    store.put_transient("metrics/v1/pods", pod("a"))
    assert [obj["metadata"]["name"] for obj in store.list("metrics/v1/pods")] == ["a"]
    store.delete("metrics/v1/pods", "default", "a")
    assert (store.version, list(store.list("metrics/v1/pods"))) == (before, [])
    assert [event.type for event in seen] == ["ADDED", "DELETED"]
    assert list(Store(path).resources()) == []
