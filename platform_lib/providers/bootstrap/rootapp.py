"""Does everything follow from git? Applies the root Application and waits for what it brings.

The root is the only thing that a person, or ``up``, applies; what stands beside it in ``gitops/bootstrap/k3d``
belongs to it: the project and the Application of the programs that only a real cluster runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from platform_lib.errors import ManifestError
from platform_lib.model import Obj, Platform
from platform_lib.providers.bootstrap import repourl, workloads
from platform_lib.providers.bootstrap.apply import Applier
from platform_lib.rules import manifests
from platform_lib.wait import Deadline, until
from platform_lib.wire import kube

FOLDER = "gitops/bootstrap/k3d"
FILES = ("monitoring-k3d.yaml", "root.yaml")
GIT_SERVER = f"{FOLDER}/git-server.yaml"


def objects(project_dir: Path, platform: Platform) -> list[Obj]:
    """Return what is applied by hand, naming the platform's repository; projects come before Applications."""
    old_url, _ = repourl.own(project_dir)
    found = [obj for name in FILES for obj in parsed(project_dir, f"{FOLDER}/{name}")]
    named = [repourl.with_repo_url(obj, old_url, platform.gitops_url, platform.gitops_branch) for obj in found]
    return sorted(named, key=lambda obj: manifests.kind(obj) != "AppProject")


def parsed(project_dir: Path, name: str) -> list[Obj]:
    """Return the objects of a file of the project.

    Raises:
        ManifestError: It is absent or no manifest.
    """
    path = project_dir / name
    if not path.is_file():
        raise ManifestError(
            f"{name} - absent below {project_dir}, expected it there", hint="check out the whole project"
        )
    return manifests.parse_manifests(path.read_text(), name)


def apply(platform: Platform, project_dir: Path) -> list[str]:
    """Apply the root and its companions; return the Applications that are to come of it."""
    applier = Applier(kube.connect(platform))
    applied = [applier.apply(obj) for obj in objects(project_dir, platform)]
    brought = [obj for path in sorted((project_dir / "gitops/apps").glob("*.yaml")) for obj in _documents(path)]
    return [manifests.name(obj) for obj in (*applied, *brought) if manifests.kind(obj) == "Application"]


def _documents(path: Path) -> list[Obj]:
    """Return the objects of a file."""
    return manifests.parse_manifests(path.read_text(), path.name)


def wait_synced(platform: Platform, names: list[str], *, deadline: Deadline, progress: Callable[[str], None]) -> None:
    """Wait until every one of these Applications is Synced and Healthy.

    Raises:
        WaitTimeout: Not in time; names those that are not, with Argo CD's own words.
    """
    connection = kube.connect(platform)

    def healthy() -> tuple[bool | None, str]:
        found, _ = connection.list(kube.APPLICATIONS, platform.argocd_namespace)
        states = {manifests.name(app): _state(app) for app in found}
        wrong = [f"{n} {states.get(n, 'not there yet')}" for n in names if states.get(n) != "Synced, Healthy"]
        return (None if wrong else True), "; ".join(wrong) or f"{', '.join(names)} Synced, Healthy"

    until(
        workloads.forgiving(healthy),
        timeout_s=max(deadline.left_s, 0.1),
        wanted=f"Applications {', '.join(names)} Synced and Healthy",
        hint=f"kubectl -n {platform.argocd_namespace} get applications; run it again: it goes on",
        interval_s=0.5,
        progress=progress,
    )


def _state(app: Obj) -> str:
    """Return sync and health of an Application, with the reason where something is wrong."""
    status = manifests.status(app)
    text = ", ".join(str((status.get(part) or {}).get("status") or "Unknown") for part in ("sync", "health"))
    if text == "Synced, Healthy":
        return text
    conditions = [str(condition.get("message") or "") for condition in status.get("conditions") or ()]
    said = [*conditions, str((status.get("operationState") or {}).get("message") or "")]
    reason = next((" ".join(one.split())[:300] for one in said if one), "")
    return f"{text} ({reason})" if reason else text
