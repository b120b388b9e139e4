"""How long does a failing thing wait before the next try? The kubelet's exponential back-off, pure.

Source: Kubernetes ``client-go/util/flowcontrol/backoff.go`` as the kubelet uses it: 10 s, doubled at each failure
up to 300 s, forgotten when 10 minutes lie between two failures. The first restart is immediate.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """Base and cap of the back-off in seconds."""

    base_s: float = 10.0
    cap_s: float = 300.0


def remaining_s(delay_s: float, failed_at: float, now: float) -> float:
    """Return how long to wait still before a try, given the delay in force; 0 when the try may start."""
    return max(0.0, failed_at + delay_s - now)


def next_delay_s(policy: Policy, delay_s: float, previous_failure: float, failed_at: float) -> float:
    """Return the delay that the *next* failure will have to wait.

    Args:
        policy: Base and cap.
        delay_s: Delay in force; 0 before the first failure.
        previous_failure: When that delay was set (seconds since the epoch).
        failed_at: The failure that is being answered.

    Example:
        >>> next_delay_s(Policy(), 0, 0, 5), next_delay_s(Policy(), 10, 5, 20), next_delay_s(Policy(), 300, 0, 700)
        (10.0, 20.0, 10.0)
    """
    if delay_s <= 0 or failed_at - previous_failure > 2 * policy.cap_s:
        return policy.base_s
    return min(delay_s * 2, policy.cap_s)
