"""How do other tools read a drill? Its journal in the format of the Chaos Toolkit, one JSON document per drill.

Source: chaostoolkit-lib 1.x, ``chaoslib.run`` (journal) and the experiment specification 1.0; the fields that the
toolkit's report generator reads are all there.
"""

from __future__ import annotations

import json
import platform as machine
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from platform_lib.drills.scenario import Scenario
from platform_lib.model import Check, to_json
from platform_lib.wait import now

Status = Literal["completed", "failed", "aborted", "interrupted"]
Phase = Literal["before", "during", "after"]

LIB_VERSION = "1.44.0"
"""Version of the journal format that is followed; report tools choose their template by it."""
SPEC_VERSION = "1.0.0"
MODULE = "platform_lib.drills"


class Record:
    """Collects what a drill does, in order, and writes it as a journal.

    Args:
        drill: The scenario.
        target: What the fault breaks, as JSON.
        platform: Name of the platform.
        app: Name of the application.
    """

    def __init__(self, drill: Scenario, target: dict[str, Any], *, platform: str, app: str) -> None:
        self.drill, self.started = drill, now()
        self._where = {"platform": platform, "app": app}
        self._fault = {"action": drill.fault.action, **drill.fault.parameters, "target": target, **self._where}
        self.status: Status = "completed"
        self._run: list[dict[str, Any]] = []
        self._rollbacks: list[dict[str, Any]] = []
        self._states: dict[str, Any] = {"before": None, "after": None, "during": []}

    @contextmanager
    def activity(self, name: str, *, rollback: bool = False) -> Iterator[dict[str, Any]]:
        """Record what happens in the block as an action; ``output`` of the yielded entry is its result."""
        entry: dict[str, Any] = {"activity": self._action(name), "output": None, "status": "succeeded"}
        start = now()
        try:
            yield entry
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            entry |= {"status": "aborted" if interrupted else "failed", "exception": traceback.format_exception(error)}
            raise
        finally:
            (self._rollbacks if rollback else self._run).append(entry | _times(start, now()))

    def steady(self, phase: Phase, checks: tuple[Check, ...]) -> None:
        """Record one look at the steady state."""
        moment = now()
        state = {
            "steady_state_met": all(check.status == "pass" for check in checks),
            "probes": [self._probe_run(check, moment) for check in checks],
        }
        if phase == "during":
            self._states["during"].append(state)
        else:
            self._states[phase] = state

    def document(self, *, deviated: bool, figures: dict[str, Any]) -> dict[str, Any]:
        """Return the journal.

        Args:
            deviated: Whether the steady state did not hold after the fault.
            figures: Measures of the drill, kept under ``apqx``; other tools ignore that key.
        """
        end = now()
        return {
            "chaoslib-version": LIB_VERSION,
            "platform": machine.platform(),
            "node": machine.node(),
            "experiment": self._experiment(),
            "start": _iso(self.started),
            "status": self.status,
            "deviated": deviated,
            "steady_states": self._states,
            "run": self._run,
            "rollbacks": self._rollbacks,
            "end": _iso(end),
            "duration": max((end - self.started).total_seconds(), 1e-6),
            "apqx": to_json(figures),
        }

    def _experiment(self) -> dict[str, Any]:
        """Describe the scenario as an experiment."""
        before = self._states["before"] or {"probes": []}
        return {
            "version": SPEC_VERSION,
            "title": self.drill.title,
            "description": f"{self.drill.why} {self.drill.expect.text}",
            "tags": ["apqx", self.drill.name, self.drill.fault.action],
            "contributions": {"reliability": _level(self.drill.weight)},
            "steady-state-hypothesis": {
                "title": f"{self._where['app']} is steady",
                "probes": [run["activity"] for run in before["probes"]],
            },
            "method": [run["activity"] for run in self._run],
            "rollbacks": [run["activity"] for run in self._rollbacks],
        }

    def _action(self, name: str) -> dict[str, Any]:
        """Describe an action."""
        provider = {"type": "python", "module": MODULE, "func": self.drill.fault.action, "arguments": self._fault}
        return {"type": "action", "name": name, "provider": provider}

    def _probe_run(self, check: Check, moment: datetime) -> dict[str, Any]:
        """Record one check of the steady state as a probe that returned whether it holds."""
        met = check.status == "pass"
        provider = {"type": "python", "module": MODULE, "func": "steady", "arguments": self._where}
        activity = {"type": "probe", "name": f"{check.name}: {check.rule}", "tolerance": True, "provider": provider}
        return {
            "activity": activity,
            "output": met,
            "status": "succeeded",
            "tolerance_met": met,
            "text": check.value,
            **_times(moment, moment),
        }


def write(document: dict[str, Any], folder: Path) -> Path:
    """Write ``journal.json`` into a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal.json"
    path.write_text(json.dumps(document, indent=1, default=str))
    return path


def _times(start: datetime, end: datetime) -> dict[str, Any]:
    """Start, end and length of an activity."""
    return {"start": _iso(start), "end": _iso(end), "duration": (end - start).total_seconds()}


def _iso(moment: datetime) -> str:
    """Write a moment as the toolkit does."""
    return moment.isoformat()


def _level(weight: int) -> str:
    """Turn a weight into the toolkit's three levels."""
    return "high" if weight >= 7 else "medium" if weight >= 4 else "low"
