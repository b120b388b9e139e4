"""A runbook as a Kubernetes Job: where the laptop sleeps, or the cluster cannot be reached for long.

``order`` is what the Job is told, ``manifests`` the objects (pure), ``submit`` creates them, follows the Job and cleans
up, ``worker`` is the program inside it: it runs the book as anywhere else and leaves the evidence in object storage
through papermill's own handlers. ``results`` puts it there and brings it back.
"""

from __future__ import annotations

from platform_lib.oncluster.order import Order
from platform_lib.oncluster.results import fetch
from platform_lib.oncluster.submit import RemoteRun, plan, run

__all__ = ["Order", "RemoteRun", "fetch", "plan", "run"]
