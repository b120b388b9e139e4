"""Should a sync start by itself? The decision after each comparison, as a pure function.

Source: Argo CD v3.5.1, automated sync: one attempt for each revision and source, self-heal with back-off,
protection against wiping everything out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from platform_lib.embedded.argocd import operation as op
from platform_lib.embedded.argocd.project import source_of
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

SELF_HEAL_BACKOFF_S = (0.0, 2.0, 6.0, 18.0, 54.0, 162.0, 300.0)


@dataclass(frozen=True, slots=True)
class Decision:
    """What automation wants.

    Attributes:
        operation: To be written to the Application, or None.
        error: Message of a ``SyncError`` condition, or empty.
        retry_in_s: When to decide again, or None.
    """

    operation: Obj | None = None
    error: str = ""
    retry_in_s: float | None = None


NOTHING = Decision()


def automation_of(app: Obj) -> dict[str, Any] | None:
    """Return ``syncPolicy.automated`` where automation is on, else None."""
    automated = (m.spec(app).get("syncPolicy") or {}).get("automated")
    if automated is None or automated.get("enabled") is False:
        return None
    return dict(automated)


def decide(app: Obj, revision: str, sync_status: str, resources: Sequence[Obj], now: datetime) -> Decision:
    """Decide whether a sync starts.

    Args:
        app: The Application.
        revision: Commit that was compared.
        sync_status: Result of the comparison.
        resources: Rows of ``status.resources`` of that comparison.
        now: Aware time, for the back-off of self-healing.
    """
    automated = automation_of(app)
    if automated is None or op.busy(app) or m.deleting(app) or sync_status != "OutOfSync":
        return NOTHING
    different = [row for row in resources if row.get("status") == "OutOfSync"]
    if different and not automated.get("prune") and all(row.get("requiresPruning") for row in different):
        return NOTHING
    healing = 0
    if _attempted(app, revision):
        held = _after_attempt(app, revision, bool(automated.get("selfHeal")), now)
        if held is not None:
            return held
        healing = _healed(app) + 1
    wiped = bool(resources) and all(row.get("requiresPruning") for row in resources if not row.get("hook"))
    if automated.get("prune") and not automated.get("allowEmpty") and wiped:
        return Decision(error=f"Skipping sync attempt to [{revision}]: auto-sync will wipe out all resources")
    return Decision(_operation(app, revision, bool(automated.get("prune")), healing, resources))


def _attempted(app: Obj, revision: str) -> bool:
    """Tell whether this revision of this source was tried."""
    state = op.state_of(app)
    if not state:
        return False
    result = state.get("syncResult")
    if not result:
        return state.get("phase") in op.DONE
    return bool(result.get("revision") == revision and result.get("source") == source_of(app))


def _healed(app: Obj) -> int:
    """Return how often self-healing was tried in a row."""
    sync = (op.state_of(app).get("operation") or {}).get("sync") or {}
    return int(sync.get("autoHealAttemptsCount") or 0)


def _after_attempt(app: Obj, revision: str, self_heal: bool, now: datetime) -> Decision | None:
    """Say what holds a further attempt back; None when self-healing may start."""
    state = op.state_of(app)
    if state.get("phase") != op.SUCCEEDED:
        return Decision(error=f"Failed last sync attempt to [{revision}]: {state.get('message', '')}")
    if not self_heal:
        return NOTHING
    ended = op.parse_time(state.get("finishedAt"))
    pause_s = SELF_HEAL_BACKOFF_S[min(_healed(app), len(SELF_HEAL_BACKOFF_S) - 1)]
    left_s = (ended + timedelta(seconds=pause_s) - now).total_seconds() if ended else 0.0
    return Decision(retry_in_s=left_s) if left_s > 0 else None


def _operation(app: Obj, revision: str, prune: bool, healing: int, resources: Sequence[Obj]) -> Obj:
    """Build the operation; healing is partial, so it runs no hooks and leaves no history."""
    policy = m.spec(app).get("syncPolicy") or {}
    sync: Obj = {"revision": revision, "prune": prune, "source": source_of(app)}
    if policy.get("syncOptions"):
        sync["syncOptions"] = list(policy["syncOptions"])
    if healing:
        sync["autoHealAttemptsCount"] = healing
        sync["resources"] = [
            {name: row[name] for name in ("group", "kind", "name") if row.get(name)}
            for row in resources
            if row.get("status") not in (None, "Synced")
        ]
    retry = policy.get("retry") or {"limit": op.AUTOMATED_RETRY_LIMIT}
    return {"sync": sync, "initiatedBy": {"automated": True}, "retry": retry}
