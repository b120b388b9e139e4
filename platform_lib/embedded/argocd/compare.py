"""Is what runs what git says? Pairs of target and live object, their differences, and the sync status.

Differences come from a server-side dry run of the target (manager ``argocd-controller``), judged here; asking
the API belongs to ``differ``. Deviation from Argo CD's default, chosen on purpose: it needs no schema code and
names exactly what an apply would change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from platform_lib.embedded.argocd.ignore import Path, without
from platform_lib.model import Obj
from platform_lib.rules import health as h
from platform_lib.rules import manifests as m

MANAGER = "argocd-controller"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_VOLATILE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
SYNCED, OUT_OF_SYNC, UNKNOWN = "Synced", "OutOfSync", "Unknown"


@dataclass(frozen=True, slots=True)
class Pair:
    """One object as it is wanted and as it is live; at least one of them is there."""

    target: Obj | None
    live: Obj | None
    modified: bool = False
    permitted: bool = True

    @property
    def obj(self) -> Obj:
        """The target, else the live object."""
        return self.target if self.target is not None else self.live or {}

    @property
    def key(self) -> m.ObjectKey:
        """Key of the object."""
        return m.key(self.obj)

    @property
    def hook(self) -> bool:
        """Whether the object is a hook (``Skip`` included)."""
        return bool(m.hooks(self.obj))

    @property
    def extra(self) -> bool:
        """Whether the object is live and not wanted."""
        return self.target is None

    @property
    def out_of_sync(self) -> bool:
        """Whether a sync would do something about it."""
        return not self.hook and (self.modified or self.target is None or self.live is None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of one comparison.

    Attributes:
        revision: Commit that was compared; empty when manifests could not be loaded.
        pairs: Every wanted or managed object.
        conditions: (type, message) found on the way.
        failed: Manifests could not be loaded, or the specification is invalid.
        invalid: The specification is invalid.
        namespace_changed: The wanted labels of the destination's namespace are not those of the last sync.
    """

    revision: str
    pairs: tuple[Pair, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    invalid: bool = False
    namespace_changed: bool = False

    @property
    def sync_status(self) -> str:
        """Synced, OutOfSync or Unknown."""
        if self.failed:
            return UNKNOWN
        if self.namespace_changed:
            return OUT_OF_SYNC
        counting = (pair for pair in self.pairs if pair.out_of_sync)
        return OUT_OF_SYNC if any(not _ignored_extra(pair) for pair in counting) else SYNCED

    def health_status(self, app: Obj) -> h.HealthStatus:
        """Aggregate the health of the managed objects."""
        if self.invalid:
            return "Unknown"
        own = m.key(app)
        counting = [pair for pair in self.pairs if not pair.hook]
        return h.application_health((pair.live for pair in counting), skip=lambda obj: m.key(obj) == own)

    def resources(self) -> list[Obj]:
        """Build ``status.resources``, sorted; a hook is listed once it is live, a skipped object always."""
        listed = [p for p in self.pairs if not p.hook or p.live is not None or "Skip" in m.hooks(p.obj)]
        return [self._resource(pair) for pair in sorted(listed, key=lambda pair: pair.key)]

    def _resource(self, pair: Pair) -> Obj:
        """Build one row of ``status.resources``."""
        row: Obj = {**pair.key._asdict(), "version": m.gvk(pair.obj)[1]}
        if pair.hook:
            row["hook"] = True
        else:
            row["status"] = (
                UNKNOWN if self.failed or not pair.permitted else OUT_OF_SYNC if pair.out_of_sync else SYNCED
            )
        if pair.extra and not pair.hook:
            row["requiresPruning"] = True
        if wave := m.sync_wave(pair.obj):
            row["syncWave"] = wave
        return {name: value for name, value in row.items() if value != ""}


def _ignored_extra(pair: Pair) -> bool:
    """Tell whether an unwanted object asks not to count."""
    return pair.extra and "IgnoreExtraneous" in m.csv_annotation(pair.obj, m.COMPARE_OPTIONS_ANNOTATION)


def pair_up(targets: Iterable[Obj], managed: Iterable[Obj], live_of: Callable[[m.ObjectKey], Obj | None]) -> list[Pair]:
    """Join targets with live objects.

    Args:
        targets: Wanted objects, hooks included.
        managed: Live objects that are tracked to the application.
        live_of: Finds the live object of a key, tracked or not (adoption).
    """
    found = {m.key(target): Pair(target, live_of(m.key(target))) for target in targets if m.name(target)}
    nameless = [Pair(target, None) for target in targets if not m.name(target)]
    for live in managed:
        if m.key(live) not in found:
            found[m.key(live)] = Pair(None, live)
    return [*found.values(), *nameless]


def normalised(obj: Obj, ignored: Sequence[Path] = ()) -> Obj:
    """Return an object without what the API server adds and without ignored paths."""
    meta = {name: value for name, value in m.metadata(obj).items() if name not in _VOLATILE}
    if LAST_APPLIED in m.annotations(obj):
        meta["annotations"] = {k: v for k, v in m.annotations(obj).items() if k != LAST_APPLIED}
    plain = {name: value for name, value in obj.items() if name != "status"} | {"metadata": meta}
    return _without_empty(without(plain, ignored))


def _without_empty(obj: Obj) -> Obj:
    """Treat absent, null and empty alike at the places where writers differ."""
    meta = {name: value for name, value in obj["metadata"].items() if value not in ({}, [], None)}
    plain = {name: value for name, value in obj.items() if value is not None} | {"metadata": meta}
    if "rules" in plain and not plain["rules"]:
        plain.pop("rules")
    return plain


def shared_warnings(app_name: str, pairs: Iterable[Pair]) -> list[tuple[str, str]]:
    """Warn of wanted objects that are tracked to another application."""
    found = []
    for pair in pairs:
        other = m.tracked_by(pair.live) if pair.live is not None and pair.target is not None else ""
        if other and other != app_name:
            text = f"{pair.key.kind}/{pair.key.name} is part of applications {app_name} and {other}"
            found.append(("SharedResourceWarning", text))
    return found


def as_data(target: Obj) -> Obj:
    """Return a Secret with its ``stringData`` moved to ``data``, as the API server stores it."""
    if m.gvk(target) != ("", "v1", "Secret") or not target.get("stringData"):
        return target
    import base64

    encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in target["stringData"].items()}
    rest: dict[str, Any] = {name: value for name, value in target.items() if name != "stringData"}
    return rest | {"data": {**(target.get("data") or {}), **encoded}}
