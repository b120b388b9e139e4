"""How does a cluster get its own git server, and the first commit in it? For a laptop without a repository.

The server is ``platform_lib.gitserver`` in the workbench's image. Its token is made here, kept in the state folder
(mode 0600) and in one Secret; pushes from the laptop go through the ingress with it.
"""

from __future__ import annotations

import base64
import copy
import http.client
import secrets
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from platform_lib.errors import GitError, InvalidInput, ToolMissing
from platform_lib.model import Obj, Platform
from platform_lib.providers import seed, state
from platform_lib.providers.base import Release
from platform_lib.providers.bootstrap import repourl, rootapp, workloads
from platform_lib.providers.bootstrap.apply import Applier
from platform_lib.rules import manifests
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, until
from platform_lib.wire import kube
from platform_lib.wire.git_program import Git, Identity
from platform_lib.wire.secretvalue import text_of

NAMESPACE = "apqx-system"
NAME = "git"
SECRET = "git-token"  # noqa: S105 - the name of a Secret, not a secret
HOST = "git.127.0.0.1.sslip.io"
LABELS = "app.kubernetes.io/name=git"
_ASK_TIMEOUT_S = 2.0


def of(platform: Platform) -> Platform:
    """Return the platform with the endpoints of its own git server."""
    port = urlsplit(platform.ingress_url).port or 80
    return replace(
        platform,
        gitops_repo=f"http://{HOST}:{port}/gitops.git",
        gitops_url=repourl.INTERNAL,
        gitops_branch=seed.BRANCH,
        gitops_token=f"file:{token_file(platform)}",
    )


def token_file(platform: Platform) -> Path:
    """Return where the token is kept; outside the cluster's files, as the clones are."""
    return platform.home / "git-token"


def token(platform: Platform) -> str:
    """Return the token; made on first use."""
    path = token_file(platform)
    if not (text_of(str(path)) or "").strip():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        state.write_private(path, secrets.token_urlsafe(32))
    return path.read_text().strip()


def objects(project_dir: Path, image: str) -> list[Obj]:
    """Return the server's objects with an image in them.

    Raises:
        InvalidInput: No image was given: the server has none of its own.
    """
    if not image:
        raise InvalidInput(
            "git server - no workbench image for it, expected one",
            hint="name a repository instead: APQX_GIT_URL=https://github.com/you/apqx.git",
        )
    found = []
    for obj in rootapp.parsed(project_dir, rootapp.GIT_SERVER):
        changed = copy.deepcopy(obj)
        if manifests.kind(obj) == "Deployment":
            changed["spec"]["template"]["spec"]["containers"][0]["image"] = image
        found.append(changed)
    return found


def install(platform: Platform, project_dir: Path, image: str) -> None:
    """Apply the server and the Secret with its token."""
    applier = Applier(kube.connect(platform))
    listed = objects(project_dir, image)
    listed.insert(1, _secret(token(platform)))
    for obj in listed:
        applier.apply(obj)


def _secret(value: str) -> Obj:
    """Return the Secret with the token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/part-of": "apqx"}},
        "type": "Opaque",
        "data": {"token": base64.b64encode(value.encode()).decode()},
    }


def wait_reachable(platform: Platform, *, deadline: Deadline, progress: Callable[[str], None]) -> None:
    """Wait until the server runs and answers through the ingress, which is how pushes reach it.

    Raises:
        WaitTimeout: Says whether the pod does not start, and why, or the ingress does not lead to it.
    """
    connection = kube.connect(platform)
    port = urlsplit(platform.ingress_url).port or 80

    def reachable() -> tuple[bool | None, str]:
        seen = workloads.readiness(connection, NAMESPACE, labels=LABELS, wanted=(NAME,))
        if not seen.ready:
            return None, seen.seen
        answer = _ask(port)
        return (True if answer == 200 else None), f"http://{HOST}:{port}/healthz: {answer}"

    until(
        workloads.forgiving(reachable),
        timeout_s=max(deadline.left_s, 0.1),
        wanted="the cluster's git server",
        hint=f"kubectl -n {NAMESPACE} get pods,ingress; run it again: it goes on",
        interval_s=0.5,
        progress=progress,
    )


def _ask(port: int) -> int | str:
    """Ask the server through the ingress on the loopback address; return the status or the name of the error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASK_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz", headers={"Host": HOST})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


def fill(platform: Platform, current: Settings, release: Release) -> str:
    """Push a first commit when the server has none; say what was done.

    A cluster that was lost gets back what this machine saw last: the private clone outlives it. Only without one
    it begins with the project's ``gitops/`` and the release in it.

    Raises:
        GitError: The push was refused.
    """
    remote = Git(
        platform.gitops_repo, platform.gitops_branch, Identity("apqx", "apqx@localhost", token=platform.gitops_token)
    )
    if remote.run(["ls-remote", platform.gitops_repo, _ref(platform)], folder=None):
        return "the repository has its history"
    clone = platform.home / "clones" / platform.name
    if _known(remote, clone, platform):
        remote.run(["push", "--quiet", platform.gitops_repo, f"HEAD:{_ref(platform)}"], folder=clone)
        return "the repository was restored from this machine's clone"
    program = shutil.which("git")
    if program is None:
        raise ToolMissing("git - not found on PATH, it is needed", hint="install git")
    with seed.first_commit(current, program, platform.home, release) as bare:
        remote.run(["push", "--quiet", platform.gitops_repo, f"{seed.BRANCH}:{_ref(platform)}"], folder=bare)
    return f"the repository begins with {label_of(release)}"


def label_of(release: Release) -> str:
    """Return version and image of a release, for people."""
    return f"{release.version} ({release.reference})"


def _ref(platform: Platform) -> str:
    """Return the full name of the branch."""
    return f"refs/heads/{platform.gitops_branch}"


def _known(remote: Git, clone: Path, platform: Platform) -> bool:
    """Return whether the private clone is one of this repository and has a commit."""
    if not (clone / ".git").is_dir():
        return False
    try:
        origin = remote.run(["remote", "get-url", "origin"], folder=clone)
        remote.run(["rev-parse", "--verify", "--quiet", "HEAD"], folder=clone)
    except GitError:
        return False
    return _place(origin) == _place(platform.gitops_repo)


def _place(url: str) -> tuple[str | None, str]:
    """Return host and path of an address: the port is that of the ingress, and may be another one next time."""
    parts = urlsplit(url)
    return parts.hostname, parts.path
