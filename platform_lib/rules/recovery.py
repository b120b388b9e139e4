"""Do users have their service back? A claim about a ratio needs so many requests, and no fewer; pure arithmetic."""

from __future__ import annotations

from math import ceil

import numpy as np

from platform_lib.model import Check
from platform_lib.rules.downtime import Samples, failure_upper_bound
from platform_lib.rules.verdict import kinds


def requests_to_claim(failed: int, objective: float) -> int:
    """Return how many requests, so many of them failed, put the 95 % bound at or below the objective.

    Args:
        failed: Failed requests among them.
        objective: Allowed ratio of failed requests, above 0 and below 1.

    Returns:
        Nothing failed: 3 / objective (rule of three), 300 for 1 %.
    """
    low, high = failed, ceil(3.0 / objective) + ceil(4 * (failed + 3) / objective)
    while low < high:
        middle = (low + high) // 2
        bound = failure_upper_bound(failed, middle)
        low, high = (low, middle) if bound is not None and bound <= objective + 1e-12 else (middle + 1, high)
    return low


def wanted_requests(after: Samples, objective: float) -> int:
    """Return how many requests the proof needs, given those that failed so far."""
    return requests_to_claim(int((~after.good).sum()), objective)


def since_last_answer(samples: Samples, version: str, since: float) -> float:
    """Return when a version answered last, in Unix seconds; ``since`` when it did not answer after that."""
    answers = samples.intended[(samples.version == version) & (samples.intended >= since)]
    return float(np.nextafter(answers[-1], np.inf)) if len(answers) else since


def proof(after: Samples, *, version: str, objective: float) -> Check:
    """Judge the service after a recovery by what its users see.

    Args:
        after: Requests since the recovery.
        version: The only version that may answer; empty when none is known.
        objective: Allowed ratio of failed requests.

    Returns:
        ``pass`` only when the upper bound of the failure ratio keeps the objective and nobody else answered.
    """
    failed, sent = int((~after.good).sum()), len(after.intended)
    others = sorted({str(name) for name in after.version[after.good]} - {version}) if version else []
    bound = failure_upper_bound(failed, sent)
    value = f"{failed} of {sent} failed" + (f", true ratio up to {bound:.2%}" if bound is not None else "")
    rule = f"at most {objective:.1%} fail, shown by the 95 % bound, and only {version or 'one version'} answers"
    if others:
        return Check("service", "fail", value, rule, f"{', '.join(others)} still answers")
    if bound is not None and bound <= objective + 1e-12:
        return Check("service", "pass", value, rule, "")
    if failed and failed / sent > objective:
        return Check("service", "fail", value, rule, f"requests still fail ({kinds(after)})")
    needed = requests_to_claim(failed, objective)
    return Check("service", "not_enough_data", value, rule, f"needs {needed} requests after the recovery, saw {sent}")
