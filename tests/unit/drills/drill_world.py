"""A drill without a platform: a fault in memory, a probe with made-up samples, a steady state on demand."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from platform_lib.drills import faults, undo
from platform_lib.drills.watch import Notes
from platform_lib.errors import PlatformError
from platform_lib.model import App, Platform
from platform_lib.rules.downtime import Samples, summarise
from platform_lib.wait import now

TEXT = """
title = "Something breaks"
why = "Because it can."
weight = {weight}
[fault]
action = "fake"
[expect]
text = "It comes back."
[limits]
timeout_s = 1.5
"""


@dataclass
class World:
    """What the fakes share; a test turns the knobs."""

    home: Path
    calls: list[str] = field(default_factory=list)
    pending_at: dict[str, int] = field(default_factory=dict)
    looks_until_over: float = 2
    strikes: bool = True
    breaks_in: str = ""
    breach: str = ""
    steady: bool = True
    unsupported: str = ""
    error: type[BaseException] = PlatformError
    looks: Any = field(default_factory=itertools.count)
    down_since: float | None = None
    down_until: float | None = None

    def step(self, name: str) -> None:
        self.calls.append(name)
        self.pending_at[name] = len(undo.pending(self.home))
        if name == self.breaks_in:
            raise self.error(f"{name} broke")


WORLD: list[World] = []


class FakeFault:
    """Strikes until it was looked at often enough."""

    LEARNED: ClassVar[dict[str, Any]] = {}

    def __init__(self, target: dict[str, Any]) -> None:
        self.told = target

    @classmethod
    def supported(cls, platform: Platform, app: App) -> str:
        return WORLD[-1].unsupported

    @classmethod
    def choose(cls, platform: Platform, app: App, *_: Any, **parameters: Any) -> FakeFault:
        return cls({"thing": "a", **parameters})

    @classmethod
    def from_target(cls, platform: Platform, app: App, target: dict[str, Any]) -> FakeFault:
        return cls(dict(target))

    def target(self) -> dict[str, Any]:
        return self.told

    def steps(self) -> tuple:
        return ()

    def prepare(self) -> None:
        WORLD[-1].step("prepare")
        self.told["prepared"] = True

    def inject(self) -> None:
        WORLD[-1].step("inject")
        if WORLD[-1].strikes:
            WORLD[-1].down_since = now().timestamp()

    restore = faults.base.OnApp.restore

    def recovered(self) -> tuple[bool, str]:
        world = WORLD[-1]
        world.step("recovered")
        if not world.strikes or next(world.looks) >= world.looks_until_over:
            world.down_until = world.down_until or now().timestamp()
            return True, "over"
        return False, "not over"

    def undo(self) -> None:
        WORLD[-1].down_until = WORLD[-1].down_until or now().timestamp()
        WORLD[-1].calls.append(f"undo {self.told}")
        WORLD[-1].step("undo")

    def figures(self, fault_at: Any) -> dict[str, Any]:
        return {}

    def checks(self) -> tuple:
        return ()


class FakeProbe:
    """Samples at 100 a second up to now; those between strike and end are lost."""

    def __init__(self) -> None:
        self.start = now().timestamp()

    def __enter__(self) -> FakeProbe:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def samples(self, *, since: Any = None, until: Any = None) -> Samples:
        world = WORLD[-1]
        times = np.arange(self.start, now().timestamp(), 0.01)
        lost = np.zeros(len(times), dtype=bool)
        if world.down_since is not None:
            lost = (times >= world.down_since) & (times < (world.down_until or np.inf))
        status = np.where(lost, 503, 200).astype(np.uint16)
        flat, text = np.ones(len(times), dtype=np.float32), np.full(len(times), "")
        found = Samples(times, flat, flat, status, text, text, text)
        return found if since is None else found.between(since.timestamp())

    def result(self) -> Any:
        return summarise(self.samples(), url="", rate_rps=100.0)

    def frame(self) -> Any:
        return None


class FakeWatch:
    """Sees nothing by itself; a breach is what the test says."""

    def __init__(self, *_: Any) -> None:
        self.notes = Notes()

    def __enter__(self) -> FakeWatch:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def arm(self) -> None:
        return None

    @property
    def breach(self) -> str:
        return WORLD[-1].breach

    def detected(self) -> None:
        return None

    def blind_s(self) -> dict[str, float]:
        return {}
