"""Which repository does Argo CD follow? The user's, when ``git_url`` names one, else a server in the cluster.

The user's repository is checked before anything is applied: it can be read, it holds the desired state, and its
files name it. Its credential goes to Argo CD as a Secret, because Argo CD has to read it too.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from platform_lib import guard
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Obj, Plan, Platform, Step
from platform_lib.providers.base import Release
from platform_lib.providers.bootstrap import gitserver, repourl
from platform_lib.providers.bootstrap.apply import Applier
from platform_lib.rules import manifests
from platform_lib.settings import Settings
from platform_lib.wait import Deadline
from platform_lib.wire import kube
from platform_lib.wire.git import Repository
from platform_lib.wire.manifest_edit import write_release
from platform_lib.wire.secretvalue import resolve

NEVER_BUILT = "sha256:28c0ffc994200394c628877c278dfd560ec2006b4ab0c6214176cbbdd9f664f2"
"""The digest that ``gitops/workloads/sample-app`` came into the world with; no registry has it."""
SECRET = "apqx-repository"  # noqa: S105 - the name of a Secret, not a secret
Progress = Callable[[str], None]


def of(platform: Platform, current: Settings) -> Platform:
    """Return the platform with the endpoints of its git source.

    Raises:
        InvalidInput: ``git_url`` cannot be used by a cluster.
    """
    if not current.git_url:
        return gitserver.of(platform)
    url = repourl.check_url(current.git_url)
    return replace(
        platform, gitops_repo=url, gitops_url=url, gitops_branch=current.git_branch, gitops_token=current.git_token
    )


def repository(platform: Platform, current: Settings) -> Repository:
    """Return the private clone of the user's repository; every change of it passes the guard."""
    return Repository(
        platform.gitops_repo,
        platform.gitops_branch,
        platform.home / "clones" / platform.name,
        before_change=partial(guard.check, platform),
        user=current.git_user,
        token=platform.gitops_token,
    )


def check(platform: Platform, current: Settings, workbench: str) -> None:
    """Refuse a git source that cannot work, before anything is changed.

    Raises:
        InvalidInput: The repository lacks the desired state or names another one; a reference leads nowhere; or
            there is no image for the git server.
        GitError: The repository cannot be read.
    """
    if not current.git_url:
        gitserver.objects(current.project_dir, workbench)
        return
    credential(platform, current)
    with repository(platform, current).current() as tree:
        wrong = repourl.mismatches(tree, platform.gitops_url, branch=platform.gitops_branch)
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise InvalidInput(
            f"{wrong[0]}{more}",
            hint=f"write it in by one commit: apqx gitops use {platform.gitops_url} --branch {platform.gitops_branch}",
        )


def prepare(
    platform: Platform,
    current: Settings,
    *,
    release: Release,
    workbench: str,
    deadline: Deadline,
    progress: Progress,
    lost: Callable[[str], bool] = lambda _reference: False,
) -> None:
    """Make the git source readable for Argo CD, with a release in it that can be pulled.

    Raises:
        WaitTimeout: The git server does not start or cannot be reached; says why.
        GitError: A push was refused.
    """
    if not current.git_url:
        gitserver.install(platform, current.project_dir, workbench)
        gitserver.wait_reachable(platform, deadline=deadline, progress=progress)
        progress(gitserver.fill(platform, current, release))
        return
    secret = credential(platform, current)
    if secret is not None:
        Applier(kube.connect(platform)).apply(secret)
        progress(f"Secret/{SECRET} holds the credential for {platform.gitops_url}")
    if _write_first_release(repository(platform, current), release, lost):
        progress(f"{platform.gitops_url} names release {release.version}")


def credential(platform: Platform, current: Settings) -> Obj | None:
    """Return the Secret that lets Argo CD read the repository; None for one that needs none.

    Raises:
        InvalidInput: A reference leads nowhere, or is of the wrong kind for the address.
    """
    ssh = urlsplit(platform.gitops_url).scheme not in ("http", "https")
    if ssh and not current.git_ssh_key:
        raise InvalidInput(
            f"repository {platform.gitops_url!r} - is read over ssh, expected a key for Argo CD",
            hint="set APQX_GIT_SSH_KEY=file:/path/to/a/deploy/key, or use the https address",
        )
    if not ssh and not current.git_token:
        return None
    data = {"type": "git", "url": platform.gitops_url}
    if ssh:
        data["sshPrivateKey"] = resolve(current.git_ssh_key, what="APQX_GIT_SSH_KEY") + "\n"
    else:
        data |= {"username": current.git_user, "password": resolve(current.git_token, what="APQX_GIT_TOKEN")}
    labels = {"argocd.argoproj.io/secret-type": "repository", "app.kubernetes.io/part-of": "apqx"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": platform.argocd_namespace, "labels": labels},
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def _write_first_release(found: Repository, release: Release, lost: Callable[[str], bool]) -> str | None:
    """Commit the release where the repository names none that could be pulled; return the commit."""

    def edit(tree: Path) -> str | None:
        path = tree / App().deployment_file
        if path.is_file() and not _unavailable(path, lost):
            return None
        write_release(path, image=release.reference, version=release.version)
        return f"Deploy {App().name} {release.version}\n\nFirst release, written when the platform came up."

    return found.change(edit)


def _unavailable(path: Path, lost: Callable[[str], bool]) -> bool:
    """Return whether a Deployment's file names an image that nobody built, or one that its registry lost."""
    objects = manifests.parse_manifests(path.read_text(), path.name)
    images = [manifests.image_of(obj) for obj in objects if manifests.kind(obj) == "Deployment"]
    return any(image.endswith(NEVER_BUILT) or lost(image) for image in images)


def plan_use(platform: Platform, current: Settings) -> Plan:
    """Return which files of the user's repository have to name it; nothing is changed."""
    with repository(platform, current).current() as tree:
        repourl.own(tree)
        wrong = repourl.mismatches(tree, platform.gitops_url, branch=platform.gitops_branch)
    files = dict.fromkeys(line.partition(" - ")[0] for line in wrong)
    steps = tuple(Step("write", name, f"names {platform.gitops_url}") for name in files)
    inputs = {"url": platform.gitops_url, "branch": platform.gitops_branch}
    return Plan(f"{platform.gitops_url} names itself in gitops/", steps, inputs)


def use(platform: Platform, current: Settings) -> str | None:
    """Commit the repository's own address into its ``gitops/``; return the commit, None when nothing was to change.

    Raises:
        GuardRefused: Read-only, or this platform may not be changed.
        GitError: The repository cannot be read or pushed to.
    """
    url, branch = platform.gitops_url, platform.gitops_branch

    def edit(tree: Path) -> str | None:
        changed = repourl.rewrite_repo_url(tree, url, branch=branch)
        return f"Applications follow {url}\n\n{len(changed)} files name this repository now." if changed else None

    return repository(platform, current).change(edit)
