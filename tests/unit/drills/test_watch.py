"""Who noticed, who was blind, and what must not break: each in both directions, on views made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from platform_lib.drills import scenario, steady, watch
from platform_lib.drills.watch import View, Watch
from platform_lib.errors import Unreachable
from platform_lib.model import App, Platform

STEADY = View(
    ready=2,
    wanted=2,
    pods=frozenset({"a", "b"}),
    nodes=frozenset({"n1", "n2", "n3"}),
    healthy_apps=frozenset({"sample-app", "monitoring"}),
    health="Healthy",
    sync="Synced",
    operation="t0",
)


class Scene:
    """A watch whose looks are what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, target: dict, **changes) -> None:
        self.view: View | Exception = STEADY
        self.age: float | Exception = 1.0
        monkeypatch.setattr(Watch, "_view", lambda _self: self._now(self.view))
        monkeypatch.setattr(Watch, "_down_targets", lambda _self: [])
        monkeypatch.setattr(steady, "sample_age_s", lambda _platform: self._now(self.age))
        monkeypatch.setattr(watch, "GRACE_S", 0.0)
        drill = scenario.load("pod-loss").model_copy(update=changes)
        platform = Platform("apqx", "embedded", Path("k"), "apqx", "", "", "", Path("h"))
        self.watch = Watch(platform, App(), drill, target)

    def _now(self, what):
        if isinstance(what, Exception):
            raise what
        return what

    def look(self) -> Watch:
        self.watch._look_at_cluster()
        self.watch._look_at_metrics()
        return self.watch


GONE = Unreachable("no answer")


def test_nothing_is_noticed_while_nothing_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, target={})
    scene.watch.arm()
    found = scene.look()
    assert (found.detected(), found.breach, found.blind_s()) == (None, "", {})


def test_a_missing_pod_is_noticed_only_once_the_fault_is_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, target={})
    scene.view = replace(STEADY, ready=1)
    assert scene.look().detected() is None
    scene.watch.arm()
    moment, source, seen = scene.look().detected() or pytest.fail("nobody noticed")
    assert (source, seen) == ("kubernetes", "1 of 2 pods ready") and moment.tzinfo is not None


def test_a_new_pod_is_the_first_sign_of_a_reaction(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, target={})
    scene.watch.arm()
    assert scene.look().notes.reacted is None
    scene.view = replace(STEADY, pods=frozenset({"b", "c"}))
    assert "1 new pods" in scene.look().notes.reacted[1]


@pytest.mark.parametrize(
    ("target", "breach"), [({"node": "n2"}, ""), ({"node": "n3"}, "safeguard other-nodes: n2 not ready")]
)
def test_only_a_node_outside_the_drill_stops_it(monkeypatch: pytest.MonkeyPatch, target: dict, breach: str) -> None:
    scene = Scene(monkeypatch, target=target)
    scene.view = replace(STEADY, nodes=frozenset({"n1", "n3"}))
    assert scene.look().breach == breach


@pytest.mark.parametrize(
    ("left", "breach"),
    [({"monitoring"}, ""), ({"sample-app"}, "safeguard other-apps: monitoring not healthy")],
)
def test_only_another_application_stops_it(monkeypatch: pytest.MonkeyPatch, left: set, breach: str) -> None:
    scene = Scene(monkeypatch, target={})
    scene.view = replace(STEADY, healthy_apps=frozenset(left))
    assert scene.look().breach == breach


def test_a_short_trouble_outside_is_forgiven(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(monkeypatch, target={})
    monkeypatch.setattr(watch, "GRACE_S", 60.0)
    scene.view = replace(STEADY, healthy_apps=frozenset({"sample-app"}))
    assert scene.look().breach == "" and "other-apps" in scene.watch.notes.trouble
    scene.view = STEADY
    assert "other-apps" not in scene.look().notes.trouble


@pytest.mark.parametrize(("safeguards", "stops"), [(("api",), True), ((), False)])
def test_an_api_that_is_not_the_target_must_answer(
    monkeypatch: pytest.MonkeyPatch, safeguards: tuple, stops: bool
) -> None:
    scene = Scene(monkeypatch, target={}, safeguards=safeguards)
    scene.view = GONE
    scene.watch.arm()
    found = scene.look()
    assert bool(found.breach) is stops and "kubernetes" in found.notes.blind


@pytest.mark.parametrize("age", [GONE, steady.STALE_S + 1])
def test_prometheus_away_or_stale_is_found_blind_and_sees_again(monkeypatch: pytest.MonkeyPatch, age) -> None:
    scene = Scene(monkeypatch, target={})
    scene.watch.arm()
    scene.age = age
    assert "blind" in scene.look().notes.noticed["prometheus"][1]
    scene.age = 1.0
    ((start, end),) = scene.look().notes.blind["prometheus"]
    assert start < end and scene.watch.blind_s()["prometheus"] >= 0
