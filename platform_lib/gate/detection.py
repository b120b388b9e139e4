"""When could the fault of a version be seen, and when was it certain? Read from the watch of a rollout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from platform_lib.model import Verdict
from platform_lib.rollout import Watch, watch_rollout
from platform_lib.rules import downtime
from platform_lib.rules.verdict import Limits
from platform_lib.wait import now

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Detection:
    """When a fault could be seen, was seen and was certain.

    Attributes:
        verdict: The failing verdict; another status means that nothing was detected.
        changed_at: When the version was committed.
        exposed_at: First pod or first answer of the version; None when there was none.
        symptom_at: First failed or slow request after the change; None when there was none.
        detected_at: When the verdict failed; None when it did not.
    """

    verdict: Verdict
    changed_at: datetime
    exposed_at: datetime | None
    symptom_at: datetime | None
    detected_at: datetime | None

    @property
    def detect_s(self) -> float | None:
        """Seconds from exposure to the failing verdict; None when nothing was detected."""
        start = self.exposed_at or self.changed_at
        return None if self.detected_at is None else max((self.detected_at - start).total_seconds(), 0.0)


def detect(
    watch: Watch,
    *,
    version: str,
    timeout_s: float = 60.0,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Detection:
    """Watch the live verdict on a version and return as soon as it fails.

    Args:
        watch: An entered watch that saw the old version and carries the mark ``change``.
        version: The new version.
        timeout_s: Seconds to watch at most.
        limits: What it is held to.
        progress: Called with each new reason.
    """
    found = watch_rollout(watch, version=version, timeout_s=timeout_s, limits=limits, progress=progress)
    return dated(watch, version, found, limits)


def dated(watch: Watch, version: str, found: Verdict, limits: Limits | None) -> Detection:
    """Date a verdict that was reached just now.

    Args:
        watch: The watch it was reached from.
        version: The new version.
        found: The verdict.
        limits: What the version was held to; says which requests count as slow.
    """
    detected = now() if found.status == "fail" else None
    changed = dict(watch.marks).get("change", watch.started_at)
    samples = watch.probe.samples(since=changed)
    slow_ms = watch.limits(limits).slow_ms or np.inf
    symptoms = samples.intended[~samples.good | (samples.latency_ms > slow_ms)]
    answers = samples.intended[samples.version == version]
    moments = [watch.first_pod_of(version), downtime.utc(float(answers[0])) if len(answers) else None]
    return Detection(
        verdict=found,
        changed_at=changed,
        exposed_at=min((moment for moment in moments if moment is not None), default=None),
        symptom_at=downtime.utc(float(symptoms[0])) if len(symptoms) else None,
        detected_at=detected,
    )
