"""Fixtures for drills without a platform; the fakes are in drill_world."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from platform_lib.drills import catalogue, conduct, faults, scenario, steady
from platform_lib.model import Check, Platform

sys.path.insert(0, str(Path(__file__).parent))
from drill_world import TEXT, WORLD, FakeFault, FakeProbe, FakeWatch, World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Put the fakes in place and return their knobs."""
    made = World(tmp_path / "home")
    WORLD.append(made)
    folder = tmp_path / "scenarios"
    folder.mkdir()
    for name, weight in (("first", 8), ("second", 2)):
        (folder / f"{name}.toml").write_text(TEXT.format(weight=weight))
    monkeypatch.setattr(scenario, "FOLDER", folder)
    monkeypatch.setitem(faults.ACTIONS, "fake", FakeFault)
    monkeypatch.setattr(conduct, "start_probe", lambda *_, **__: FakeProbe())
    monkeypatch.setattr(conduct, "Watch", FakeWatch)
    monkeypatch.setattr(conduct, "WARMUP_S", 0.2)
    monkeypatch.setattr(conduct, "SETTLE_S", 0.05)
    monkeypatch.setattr(catalogue, "SETTLE_S", 0.05)

    def examine(*_: Any) -> tuple[Check, ...]:
        return (Check("ready", "pass" if made.steady else "fail", "2 of 2", "all", ""),)

    monkeypatch.setattr(steady, "examine", examine)
    yield made
    WORLD.pop()


@pytest.fixture
def platform(world: World) -> Platform:
    """A platform that is only its state folder."""
    return Platform("apqx", "embedded", world.home / "kubeconfig", "apqx", "", "", "", world.home)
