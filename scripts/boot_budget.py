"""How long did the platform take to come up, against the budget? Reads what ``apqx up --json`` printed.

Usage: scripts/boot_budget.py PROVIDER OUTCOME.json [--summary FILE]; exit code 1 when the budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BUDGET_S = {
    "embedded": 60.0,  # up_timeout_s; usual 2 to 4 s
    "k3d": 480.0,  # on a runner that has no image yet; a cluster, Argo CD, monitoring and the application
}
"""Seconds from nothing to the first answer through the ingress. Tighten it once a few runs are known."""


def main() -> int:
    """Print the stages and the sum as Markdown; 1 when the sum is above the budget."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("provider", choices=sorted(BUDGET_S))
    parser.add_argument("outcome", type=Path)
    parser.add_argument("--summary", type=Path, help="append the table to this file")
    arguments = parser.parse_args()
    text, total_s = table(json.loads(arguments.outcome.read_text()), BUDGET_S[arguments.provider])
    print(text)
    if arguments.summary:
        with arguments.summary.open("a") as file:
            file.write(f"### boot time, {arguments.provider}\n\n{text}\n")
    return int(total_s > BUDGET_S[arguments.provider])


def table(outcome: dict[str, Any], budget_s: float) -> tuple[str, float]:
    """Return the stages as Markdown and their sum in seconds."""
    stages = [(str(name), float(seconds)) for name, seconds in outcome["stages"]]
    if not stages:
        raise SystemExit("boot_budget: the outcome has no stages, expected some; was the platform up already?")
    total_s = sum(seconds for _, seconds in stages)
    rows = [f"| {name} | {seconds:.1f} |" for name, seconds in stages]
    verdict = "within" if total_s <= budget_s else "**over**"
    last = f"| sum, {verdict} the budget of {budget_s:.0f} s | {total_s:.1f} |"
    return "\n".join(("| stage | seconds |", "|---|---:|", *rows, last)), total_s


if __name__ == "__main__":
    raise SystemExit(main())
