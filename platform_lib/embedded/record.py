"""What is on record about the platform's own processes, and how patient are those who restart them?

``processes.json`` is written by the supervisor alone; ``desired.json`` by whoever brings the platform up or
breaks it on purpose. Reading them must stay cheap: the guardian imports this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from platform_lib.embedded.config import Config

BACKOFF_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pause before restart number n; the first restart is immediate, the last value is the cap."""
SETTLED_S = 10.0
"""A component that ran this long starts again without a pause."""


def record_file(config: Config) -> Path:
    """Return the path of ``processes.json``."""
    return config.cluster_dir / "processes.json"


def read_record(config: Config) -> dict[str, Any]:
    """Read ``processes.json``; empty when there is none (or one that a full disk cut short)."""
    try:
        record: dict[str, Any] = json.loads(record_file(config).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record


def desired_stopped(config: Config) -> set[str]:
    """Return the components that ``desired.json`` wants stopped."""
    try:
        return set(json.loads((config.cluster_dir / "desired.json").read_text())["stopped"])
    except FileNotFoundError:
        return set()
