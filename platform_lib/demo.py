"""What does ``make demo`` do? Runbooks 01 to 05 in order on one platform, each with its own verification."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from platform_lib import cluster, runbook
from platform_lib.settings import settings
from platform_lib.wait import now


def steps() -> list[tuple[str, dict[str, Any]]]:
    """Return (runbook, parameters) in order.

    Versions carry the time, so that every demo deploys something new even when run again at once.
    """
    stamp = f"{now():%m%d%H%M%S}"
    name = settings().cluster_name
    return [
        ("01-setup", {}),
        ("02-deploy", {"version": f"1.1.0-{stamp}"}),
        ("03-observe-rollout", {"version": f"1.2.0-{stamp}"}),
        ("04-rollback", {"version": f"1.3.0-faulty-{stamp}"}),
        ("05-dr-drill", {"scenario": "pod-loss"}),
        ("05-dr-drill", {"scenario": "cluster-loss", "confirm": name}),
    ]


def run(*, progress: Callable[[str], None]) -> list[runbook.RunResult]:
    """Run the books; stop at the first that fails, since the next ones build on it."""
    results: list[runbook.RunResult] = []
    for book, values in steps():
        progress(f"{book} {values.get('scenario', values.get('version', ''))}".rstrip())
        results.append(runbook.run(book, {**values, "dry_run": False}, progress=lambda line: progress(f"  {line}")))
        if not results[-1].ok:
            break
    return results


def complete(results: list[runbook.RunResult]) -> bool:
    """Whether every step ran and passed its own verification."""
    return len(results) == len(steps()) and all(result.ok for result in results)


def addresses() -> list[tuple[str, str]]:
    """Where a person looks next; empty when no platform is up."""
    current = settings()
    found = [("reports", str((current.runs_dir / "index.html").resolve()))]
    state = cluster.status()
    return found + list(state.urls)
