"""How does the GitOps repository begin? One commit with the project's ``gitops/`` and a real image digest.

Only the first ``up`` does this. Afterwards the repository is the truth and is changed by commits alone; a
rebuilt cluster reads it as it is.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platform_lib.errors import GitError
from platform_lib.image import build_image
from platform_lib.model import App
from platform_lib.providers.base import Release
from platform_lib.providers.bootstrap.repourl import INTERNAL, own, rewrite_repo_url
from platform_lib.providers.state import Layout
from platform_lib.settings import Settings
from platform_lib.wire.manifest_edit import write_release

FIRST_VERSION = "1.0.0"
BRANCH = "main"
GIT_TIMEOUT_S = 60


def is_seeded(layout: Layout) -> bool:
    """Return whether the repository has its first commit."""
    return (layout.git / "refs" / "heads" / BRANCH).exists() or (layout.git / "packed-refs").exists()


def seed(current: Settings, git: str) -> None:
    """Build the first image and commit the desired state that names it.

    Raises:
        ImageError: The image could not be built.
        GitError: A git command failed; no half-made repository is left.
    """
    layout = Layout(current.home)
    image = build_image(current.project_dir / "app", layout.images, version=FIRST_VERSION)
    layout.git.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with first_commit(current, git, layout.git.parent, image) as bare:
        shutil.rmtree(layout.git, ignore_errors=True)  # what an interrupted run may have left
        bare.rename(layout.git)


@contextlib.contextmanager
def first_commit(current: Settings, git: str, folder: Path, release: Release) -> Iterator[Path]:
    """Make a bare repository whose only commit is the desired state with a release in it; yields its path.

    It is deleted afterwards, unless it was moved away.

    Args:
        current: For the project's folder.
        git: The git program.
        folder: Where the repository is made.
        release: Image by digest, and its version.

    Raises:
        GitError: A git command failed.
    """
    app = App()
    with tempfile.TemporaryDirectory(prefix=".seed-", dir=folder) as scratch:
        tree, bare = Path(scratch) / "tree", Path(scratch) / "gitops.git"
        shutil.copytree(current.project_dir / "gitops", tree / "gitops")
        # A checkout of somebody with a repository of their own names that one; this commit is for the internal server.
        if own(tree) != (INTERNAL, BRANCH):
            rewrite_repo_url(tree, INTERNAL, branch=BRANCH)
        write_release(tree / app.deployment_file, image=release.reference, version=release.version)
        _git(git, "init", "--quiet", "--bare", f"--initial-branch={BRANCH}", str(bare))
        _git(git, f"--git-dir={bare}", f"--work-tree={tree}", "add", "--all")
        message = f"Desired state of {app.name} {release.version}\n\nFirst commit, made when the platform came up."
        _git(git, f"--git-dir={bare}", f"--work-tree={tree}", "commit", "--quiet", f"--message={message}")
        yield bare


def _git(program: str, *arguments: str) -> None:
    """Run git with a clean environment, independent of the user's configuration."""
    options = ("user.name=apqx", "user.email=apqx@localhost", "commit.gpgsign=false", "core.autocrlf=false")
    command = [program, *(part for option in options for part in ("-c", option)), *arguments]
    environment = {"PATH": f"{Path(program).parent}:/usr/bin:/bin", "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False)
    if done.returncode:
        what = next(a for a in arguments if not a.startswith("-"))
        raise GitError(
            f"git {what} - failed with {done.returncode}: {done.stderr.strip()[-300:]}",
            hint="see the message of git",
            command=what,
            stderr=done.stderr.strip()[-300:],
        )
