"""How long did each stage of bringing a platform up or down take? Timed, told to a person, and returned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from platform_lib.model import Outcome
from platform_lib.wait import monotonic, now

Progress = Callable[[str], None]


@dataclass(slots=True)
class Stages:
    """Times the stages of one operation and tells a person about each."""

    progress: Progress
    started_at: datetime = field(default_factory=now)
    begun: float = field(default_factory=monotonic)
    times: list[tuple[str, float]] = field(default_factory=list)
    current: str = ""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block under a name."""
        self.current = name
        start = monotonic()
        yield
        self.times.append((name, round(monotonic() - start, 3)))
        self.progress(f"{name}: {self.times[-1][1]:.2f} s")

    def outcome(self, operation: str, message: str, **figures: Any) -> Outcome:
        """Return what happened."""
        return Outcome(
            operation=operation,
            ok=True,
            started_at=self.started_at,
            finished_at=now(),
            figures=figures,
            stages=tuple(self.times),
            message=message,
        )
