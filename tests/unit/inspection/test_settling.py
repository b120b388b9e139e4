"""When is an application that was well not well any more? Read from two of its states."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from platform_lib.inspection.waiting import broken_by
from platform_lib.model import AppState, PodState

POD = PodState("web-1", "node", "1.0", "Running", ready=True, restarts=2, reason="", image="i")
WELL = AppState(
    "web", datetime(2026, 1, 1, tzinfo=UTC), "Synced", "Healthy", "a" * 40, "Succeeded", "", (), (), 1, 1, (POD,)
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"health_status": "Progressing"}, "Synced, Progressing"),
        ({"sync_status": "OutOfSync"}, "OutOfSync, Healthy"),
        ({"revision": "b" * 40}, "went on to bbbbbbb"),
        ({"pods": (replace(POD, restarts=3),)}, "web-1 restarted"),
        ({"pods": (replace(POD, reason="OOMKilled exit 137"),)}, "web-1: OOMKilled exit 137"),
        ({"pods": (POD, replace(POD, name="web-2", restarts=1))}, "web-2 restarted"),
    ],
    ids=["health", "drift", "another-commit", "restart", "failing", "new-pod-that-crashed"],
)
def test_what_breaks_is_named(change: dict[str, Any], said: str) -> None:
    assert said in broken_by(replace(WELL, **change), WELL)


@pytest.mark.parametrize(
    "change",
    [{}, {"pods": ()}, {"pods": (POD, replace(POD, name="old", phase="Terminating", reason="Error exit 143"))}],
    ids=["the-same", "scaled-down", "an-old-pod-leaves"],
)
def test_what_belongs_to_an_ordinary_life_does_not_break_it(change: dict[str, Any]) -> None:
    assert broken_by(replace(WELL, **change), WELL) == ""


def test_what_was_out_of_sync_when_it_was_well_may_stay_so() -> None:
    kept = replace(WELL, sync_status="OutOfSync")
    assert broken_by(kept, kept) == broken_by(WELL, kept) == ""
    assert broken_by(replace(kept, health_status="Degraded"), kept) == "OutOfSync, Degraded"
