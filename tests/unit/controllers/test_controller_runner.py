"""How the runner reacts to changes, refusals, wrong objects and time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from simulated import MERGE, START, USER, Cluster, deployment, pod_template, service

from platform_lib.embedded.controllers.queue import Item, WorkQueue
from platform_lib.embedded.controllers.roster import Controller
from platform_lib.embedded.controllers.runner import Runner
from platform_lib.embedded.controllers.writes import Change, Key, Result, Snapshot, Write, event, merge
from platform_lib.embedded.schema import Schemas

CONFIGMAPS = "v1/configmaps"
ONE: Key = ("default", "one")


def item(name: str) -> Item:
    return Item("test", ("default", name))


def every_change(_: Snapshot, change: Change) -> Iterable[Key]:
    meta = change.obj["metadata"]
    return [(meta["namespace"], meta["name"])]


class Scripted:
    """A controller that answers what it was told to, in turn."""

    def __init__(self, *answers: Result | Exception) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[Key, Any]] = []

    def reconcile(self, snapshot: Snapshot, key: Key, now: datetime, memory: Any) -> Result:
        self.calls.append((key, memory))
        answer = self.answers.pop(0) if self.answers else Result()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def bare(schemas: Schemas, tmp_path: Path) -> Iterable[Cluster]:
    cluster = Cluster(tmp_path, schemas, nodes=0)
    cluster.settle()
    yield cluster
    cluster.store.close()


def running(cluster: Cluster, script: Scripted) -> Runner:
    controller = Controller("test", USER, frozenset({CONFIGMAPS}), every_change, script.reconcile, 1)
    cluster.runner = Runner(cluster.api, cluster.store, [controller], cluster.monotonic)
    return cluster.runner


def configmap(name: str = "one") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}


def test_item_that_waits_is_not_queued_twice() -> None:
    queue = WorkQueue()
    for name in ("a", "b", "a"):
        queue.add(item(name), 1)
    assert [queue.pop(0), queue.pop(0), queue.pop(0)] == [item("a"), item("b"), None]


def test_lower_priority_numbers_go_first() -> None:
    queue = WorkQueue()
    queue.add(item("work"), 1)
    queue.add(item("traffic"), 0)
    assert queue.pop(0) == item("traffic")


def test_item_with_a_time_waits_for_it_and_the_last_wish_counts() -> None:
    queue = WorkQueue()
    queue.set_due(item("a"), 1, 5.0)
    queue.set_due(item("a"), 1, 9.0)
    assert (queue.next_due(), queue.pop(5.0), queue.pop(9.0)) == (9.0, None, item("a"))
    queue.set_due(item("a"), 1, 20.0)
    queue.set_due(item("a"), 1, None)
    assert (queue.next_due(), queue.pop(30.0)) == (None, None)


def test_refused_write_comes_back_with_growing_delays(bare: Cluster) -> None:
    bad = Result([Write("create", "v1/pods", "default", "x", {"apiVersion": "v1", "kind": "Pod", "metadata": {}})])
    script = Scripted(*[bad] * 4)
    runner = running(bare, script)
    bare.create(configmap())
    delays = []
    for _ in range(4):
        bare.settle()
        due = runner.queue.next_due()
        assert due is not None
        delays.append(round(due - bare.monotonic(), 3))
        bare.now += timedelta(seconds=due - bare.monotonic() + 0.001)
    assert delays == [0.01, 0.02, 0.04, 0.08]


def test_stale_write_is_tried_again_at_once(bare: Cluster) -> None:
    stale = bare.create(configmap())
    bare.patch(CONFIGMAPS, "one", {"data": {"a": "1"}})
    script = Scripted(Result([merge(CONFIGMAPS, stale, {"data": {"a": "2"}}, guarded=True)]))
    runner = running(bare, script)
    bare.patch(CONFIGMAPS, "one", {"data": {"b": "1"}})
    bare.settle()
    assert len(script.calls) == 2
    assert runner.queue.next_due() is None
    assert bare.get(CONFIGMAPS, "one")["data"] == {"a": "1", "b": "1"}


def test_key_that_keeps_clashing_waits(bare: Cluster) -> None:
    stale = bare.create(configmap())
    bare.patch(CONFIGMAPS, "one", {"data": {"a": "1"}})
    clash = Result([merge(CONFIGMAPS, stale, {"data": {"a": "2"}}, guarded=True)])
    script = Scripted(*[clash] * 50)
    runner = running(bare, script)
    bare.patch(CONFIGMAPS, "one", {"data": {"b": "1"}})
    bare.settle()
    assert len(script.calls) == 6
    assert runner.queue.next_due() is not None


def test_bug_in_a_controller_is_logged_with_its_key_and_stops_nobody(
    bare: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    script = Scripted(ValueError("odd object"))
    running(bare, script)
    bare.create(configmap("odd"))
    bare.create(configmap("fine"))
    with caplog.at_level(logging.WARNING):
        bare.settle()
    assert [key[1] for key, _ in script.calls] == ["odd", "fine"]
    assert "test default/odd - unexpected ValueError" in caplog.text
    bare.advance(1, leases=False)
    assert [key[1] for key, _ in script.calls] == ["odd", "fine", "odd"]


def test_memory_of_a_result_is_given_to_the_next_reconcile(bare: Cluster) -> None:
    script = Scripted(Result((), 1.0, "noted"), Result())
    running(bare, script)
    bare.create(configmap())
    bare.settle()
    bare.advance(1.1, leases=False)
    assert script.calls == [(ONE, None), (ONE, "noted")]


def test_write_for_an_object_of_the_same_name_but_another_uid_is_refused(bare: Cluster) -> None:
    first = bare.create(configmap())
    bare.delete(CONFIGMAPS, "one")
    bare.create(configmap())
    script = Scripted(Result([merge(CONFIGMAPS, first, {"data": {"a": "1"}})]))
    running(bare, script)
    bare.patch(CONFIGMAPS, "one", {"data": {"b": "1"}})
    bare.settle()
    assert bare.get(CONFIGMAPS, "one")["data"] == {"b": "1"}


def test_equal_events_are_counted_up(bare: Cluster) -> None:
    found = bare.create(configmap())
    said = Result([event(found, "Hello", "same words")])
    running(bare, Scripted(said, said, said))
    for number in range(3):
        bare.patch(CONFIGMAPS, "one", {"data": {"n": str(number)}})
        bare.settle()
    (told,) = [one for one in bare.list("v1/events") if one["reason"] == "Hello"]
    assert told["count"] == 3
    assert told["involvedObject"]["uid"] == found["metadata"]["uid"]


def test_flood_of_events_about_one_object_is_cut_off(bare: Cluster) -> None:
    found = bare.create(configmap())
    running(bare, Scripted(Result([event(found, "Flood", f"words {number}") for number in range(60)])))
    bare.patch(CONFIGMAPS, "one", {"data": {"n": "1"}})
    bare.settle()
    assert len(bare.events("Flood")) == 25


def test_restart_continues_where_the_store_is(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=3))
    for _ in range(4):
        cluster.runner.step()
    cluster.restart_controllers()
    cluster.run_to_rest()
    assert cluster.get("apps/v1/deployments", "web")["status"]["readyReplicas"] == 3
    assert len(cluster.list("v1/pods")) == 3


def test_restart_at_rest_changes_nothing(cluster: Cluster) -> None:
    cluster.create(service())
    cluster.create(deployment(replicas=3))
    cluster.run_to_rest()
    before = cluster.store.version
    cluster.restart_controllers()
    cluster.settle()
    assert cluster.store.version == before


def test_process_that_stood_still_does_not_take_its_nodes_for_lost(cluster: Cluster) -> None:
    cluster.settle()
    cluster.now = START.replace(minute=1)
    cluster.runner.forgive_stall()
    cluster.settle()
    cluster.renew_leases()
    cluster.advance(3)
    found = cluster.api.get("v1/nodes", "node-0")
    assert [one["status"] for one in found["status"]["conditions"] if one["type"] == "Ready"] == ["True"]


async def test_runner_sleeps_until_something_changes(bare: Cluster) -> None:
    script = Scripted()
    loop = asyncio.get_running_loop()
    controller = Controller("test", USER, frozenset({CONFIGMAPS}), every_change, script.reconcile, 1)
    task = loop.create_task(Runner(bare.api, bare.store, [controller], loop.time).run())
    for _ in range(20):
        await asyncio.sleep(0)
    script.calls.clear()
    began = loop.time()
    bare.create(configmap())
    while not script.calls:
        await asyncio.sleep(0)
    assert loop.time() - began < 0.1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_change_of_a_pod_asks_no_controller_that_it_does_not_concern(cluster: Cluster) -> None:
    cluster.create(deployment("other", replicas=1, template=pod_template("other")))
    cluster.create(service())
    cluster.create(deployment(replicas=1))
    cluster.run_to_rest()
    pod = next(one for one in cluster.list("v1/pods") if one["metadata"]["labels"]["app"] == "other")
    body = {"status": {"message": "x"}}
    cluster.api.patch("v1/pods", pod["metadata"]["name"], body, "default", content_type=MERGE, user=USER, sub="status")
    asked = []
    while (found := cluster.runner.queue.pop(cluster.monotonic())) is not None:
        asked.append(found.controller)
    assert asked == ["replicaset-controller"]
