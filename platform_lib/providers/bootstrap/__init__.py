"""How does a cluster that only answers become a platform? Argo CD, a git source, and the root Application.

Works on any cluster by its kubeconfig. Who makes the cluster is the business of the providers; what the
applications look like stands in git.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from platform_lib.model import Platform
    from platform_lib.providers.base import Release
    from platform_lib.providers.bootstrap.release import Manifests
    from platform_lib.providers.stages import Stages
    from platform_lib.settings import Settings
    from platform_lib.wait import Deadline


def bootstrap(
    platform: Platform,
    current: Settings,
    *,
    stages: Stages,
    deadline: Deadline,
    release: Release,
    workbench: str,
    pinned: Mapping[str, Manifests] | None = None,
    lost: Callable[[str], bool] = lambda _reference: False,
) -> Platform:
    """Install Argo CD, give it a git source and apply the root Application; a second call changes nothing.

    Everything that can be refused is refused before the first change: the guard, the version of the cluster, the
    manifests' checksum, the repository. A run that was broken off is resumed by the next one.

    Args:
        platform: The cluster: kubeconfig, context, ingress.
        current: Settings.
        stages: Times the stages and tells a person.
        deadline: For everything.
        release: The application's first image, by digest; used only where git names none.
        workbench: Image of the git server; ``''`` when ``git_url`` names a repository.
        pinned: Argo CD releases by flavour; default: the pinned ones.
        lost: Tells of an image that git names whether its registry is known to have lost it.

    Returns:
        The platform with the endpoints of its git source.

    Raises:
        GuardRefused, UnsupportedSystem, InvalidInput, GitError, Unreachable: Before anything was changed.
        WaitTimeout: A part did not get ready; names it and why.
    """
    from platform_lib import guard
    from platform_lib.providers.bootstrap import argocd, gitsource, rootapp
    from platform_lib.providers.bootstrap.release import PINNED

    releases = PINNED if pinned is None else pinned
    guard.check(platform, "make it a platform")
    with stages.stage("git check"):
        platform = gitsource.of(platform, current)
        gitsource.check(platform, current, workbench)
    with stages.stage("argocd"):
        argocd.install(platform, current, deadline=deadline, progress=stages.progress, pinned=releases)
    with stages.stage("git source"):
        gitsource.prepare(
            platform,
            current,
            release=release,
            workbench=workbench,
            lost=lost,
            deadline=deadline,
            progress=stages.progress,
        )
    with stages.stage("argocd ready"):
        argocd.wait_ready(platform, deadline=deadline, progress=stages.progress)
    with stages.stage("root application"):
        names = rootapp.apply(platform, current.project_dir)
        rootapp.wait_synced(platform, names, deadline=deadline, progress=stages.progress)
    return platform
