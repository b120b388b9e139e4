"""Through which door is Argo CD driven? Its resource in the cluster, or argocd-server; both promise the same.

Callers see ``Door`` and ``View`` only and cannot tell the two apart.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from platform_lib.errors import SettingsError
from platform_lib.model import App, Obj, Platform
from platform_lib.rules.syncrequest import SyncRequest
from platform_lib.settings import settings

OnEvent = Callable[[str, str, Obj], None]
Change = Callable[[Obj], Obj | None]


class View(Protocol):
    """Caches of an Application, its Deployments and its pods, kept current while the context is open."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None: ...

    def close(self) -> None:
        """Stop following."""

    def items(self, gvr: str) -> list[Obj]:
        """Return the objects of a kind as last seen."""

    def find(self, gvr: str, name: str) -> Obj | None:
        """Return one object by name, or None."""

    def trouble(self) -> str:
        """Return why what is shown may be stale or incomplete, or an empty text."""

    def wait(self, timeout_s: float) -> bool:
        """Block until something changed since the last call, at most ``timeout_s``; say whether it did."""


class Door(Protocol):
    """What can be done with the Applications of one namespace."""

    def read(self, name: str) -> Obj:
        """Return an Application; NotFound when there is none."""

    def refresh(self, name: str, *, hard: bool) -> None:
        """Ask for a comparison."""

    def sync(self, name: str, request: SyncRequest, *, user: str) -> str:
        """Request a sync; return its identity."""

    def rollback(self, name: str, *, history_id: int, prune: bool, dry_run: bool) -> str:
        """Request that a row of the history is deployed again; return the identity of the operation."""

    def terminate(self, name: str) -> bool:
        """Ask to stop the running operation; return whether there was one."""

    def update(self, name: str, change: Change) -> Obj:
        """Change annotations and specification by a merge patch that is decided on what was read."""

    def project(self, name: str) -> Obj | None:
        """Return an AppProject, None where it is absent or may not be read."""

    def elsewhere(self, name: str) -> list[str]:
        """Return other namespaces that have an Application of that name, as far as they may be read."""

    def controller(self) -> str:
        """Say why no controller can act on the Applications; empty when one can, or when nobody may look."""

    def deployment(self, app: App) -> Obj | None:
        """Return the application's Deployment."""

    def rollout(self, app: App) -> Obj | None:
        """Return the Rollout of Argo Rollouts that took the Deployment's pods over, None where none can be seen."""

    def pods(self, app: App) -> list[Obj]:
        """Return the application's pods."""

    def view(self, app: App, on_event: OnEvent | None) -> View:
        """Return a not yet opened view of the application."""


def chosen(platform: Platform) -> str:
    """Return which door is used: ``kubernetes`` or ``rest``.

    Raises:
        SettingsError: REST was asked for and the URL of argocd-server is not known.
    """
    wanted = settings().argocd_door
    if wanted == "rest" and not platform.argocd_url:
        raise SettingsError(
            f"argocd_door 'rest' - platform {platform.name} names no argocd-server, expected its URL",
            hint="give the URL of argocd-server, or use APQX_ARGOCD_DOOR=kubernetes",
        )
    if wanted == "auto":
        return "rest" if platform.argocd_url and not platform.kubeconfig.exists() else "kubernetes"
    return wanted
