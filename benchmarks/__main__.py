"""Run the benchmarks: ``python -m benchmarks [part ...]``; writes results/latest.json and prints a table."""

from __future__ import annotations

import argparse
import json
import os
import platform as machine
import sys
from pathlib import Path
from typing import Any

from benchmarks.parts import PARTS
from benchmarks.place import private
from platform_lib.wait import now

RESULTS = Path(__file__).parent / "results"
GOALS = {
    ("first_200", "time_to_first_200_s"): 4.0,
    ("cluster_loss", "rto_s"): 8.0,
    ("rollout", "requests_failed"): 0.0,
    ("rollback", "rollback_s"): 20.0,
    ("demo", "wall_s"): 180.0,
    ("memory", "total_mb"): 450.0,
}
"""Upper limits on a machine with two cores; goals, not assertions."""


def main() -> int:
    """Measure, write, print; 1 when a part failed, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[*PARTS, []], help="default: all")
    chosen = parser.parse_args().part or list(PARTS)
    found: dict[str, Any] = {
        "measured_at": now().isoformat(timespec="seconds"),
        "machine": {"cpus": os.cpu_count(), "system": machine.platform(), "python": machine.python_version()},
        "loadavg_before": os.getloadavg(),
        "parts": {},
    }
    with private():
        for name in (name for name in PARTS if name in chosen):
            print(f"{name} ...", flush=True)
            found["parts"][name] = _measured(name)
            _write(found | {"loadavg_after": os.getloadavg()})
    for line in table(found["parts"]):
        print(line)
    print(f"load average before {found['loadavg_before'][0]:.2f}, now {os.getloadavg()[0]:.2f}")
    return int(any("error" in figures for figures in found["parts"].values()))


def _measured(name: str) -> dict[str, Any]:
    """Return the figures of a part; a part that fails is a finding and does not end the others."""
    load = os.getloadavg()[0]
    try:
        return PARTS[name]() | {"loadavg": load}
    except Exception as error:
        print(f"  {name} failed: {error}", file=sys.stderr)
        return {"error": f"{type(error).__name__}: {error}", "loadavg": load}


def _write(found: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(found, indent=1) + "\n")


def table(parts: dict[str, dict[str, Any]]) -> list[str]:
    """Return one line per figure, with the goal beside it where there is one."""
    lines = ["", f"{'part':<13} {'figure':<28} {'value':>12}  goal"]
    for part, figures in parts.items():
        for name, value in _flat(figures):
            goal = GOALS.get((part, name))
            text = f"{value:,.2f}" if isinstance(value, float) else str(value)
            held = "" if goal is None else f"<= {goal:g}  {'met' if value <= goal else 'MISSED'}"
            lines.append(f"{part:<13} {name:<28} {text:>12}  {held}".rstrip())
    return lines


def _flat(figures: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return numbers and words, one level of nesting written with a space; lists stay in the file."""
    rows: list[tuple[str, Any]] = []
    for name, value in figures.items():
        if isinstance(value, dict):
            rows += [(f"{name} {inner}", item) for inner, item in value.items() if not isinstance(item, (dict, list))]
        elif not isinstance(value, list) and name != "loadavg":
            rows.append((name, value))
    return rows


if __name__ == "__main__":
    sys.exit(main())
