"""What does the Application say about itself? Builds ``status`` and the smallest patch that writes it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from platform_lib.embedded.argocd.compare import Comparison, Pair
from platform_lib.embedded.argocd.operation import timestamp
from platform_lib.embedded.argocd.project import destination_of, source_of
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

COMPARED_CONDITIONS = frozenset(
    {
        "InvalidSpecError",
        "ComparisonError",
        "SharedResourceWarning",
        "RepeatedResourceWarning",
        "ExcludedResourceWarning",
        "SyncError",
        "UnknownError",
    }
)
"""Conditions that each comparison decides anew."""


def after_comparison(
    app: Obj,
    comparison: Comparison,
    conditions: Sequence[tuple[str, str]],
    now: datetime,
    reconciled_at: datetime | None,
) -> Obj:
    """Return the status after a comparison.

    Args:
        app: The Application before.
        comparison: What was found.
        conditions: (type, message) to set; other conditions that comparisons decide on are cleared.
        now: Aware time, for transition times.
        reconciled_at: Start of the comparison; None keeps the old value (live change, invalid specification).
    """
    old = m.status(app)
    source = source_of(app)
    compared: Obj = {"source": source, "destination": dict(destination_of(app))}
    if m.spec(app).get("ignoreDifferences"):
        compared["ignoreDifferences"] = m.spec(app)["ignoreDifferences"]
    sync: Obj = {"status": comparison.sync_status, "comparedTo": compared}
    if comparison.revision:
        sync["revision"] = comparison.revision
    new: Obj = {
        **old,
        "sync": sync,
        "health": _health(old.get("health") or {}, comparison.health_status(app), now),
        "resources": comparison.resources(),
        "conditions": merge_conditions(old.get("conditions") or [], conditions, COMPARED_CONDITIONS, now),
        "summary": _summary(comparison.pairs),
        "sourceType": "Directory",
        "resourceHealthSource": "appTree",
        "controllerNamespace": m.namespace(app),
    }
    if comparison.invalid:
        new["resources"] = old.get("resources") or []
    if reconciled_at is not None:
        new["reconciledAt"] = timestamp(reconciled_at)
    return {name: value for name, value in new.items() if value not in ([], {})}


def _health(old: Obj, status: str, now: datetime) -> Obj:
    """Return the health; its time moves only with its value."""
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    return {"status": status, "lastTransitionTime": since or timestamp(now)}


def merge_conditions(
    old: Iterable[Obj], found: Iterable[tuple[str, str]], decided: Iterable[str], now: datetime
) -> list[Obj]:
    """Replace the conditions of some types; one that says the same as before keeps its time."""
    before = list(old)
    decided = set(decided)
    kept = [item for item in before if item.get("type") not in decided]
    since = {(item.get("type"), item.get("message")): item.get("lastTransitionTime") for item in before}
    fresh = [
        {"type": type_, "message": message, "lastTransitionTime": since.get((type_, message)) or timestamp(now)}
        for type_, message in dict.fromkeys(found)
    ]
    return sorted([*kept, *fresh], key=lambda item: (item["type"], item["message"]))


def _summary(pairs: Iterable[Pair]) -> Obj:
    """Collect images and addresses of the live objects.

    Images come from workload templates, where Argo CD reads pods: the same images, without following every pod.
    """
    live = [pair.live for pair in pairs if pair.live is not None]
    images = sorted({image for obj in live for image in m.images(obj)})
    urls = sorted({url for obj in live if m.kind(obj) == "Ingress" for url in _ingress_urls(obj)})
    summary: Obj = {"images": images, "externalURLs": urls}
    return {name: value for name, value in summary.items() if value}


def _ingress_urls(obj: Obj) -> Iterable[str]:
    """Yield the addresses an Ingress serves, once it has a load balancer."""
    if not (m.status(obj).get("loadBalancer") or {}).get("ingress"):
        return
    secure = {host for entry in m.spec(obj).get("tls") or [] for host in entry.get("hosts") or []}
    for rule in m.spec(obj).get("rules") or []:
        host = rule.get("host")
        for path in ((rule.get("http") or {}).get("paths") or []) if host else []:
            yield f"{'https' if host in secure else 'http'}://{host}{path.get('path') or '/'}"


def merge_patch(old: Any, new: Any) -> Obj:
    """Return the JSON merge patch that turns one object into another; empty when they are equal."""
    patch: Obj = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            inner = merge_patch(before, value)
            if inner:
                patch[name] = inner
        elif before != value:
            patch[name] = value
    patch.update({name: None for name in old if name not in new})
    return patch
