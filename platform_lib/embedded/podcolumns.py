"""What does ``kubectl get pods`` say of a pod: ready, status, restarts? Pure reading of its status.

Source: kubectl's pod printer as described by its output ("Debug Running Pods" in the Kubernetes documentation).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from platform_lib.embedded.duration import human, since
from platform_lib.model import Obj


def ready(pod: Obj) -> str:
    """Return ready and all containers: ``1/2``."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    count = sum(1 for item in statuses if item.get("ready"))
    return f"{count}/{len((pod.get('spec') or {}).get('containers') or ())}"


def restarts(pod: Obj, now: datetime) -> str:
    """Return the number of restarts, with the time since the last one: ``3 (2m ago)``."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    total = sum(item.get("restartCount", 0) for item in statuses)
    ends = [(item.get("lastState") or {}).get("terminated", {}).get("finishedAt") for item in statuses]
    spans = [seconds for seconds in (since(end, now) for end in ends) if seconds is not None]
    return f"{total} ({human(min(spans))} ago)" if total and spans else str(total)


def phase(pod: Obj) -> str:
    """Return the one word that tells most: ``Running``, ``CrashLoopBackOff``, ``Terminating``, ``Init:0/1`` ..."""
    status = pod.get("status") or {}
    word = status.get("reason") or status.get("phase") or "Unknown"
    gated = _condition(pod, "PodScheduled")
    if gated.get("reason") == "SchedulingGated":
        word = "SchedulingGated"
    waiting = _init_word(pod)
    word = waiting or _container_word(pod, word)
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            return "Unknown"
        return word if status.get("phase") in ("Succeeded", "Failed") else "Terminating"
    return word


def _condition(pod: Obj, kind: str) -> dict[str, Any]:
    found = (c for c in (pod.get("status") or {}).get("conditions") or () if c.get("type") == kind)
    return next(found, {})


def _init_word(pod: Obj) -> str:
    """Return the state of the first init container that is not done, empty when all are."""
    statuses = (pod.get("status") or {}).get("initContainerStatuses") or []
    for index, item in enumerate(statuses):
        state = item.get("state") or {}
        ended = state.get("terminated")
        if (ended and ended.get("exitCode") == 0) or item.get("started"):
            continue
        if ended:
            return f"Init:{_ended_word(ended)}"
        reason = (state.get("waiting") or {}).get("reason", "")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{index}/{len((pod.get('spec') or {}).get('initContainers') or ())}"
    return ""


def _container_word(pod: Obj, word: str) -> str:
    """Return the worst reason among the containers; later ones yield to earlier ones."""
    running = False
    for item in reversed((pod.get("status") or {}).get("containerStatuses") or []):
        state = item.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            word = state["waiting"]["reason"]
        elif state.get("terminated"):
            word = _ended_word(state["terminated"])
        elif item.get("ready") and state.get("running") is not None:
            running = True
    if word == "Completed" and running:
        return "Running" if _condition(pod, "Ready").get("status") == "True" else "NotReady"
    return word


def _ended_word(ended: dict[str, Any]) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode', 0)}"
