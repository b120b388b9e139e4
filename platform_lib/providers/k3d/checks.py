"""Can a k3d cluster come up here? Every reason against it is found before anything is created."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from platform_lib.errors import BootstrapFailed, GuardRefused, InvalidInput
from platform_lib.model import Platform
from platform_lib.providers import preflight, tools
from platform_lib.providers.k3d import clusters, config, programs
from platform_lib.providers.k3d.clusters import Seen
from platform_lib.providers.state import Layout
from platform_lib.settings import Settings

FREE_BYTES = 5 * 2**30
"""k3s, Argo CD, Prometheus, the registry and our two images take about 3 GB of Docker's disk."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the checks saw: versions for the reader, the cluster for the next stage."""

    docker: str
    k3d: str
    cluster: Seen


def look(current: Settings) -> Found:
    """Look at docker, its daemon, k3d and the cluster.

    Raises:
        ToolMissing: docker or k3d is absent, or k3d too old.
        Unreachable, GuardRefused: The daemon does not answer, or not to this user.
    """
    daemon, version = programs.docker_version(), programs.k3d_version()
    return Found(daemon, version, clusters.look(current.cluster_name))


def ours(seen: Seen, layout: Layout, current: Settings) -> None:
    """Refuse a cluster that this state folder did not make, or made from other settings.

    Raises:
        GuardRefused: It is somebody else's.
        InvalidInput: Its settings differ; names them.
    """
    if seen.state == "absent":
        return
    if not layout.k3d_config.exists():
        raise GuardRefused(
            f"cluster {seen.name} - exists already, and not from state folder {current.home}",
            hint=f"choose another name with APQX_CLUSTER_NAME, or delete that one: k3d cluster delete {seen.name}",
        )
    changed = config.differences(yaml.safe_load(layout.k3d_config.read_text()), config.render(current))
    if changed:
        raise InvalidInput(
            f"cluster {seen.name} - was made with other settings: {'; '.join(changed[:5])}",
            hint="take it down first (apqx down), or set them as they were",
        )


def room(current: Settings) -> None:
    """Make sure that every port is free and the disk has room.

    Raises:
        SettingsError: Two ports are the same.
        GuardRefused: A port is taken; names who holds it.
        BootstrapFailed: Too little free space.
    """
    for variable, port in config.host_ports(current).items():
        try:
            preflight.require_free(config.LOOPBACK, port, variable)
        except GuardRefused as error:
            container = clusters.publisher(port)
            if not container:
                raise
            raise GuardRefused(
                f"port {config.LOOPBACK}:{port} - held by container {container}, want it free",
                hint=f"end it (docker stop {container}), or set {variable} to another port",
                port=port,
            ) from error
    _disk(Path(programs.docker("info", "--format", "{{.DockerRootDir}}").strip()))


def means(current: Settings, platform: Platform) -> None:
    """Make sure that a cluster, once it is there, can become the platform; said before minutes were spent on it.

    Raises:
        ToolMissing: No git, or a docker that cannot build the Dockerfile.
        InvalidInput, GitError, Unreachable: ``git_url`` or ``argocd_manifests`` cannot be used.
    """
    from platform_lib import container
    from platform_lib.providers.bootstrap import gitsource, release

    tools.require("git", current)
    container.engine("docker")
    if current.argocd_manifests is not None:
        release.read(current, release.PINNED[current.argocd_flavor])
    if current.git_url:
        gitsource.check(gitsource.of(platform, current), current, "")


def _disk(root: Path) -> None:
    """Make sure that Docker's disk has room; where it is inside a virtual machine nobody can look from here."""
    if not root.is_absolute() or not root.exists():
        return
    free = shutil.disk_usage(root).free
    if free < FREE_BYTES:
        raise BootstrapFailed(
            f"docker's disk {root} - {free / 2**30:.1f} GiB free, want {FREE_BYTES / 2**30:.0f} GiB",
            hint="look: docker system df; free some: docker image prune, docker builder prune",
            stage="check",
        )
