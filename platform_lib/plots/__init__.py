"""How do people see it at a glance? matplotlib figures from records; no data is fetched here.

One file per kind of picture: ``timeline`` for rollouts and drills, ``series`` of metrics, ``deliveries``, ``incident``,
``capacity``, ``dashboard``.
"""

from __future__ import annotations

from platform_lib.plots.capacity import capacity
from platform_lib.plots.deliveries import deliveries
from platform_lib.plots.incident import incident
from platform_lib.plots.timeline import drill, rollout, series

__all__ = ["capacity", "deliveries", "drill", "incident", "rollout", "series"]
