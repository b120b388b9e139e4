"""What must an object pass before it is saved, and what is filled in on the way?

The order of kube-apiserver: strict reading, defaults, what the kind fills in, admission, validation.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from platform_lib.embedded import podsecurity, preparing, refusals
from platform_lib.embedded.copying import clone, drop_nulls
from platform_lib.embedded.defaults import admit_pod, apply_defaults
from platform_lib.embedded.kinds import Kind
from platform_lib.embedded.metadata import begin, carry_over, count_generation
from platform_lib.embedded.options import WriteOptions
from platform_lib.embedded.store import Store
from platform_lib.model import Obj

if TYPE_CHECKING:
    from platform_lib.embedded.schema import Schemas

NAMESPACES = "v1/namespaces"
PODS = "v1/pods"


class Admission:
    """The gate in front of the store."""

    def __init__(self, store: Store, schemas: Schemas, clock: Callable[[], datetime], toleration_s: int) -> None:
        self._store, self._schemas, self._clock, self._toleration_s = store, schemas, clock, toleration_s

    def create(self, kind: Kind, new: Obj, user: str, options: WriteOptions) -> None:
        """Complete and check a new object in place.

        Raises:
            Invalid, Forbidden, NotFound: As Kubernetes does.
        """
        self.check_fields(kind, new, options)
        begin(kind, new, self._clock())
        self._check_namespace(kind, new)
        if kind.status and kind.gvr not in preparing.KEEPS_STATUS_ON_CREATE:
            new.pop("status", None)
        self._settle(kind, new)
        prepare = preparing.CREATED.get(kind.gvr)
        if prepare:
            prepare(new, self._store, self._clock())
        if kind.status:
            new.setdefault("status", {})  # typed clients read fields of it without looking
        if kind.gvr == PODS:
            admit_pod(new, toleration_s=self._toleration_s)
        self._check_security(kind, new, options)
        self._validate(kind, new, None)

    def update(self, kind: Kind, old: Obj, new: Obj, sub: str | None, user: str, options: WriteOptions) -> Obj:
        """Return what an update makes of ``old``; ``new`` is what the client wants.

        A write to ``status`` changes the status only, any other write leaves it alone.

        Raises:
            Invalid, Forbidden, NotFound: As Kubernetes does.
        """
        if sub == "status":
            self.check_fields(kind, {"status": new.get("status")}, options)
            new["status"] = drop_nulls(new.get("status"))
            return self._only("status", old, new)
        if sub == "finalize":
            return self._only("spec", old, new)
        if sub:
            raise refusals.no_route()
        self.check_fields(kind, new, options)
        carry_over(kind, old, new)
        if kind.status:
            _carry_field("status", old, new)
        if kind.gvr in preparing.UPDATED:
            preparing.UPDATED[kind.gvr](old, new)
        self._settle(kind, new)
        count_generation(kind, old, new)
        self._check_security(kind, new, options, old)
        self._validate(kind, new, old)
        return new

    def check_fields(self, kind: Kind, obj: Obj, options: WriteOptions) -> None:
        """Read a body strictly: wrong types always refuse, unknown fields as ``fieldValidation`` says.

        Raises:
            Invalid: 400, with the texts of the Go decoder.
        """
        wrong = self._schemas.type_error(kind, obj)
        if wrong:
            text = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            raise refusals.bad_request(text + wrong.message)
        if options.field_validation == "Ignore":
            return
        unknown = self._schemas.unknown_fields(kind, obj)
        if unknown and options.field_validation == "Strict":
            text = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
            raise refusals.bad_request(text + f"strict decoding error: {', '.join(unknown)}")
        for field in unknown:
            options.warn(field)

    def _settle(self, kind: Kind, obj: Obj) -> None:
        """Bring an object to the form that Kubernetes would store."""
        self._schemas.prune(kind, obj)
        apply_defaults(kind, obj, self._schemas)

    def _only(self, field: str, old: Obj, new: Obj) -> Obj:
        """Return ``old`` with one field of ``new``."""
        changed = clone(old)
        _carry_field(field, new, changed)
        managers = (new.get("metadata") or {}).get("managedFields")
        if managers:
            changed["metadata"]["managedFields"] = managers
        return changed

    def _validate(self, kind: Kind, new: Obj, old: Obj | None) -> None:
        """Refuse what the kind's rules forbid."""
        found = self._schemas.errors(kind, new, old)
        if found:
            causes = [(error.path, error.reason, error.message) for error in found]
            raise refusals.invalid(kind.gvr, kind.kind, new["metadata"]["name"], causes)

    def _check_namespace(self, kind: Kind, new: Obj) -> None:
        """Refuse new objects where there is no namespace, or one that is going away."""
        if not kind.namespaced:
            return
        name = new["metadata"]["namespace"]
        namespace = self._store.get(NAMESPACES, "", name)
        if namespace is None:
            raise refusals.not_found(NAMESPACES, name)
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {name} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {name} is being terminated",
                "field": "metadata.namespace",
            }
            raise refusals.forbidden(kind.gvr, new["metadata"]["name"], why, causes=[cause])

    def _check_security(self, kind: Kind, new: Obj, options: WriteOptions, old: Obj | None = None) -> None:
        """Hold pods (and warn about templates of pods) against the namespace's Pod Security labels."""
        spec = podsecurity.pod_spec(kind.gvr, new)
        if spec is None or (old is not None and podsecurity.pod_spec(kind.gvr, old) == spec):
            return
        namespace = self._store.get(NAMESPACES, "", new["metadata"]["namespace"]) or {}
        labels = (namespace.get("metadata") or {}).get("labels") or {}
        if not any(label.startswith(podsecurity.PREFIX) for label in labels):
            return
        refusal, warnings = podsecurity.judge(labels, spec, is_pod=kind.gvr == PODS)
        if refusal:
            raise refusals.forbidden(kind.gvr, new["metadata"]["name"], refusal)
        for text in warnings:
            options.warn(text)


def _carry_field(field: str, source: Obj, target: Obj) -> None:
    """Make one field of ``target`` what it is in ``source``."""
    if field in source:
        target[field] = source[field]
    else:
        target.pop(field, None)
