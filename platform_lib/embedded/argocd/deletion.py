"""How does an Application go? Finalizers and the order in which its objects are deleted. Pure.

Source: Argo CD v3.5.1, cascading deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from platform_lib.embedded.argocd.operation import parse_time
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

FINALIZER = "resources-finalizer.argocd.argoproj.io"
PRE_DELETE = "pre-delete-finalizer.argocd.argoproj.io"
POST_DELETE = "post-delete-finalizer.argocd.argoproj.io"
APPROVED_ANNOTATION = "argocd.argoproj.io/deletion-approved"


@dataclass(frozen=True, slots=True)
class Removal:
    """The next step of a cascading deletion.

    Attributes:
        delete: Objects to delete now.
        waiting: Objects that are on their way, or that wait for an approval.
    """

    delete: tuple[Obj, ...] = ()
    waiting: tuple[Obj, ...] = ()

    @property
    def done(self) -> bool:
        """Whether nothing is left to remove."""
        return not self.delete and not self.waiting


def cascades(app: Obj) -> bool:
    """Tell whether deleting the Application deletes its objects."""
    return any(name == FINALIZER or name.startswith(FINALIZER + "/") for name in m.finalizers(app))


def propagation(app: Obj) -> str:
    """Return how dependants of the deleted objects go."""
    return "Background" if f"{FINALIZER}/background" in m.finalizers(app) else "Foreground"


def remaining_finalizers(app: Obj) -> list[str]:
    """Return the finalizers that are not this controller's."""
    ours = (FINALIZER, PRE_DELETE, POST_DELETE)
    return [name for name in m.finalizers(app) if not any(name == o or name.startswith(o + "/") for o in ours)]


def next_removal(app: Obj, managed: Iterable[Obj], permitted: Callable[[Obj], bool]) -> Removal:
    """Decide what goes next: the highest wave, once everything that was deleted is gone.

    Args:
        app: The Application that goes.
        managed: Live objects tracked to it.
        permitted: Says whether the project still permits an object.
    """
    own = m.key(app)
    objects = [obj for obj in managed if m.key(obj) != own and not _kept(app, obj) and permitted(obj)]
    leaving = tuple(obj for obj in objects if m.deleting(obj))
    if leaving:
        return Removal(waiting=leaving)
    unapproved = tuple(obj for obj in objects if _wants_approval(app, obj))
    if unapproved:
        return Removal(waiting=unapproved)
    highest = max((m.sync_wave(obj) for obj in objects), default=0)
    return Removal(tuple(obj for obj in objects if m.sync_wave(obj) == highest))


def _options(app: Obj) -> list[str]:
    """Return the application's own sync options."""
    return list((m.spec(app).get("syncPolicy") or {}).get("syncOptions") or [])


def _kept(app: Obj, obj: Obj) -> bool:
    """Tell whether an object stays when its application goes."""
    if m.kind(obj) == "CustomResourceDefinition" or m.annotations(obj).get("helm.sh/resource-policy") == "keep":
        return True
    own = [word for word in m.csv_annotation(obj, m.SYNC_OPTIONS_ANNOTATION) if word.startswith("Delete=")]
    return "Delete=false" in (own or _options(app))


def _wants_approval(app: Obj, obj: Obj) -> bool:
    """Tell whether an object may only go after somebody agreed, and nobody has."""
    own = [word for word in m.csv_annotation(obj, m.SYNC_OPTIONS_ANNOTATION) if word.startswith("Delete=")]
    if "Delete=confirm" not in (own or _options(app)):
        return False
    return not approved(app, m.metadata(app).get("deletionTimestamp"))


def approved(app: Obj, since: object) -> bool:
    """Tell whether a deletion or prune was approved at or after a moment."""
    given, asked = parse_time(m.annotations(app).get(APPROVED_ANNOTATION)), parse_time(since)
    return given is not None and asked is not None and given >= asked
