"""What may be done with objects, and under which rules? The Kubernetes API without sockets.

Controllers in this process and the HTTP handlers call the same methods. Every method is complete when it
returns: the change is checked, saved, and told to the watchers. Refusals are ``ApiError`` with the reason
Kubernetes gives. Who may call what is checked before, in ``auth``; admission rules are in ``admission``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from platform_lib.embedded import patching, refusals
from platform_lib.embedded.admission import Admission
from platform_lib.embedded.copying import clone
from platform_lib.embedded.deletion import Deletion
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import check_preconditions, check_type, settle_scope
from platform_lib.embedded.options import WriteOptions
from platform_lib.embedded.registry import Registry
from platform_lib.embedded.selectors import parse_field_selector, parse_label_selector
from platform_lib.embedded.store import Store
from platform_lib.embedded.subresources import Subresources
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.schema import Schemas
    from platform_lib.embedded.tokens import Tokens


def utc_now() -> datetime:
    """Return the current time, aware UTC."""
    return datetime.now(UTC)


class Api:
    """The API of one cluster.

    Args:
        store: Where the objects live.
        schemas: Structure of the kinds, for validation, strategic merge and apply.
        clock: Source of the time.
        toleration_s: Seconds a pod tolerates an unreachable node by default.
        tokens: Signs service-account tokens; without it the ``token`` subresource is not served.

    ``namespace`` is None or empty for cluster-wide kinds. ``user`` is the name that acts. ``params`` carries the
    options of a write (dry run, field manager ...).
    """

    def __init__(
        self,
        store: Store,
        schemas: Schemas,
        *,
        clock: Callable[[], datetime] = utc_now,
        toleration_s: int = 300,
        tokens: Tokens | None = None,
    ) -> None:
        self.store = store
        self.schemas = schemas
        self.clock = clock
        self.registry = Registry(store, schemas)
        self.tokens = tokens
        self.admission = Admission(store, schemas, clock, toleration_s)
        self._deletion = Deletion(store, clock)
        self._subresources = Subresources(self)

    def get(self, gvr: str, name: str, namespace: str | None = None, *, sub: str | None = None) -> Obj:
        """Return an object, or its ``scale``.

        Raises:
            NotFound: No such kind or object.
        """
        kind = self.registry.kind(gvr)
        found = self.store.get(gvr, namespace if kind.namespaced else "", name)
        if found is None:
            raise refusals.not_found(gvr, name)
        return self._subresources.read(kind, found, sub) if sub else found

    def list(self, gvr: str, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Sequence[Obj]:
        """Return the objects that the selectors choose, in the order of (namespace, name)."""
        self.registry.kind(gvr)
        by_label, by_field = parse_label_selector(labels), parse_field_selector(fields, gvr)
        return [
            obj
            for obj in self.store.list(gvr, namespace)
            if by_label(obj["metadata"].get("labels") or {}) and by_field(obj)
        ]

    def create(
        self,
        gvr: str,
        obj: Obj,
        namespace: str | None = None,
        *,
        user: str,
        sub: str | None = None,
        name: str | None = None,
        params: WriteOptions | None = None,
    ) -> Obj:
        """Create an object, or post to a subresource (``binding``, ``eviction``, ``token``) of ``name``.

        Raises:
            AlreadyExists, Invalid, Forbidden, NotFound: As Kubernetes does.
        """
        kind, options = self.registry.kind(gvr), params or WriteOptions()
        if sub:
            target = name or str((obj.get("metadata") or {}).get("name") or "")
            return self._subresources.post(kind, target, namespace, sub, obj, user, options)
        new = clone(obj)
        check_type(kind, new)
        settle_scope(kind, new, namespace)
        self.admission.create(kind, new, user, options)
        return self._insert(kind, new, options)

    def update(
        self,
        gvr: str,
        obj: Obj,
        namespace: str | None = None,
        *,
        user: str,
        sub: str | None = None,
        params: WriteOptions | None = None,
    ) -> Obj:
        """Replace an object or its subresource; guarded by ``metadata.resourceVersion`` when that is set.

        Raises:
            Conflict: The object changed since it was read.
            Invalid, NotFound: As Kubernetes does.
        """
        kind, options = self.registry.kind(gvr), params or WriteOptions()
        if sub == "scale":
            return self._subresources.update_scale(kind, obj, namespace, user, options)
        new = clone(obj)
        check_type(kind, new)
        name = new["metadata"].get("name") or ""
        settle_scope(kind, new, namespace)
        old = self.get(gvr, name, new["metadata"].get("namespace"))
        check_preconditions(kind, old, new, demand_version=not sub)
        return self._replace(kind, old, new, sub, user, options)

    def patch(
        self,
        gvr: str,
        name: str,
        body: Any,
        namespace: str | None = None,
        *,
        content_type: str,
        user: str,
        sub: str | None = None,
        params: WriteOptions | None = None,
    ) -> Obj:
        """Change an object by one of the four patch types; server-side apply creates what is missing.

        Args:
            gvr: Resource.
            name: Object.
            body: Decoded patch.
            namespace: Namespace of the object.
            content_type: Kind of patch, as the Content-Type of the wire.
            user: Who acts.
            sub: ``status``, ``scale`` or None.
            params: Options; ``manager`` is needed for apply.

        Raises:
            Conflict: A version, a uid or a field manager is in the way.
            Invalid, NotFound: As Kubernetes does.
        """
        kind, options = self.registry.kind(gvr), params or WriteOptions()
        if content_type == patching.APPLY and sub != "scale":
            return self._apply(kind, name, body, namespace, sub, user, options)
        old = self.get(gvr, name, namespace)
        if sub == "scale":
            return self._subresources.patch_scale(kind, old, body, content_type, user, options)
        new = patching.patched(old, body, content_type, self.schemas, kind)
        check_type(kind, new)
        check_preconditions(kind, old, new, demand_version=False)
        return self._replace(kind, old, new, sub, user, options)

    def delete(
        self,
        gvr: str,
        name: str,
        namespace: str | None = None,
        *,
        user: str,
        options: Obj | None = None,
        params: WriteOptions | None = None,
    ) -> Obj:
        """Delete an object, or mark it when finalizers or a grace period come first.

        Args:
            gvr: Resource.
            name: Object.
            namespace: Namespace of the object.
            user: Who acts.
            options: ``DeleteOptions``: gracePeriodSeconds, preconditions, propagationPolicy, dryRun.
            params: Options of the write.

        Returns:
            The object as it is marked, or its last state when it is gone.

        Raises:
            NotFound, Conflict: As Kubernetes does.
        """
        kind = self.registry.kind(gvr)
        old = self.get(gvr, name, namespace)
        return self._deletion.delete(kind, old, options or {}, dry_run=bool(params and params.dry_run))

    def delete_collection(
        self,
        gvr: str,
        namespace: str | None = None,
        *,
        user: str,
        labels: str = "",
        fields: str = "",
        options: Obj | None = None,
        params: WriteOptions | None = None,
    ) -> Sequence[Obj]:
        """Delete what the selectors choose; returns the objects as they were marked or removed."""
        kind = self.registry.kind(gvr)
        dry_run = bool(params and params.dry_run)
        chosen = self.list(gvr, namespace, labels=labels, fields=fields)
        return [self._deletion.delete(kind, obj, options or {}, dry_run=dry_run) for obj in chosen]

    # --- how a change is saved

    def _insert(self, kind: Kind, new: Obj, options: WriteOptions) -> Obj:
        """Save a new object."""
        metadata = new["metadata"]
        if self.store.get(kind.gvr, metadata.get("namespace"), metadata["name"]) is not None:
            raise refusals.already_exists(kind.gvr, metadata["name"])
        return new if options.dry_run else self.store.put(kind.gvr, new)

    def _replace(self, kind: Kind, old: Obj, new: Obj, sub: str | None, user: str, options: WriteOptions) -> Obj:
        """Save a changed object; a change that changes nothing keeps the version and is told to nobody."""
        settled = self.admission.update(kind, old, new, sub, user, options)
        if settled == old:
            return old
        if not options.manager:
            options.manager = user
        patching.record_manager(old, settled, kind, self.schemas, sub, options, self.clock())
        return self._save(kind, settled, options)

    def _save(self, kind: Kind, settled: Obj, options: WriteOptions) -> Obj:
        """Store a change, or remove the object when nothing holds it any more."""
        if options.dry_run:
            return settled
        if self._deletion.is_due(kind, settled):
            return self._deletion.remove(kind, settled)
        return self.store.put(kind.gvr, settled)

    def _apply(
        self,
        kind: Kind,
        name: str,
        body: Any,
        namespace: str | None,
        sub: str | None,
        user: str,
        options: WriteOptions,
    ) -> Obj:
        """Server-side apply: create what is missing, else merge by field ownership."""
        applied = patching.checked_apply_body(kind, name, body, namespace)
        self.admission.check_fields(kind, applied, options)
        old = self.store.get(kind.gvr, applied["metadata"].get("namespace"), name)
        if old is None and sub:
            raise refusals.not_found(kind.gvr, name)
        if old is not None:
            check_preconditions(kind, old, applied, demand_version=False)
        merged = patching.applied(old, applied, kind, self.schemas, sub, options, self.clock())
        if old is not None:
            settled = self.admission.update(kind, old, merged, sub, user, options)
            return old if settled == old else self._save(kind, settled, options)
        fields = merged["metadata"].pop("managedFields", None)
        self.admission.create(kind, merged, user, options)
        if fields:
            merged["metadata"]["managedFields"] = fields
        return self._insert(kind, merged, options)
