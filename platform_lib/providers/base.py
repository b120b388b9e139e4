"""What does the workbench need of whoever runs the cluster? One protocol; the operations cannot tell which they got.

Every provider comes, goes, and says how it is. What only some can do (cut the power of a node, destroy the cluster)
is a *power*: ``cannot(power)`` says why one is missing before anybody tries, and the method refuses in the same words.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol, runtime_checkable
from urllib.parse import urlsplit

from platform_lib.errors import InvalidInput
from platform_lib.model import App, Outcome, Plan, Platform
from platform_lib.settings import Settings

Progress = Callable[[str], None]
Rows = tuple[tuple[str, str], ...]

POWERS = (
    "merge_kubeconfig",
    "build_release",
    "stop_node",
    "stop_component",
    "stop_git",
    "destroy_cluster",
)
"""What a provider may lack; each name is a method, and ``stop_*`` stands for its ``start_*`` and ``rebuild`` too."""

ASK_TIMEOUT_S = 2.0


class Release(Protocol):
    """An image that was built: by digest, as the cluster pulls it."""

    @property
    def reference(self) -> str:
        """``name@sha256:...``."""

    @property
    def version(self) -> str:
        """Version label."""


@dataclass(frozen=True, slots=True)
class Named:
    """A release that somebody else built: its reference by digest, and what it is called."""

    reference: str
    version: str


@runtime_checkable
class Provider(Protocol):
    """How one kind of cluster comes, goes and is looked at."""

    @property
    def settings(self) -> Settings:
        """The settings it works by."""

    @property
    def platform(self) -> Platform:
        """The endpoints it gives, or would give."""

    def up(self, *, timeout_s: float | None = None, progress: Progress) -> Outcome:
        """Bring the cluster up, stage by stage; a second call changes nothing, a failure is undone."""

    def down(self, *, purge: bool = False, progress: Progress) -> Outcome:
        """Destroy what ``up`` made; what survives a cluster stays unless ``purge``."""

    def plan_up(self) -> Plan:
        """Return what ``up`` would do now."""

    def plan_down(self, *, purge: bool = False) -> Plan:
        """Return what ``down`` would do now."""

    def present(self) -> bool:
        """Return whether the state folder says that it is up (or half up); asks nobody."""

    def whole(self) -> bool:
        """Return whether every part that should run does."""

    def components(self) -> Rows:
        """Return (name, state) of each process or container; empty where others run them."""

    def left_behind(self) -> list[str]:
        """Return what a ``down`` should have removed and did not."""

    def ask(self) -> int | str:
        """Ask the application once through the ingress; return the HTTP status or the name of the error."""

    def cannot(self, power: str) -> str:
        """Return why it lacks a power of ``POWERS``; an empty text when it has it."""

    def merge_kubeconfig(self) -> None:
        """Add the cluster to the user's own kubeconfig."""

    def build_release(self, version: str) -> Release:
        """Build the application and bring the image where the cluster pulls it from."""

    def stop_node(self, name: str) -> None:
        """Lose a node as in a power cut."""

    def start_node(self, name: str) -> None:
        """Let a lost node come back."""

    def stop_component(self, name: str) -> None:
        """End a part and keep it ended."""

    def start_component(self, name: str) -> None:
        """Let an ended part run again."""

    def runs(self, component: str) -> bool:
        """Return whether a part runs now."""

    def stop_git(self) -> None:
        """Take the repository away."""

    def start_git(self) -> None:
        """Put the repository back."""

    def destroy_cluster(self) -> None:
        """Lose the whole cluster; git and images stay."""

    def rebuild(self, progress: Progress) -> Outcome:
        """Bring a lost cluster back from git and images alone."""


class Limited:
    """Base of a provider: every power refuses until the provider defines it.

    ``CANNOT`` gives the reason for each power that is missing.
    """

    CANNOT: ClassVar[Mapping[str, str]] = {}
    platform: Platform

    def cannot(self, power: str) -> str:
        """Return why it lacks a power; an empty text when it has it."""
        if power not in POWERS:
            raise InvalidInput(f"power {power!r} - unknown, expected one of: {', '.join(POWERS)}")
        return self.CANNOT.get(power, "")

    def _refuse(self, power: str) -> NoReturn:
        """Refuse a power that is missing.

        Raises:
            InvalidInput: Always.
        """
        why = self.cannot(power) or f"provider {self.platform.provider!r} has no {power}"
        raise InvalidInput(f"platform {self.platform.name} - {power} asked of it, but {why}", hint="see apqx status")

    def merge_kubeconfig(self) -> None:
        """Refuse."""
        self._refuse("merge_kubeconfig")

    def build_release(self, version: str) -> Any:
        """Refuse."""
        self._refuse("build_release")

    def stop_node(self, name: str) -> None:
        """Refuse."""
        self._refuse("stop_node")

    def start_node(self, name: str) -> None:
        """Refuse."""
        self._refuse("stop_node")

    def stop_component(self, name: str) -> None:
        """Refuse."""
        self._refuse("stop_component")

    def start_component(self, name: str) -> None:
        """Refuse."""
        self._refuse("stop_component")

    def runs(self, component: str) -> bool:
        """Refuse."""
        self._refuse("stop_component")

    def stop_git(self) -> None:
        """Refuse."""
        self._refuse("stop_git")

    def start_git(self) -> None:
        """Refuse."""
        self._refuse("stop_git")

    def destroy_cluster(self) -> None:
        """Refuse."""
        self._refuse("destroy_cluster")

    def rebuild(self, progress: Progress) -> Outcome:
        """Refuse."""
        self._refuse("destroy_cluster")


def ask_ingress(ingress_url: str, host: str = "") -> int | str:
    """Ask for the application's start page once, under its host name; return the status or the name of the error.

    Args:
        ingress_url: Base URL of the entry point; its port is asked whatever DNS says of the host name.
        host: Host name of the Ingress; the sample application's when empty.
    """
    parts = urlsplit(ingress_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "127.0.0.1", parts.port, timeout=ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/", headers={"Host": host or App().host})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
