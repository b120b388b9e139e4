"""Which kinds are served right now? The built-in table plus what CustomResourceDefinitions add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platform_lib.embedded import refusals
from platform_lib.embedded.kinds import KINDS, Kind, kind_from_crd
from platform_lib.embedded.store import Event, Store

if TYPE_CHECKING:
    from platform_lib.embedded.schema import Schemas

CRDS = "apiextensions.k8s.io/v1/customresourcedefinitions"


class Registry:
    """The kinds by resource, by API version, and by kind name.

    Attributes:
        version: Grows with every change of the set; caches of discovery documents compare it.
    """

    def __init__(self, store: Store, schemas: Schemas) -> None:
        self.version = 0
        self._store, self._schemas = store, schemas
        self._by_gvr: dict[str, Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._rebuild()
        store.subscribe(self._follow)

    def kind(self, gvr: str) -> Kind:
        """Return the kind of a resource.

        Raises:
            NotFound: Nobody serves it.
        """
        found = self._by_gvr.get(gvr)
        if found is None:
            raise refusals.no_route()
        return found

    def find(self, api_version: str, kind: str) -> Kind | None:
        """Return the kind by its ``apiVersion`` and ``kind``, or None."""
        return self._by_kind.get((api_version, kind))

    def all(self) -> tuple[Kind, ...]:
        """Return every served kind, built-in ones first."""
        return tuple(self._by_gvr.values())

    def _follow(self, event: Event) -> None:
        """Serve the kinds of a definition from the moment it is stored."""
        if event.gvr == CRDS:
            if event.type == "DELETED":
                self._schemas.remove_crd(event.obj)
            self._rebuild()

    def _rebuild(self) -> None:
        """Read all definitions again; built-in rows win, because they know more (status, generation)."""
        kinds = {kind.gvr: kind for kind in KINDS}
        for crd in self._store.list(CRDS):
            kinds_of_crd = kind_from_crd(crd)
            if all(kinds.setdefault(kind.gvr, kind) == kind for kind in kinds_of_crd):
                self._schemas.add_crd(crd)
        self._by_gvr = kinds
        self._by_kind = {}
        for kind in kinds.values():
            self._by_kind.setdefault((kind.api_version, kind.kind), kind)
        self.version += 1
