"""What proves that a run folder is what the run left? Versions, and a manifest of hashes."""

from __future__ import annotations

import hashlib
import platform as host
import subprocess
from importlib import metadata
from pathlib import Path

from platform_lib.errors import InvalidInput
from platform_lib.settings import settings

MANIFEST = "manifest.sha256"
PACKAGES = ("apqx", "papermill", "kubernetes", "prometheus-api-client", "pandas", "numpy", "scipy")


def versions() -> dict[str, str]:
    """Return the versions that matter for repeating a run, the project's commit included."""
    found = {
        "python": host.python_version(),
        "system": f"{host.system()} {host.machine()}",
        "git_sha": _git_sha(),
    }
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


def _git_sha() -> str:
    """Commit of the project folder, with ``+changes`` when files differ; ``unknown`` outside git."""
    folder = settings().project_dir
    try:
        sha = _git(folder, "rev-parse", "HEAD")
        return sha + ("+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    """Run a read-only git command."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def write_manifest(folder: Path) -> None:
    """Write the SHA-256 of every file of a run folder, in the format of ``sha256sum``."""
    lines = [f"{_sha256(path)}  {path.relative_to(folder)}\n" for path in _files(folder)]
    (folder / MANIFEST).write_text("".join(lines))


def verify_manifest(folder: Path) -> list[str]:
    """Compare a run folder with its manifest.

    Args:
        folder: Run folder.

    Returns:
        One sentence per difference; empty when the folder is untouched.

    Raises:
        InvalidInput: The folder has no manifest.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InvalidInput(f"run folder {folder} - has no {MANIFEST}", hint="see: apqx runs")
    lines = [line.partition("  ") for line in path.read_text().splitlines()]
    wanted = {name: sha for sha, _, name in lines}
    actual = {str(p.relative_to(folder)): _sha256(p) for p in _files(folder)}
    changed = [f"{name}: content changed" for name in wanted if name in actual and actual[name] != wanted[name]]
    missing = [f"{name}: missing" for name in wanted if name not in actual]
    return changed + missing + [f"{name}: not in the manifest" for name in actual if name not in wanted]


def _files(folder: Path) -> list[Path]:
    """All files of the folder but the manifest, sorted."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)


def _sha256(path: Path) -> str:
    """Hash one file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
