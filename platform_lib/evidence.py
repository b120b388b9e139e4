"""What proves that a run folder is what the run left? Versions, a manifest of hashes, and a bundle of it all."""

from __future__ import annotations

import gzip
import hashlib
import platform as host
import subprocess
import tarfile
from importlib import metadata
from pathlib import Path

from platform_lib.errors import InvalidInput
from platform_lib.settings import settings

MANIFEST = "manifest.sha256"
PACKAGES = ("apqx", "papermill", "kubernetes", "prometheus-api-client", "pandas", "numpy", "scipy")
CHUNK_BYTES = 1 << 20


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


def verify_manifest(folder: Path, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Compare a run folder with its manifest.

    Args:
        folder: Run folder.
        ignore: Files that may be there although the manifest does not list them.

    Returns:
        One sentence per difference; empty when the folder is untouched.

    Raises:
        InvalidInput: The folder has no manifest, or one that cannot be read.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InvalidInput(
            f"run folder {folder} - has no {MANIFEST}: the run was cut off, or it is no run folder",
            hint="see: apqx runs; a lost run is completed by apqx run --resume",
        )
    wanted = _wanted(path)
    present = {str(p.relative_to(folder)): p for p in _files(folder)}
    actual = {name: "symlink" if p.is_symlink() else _sha256(p) for name, p in present.items() if name not in ignore}
    changed = [f"{name}: content changed" for name in wanted if name in actual and actual[name] != wanted[name]]
    missing = [f"{name}: missing" for name in wanted if name not in actual]
    return changed + missing + [f"{name}: not in the manifest" for name in actual if name not in wanted]


def _wanted(path: Path) -> dict[str, str]:
    """Read a manifest: file name to hash."""
    wanted = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        sha, separator, name = line.partition("  ")
        if not separator or len(sha) != hashlib.sha256().digest_size * 2 or not name:
            raise InvalidInput(f"{path} line {number} - not a hash and a file name", hint="the manifest was altered")
        wanted[name] = sha
    if not wanted:
        raise InvalidInput(f"{path} - lists no file", hint="the manifest was altered")
    return wanted


def bundle(folder: Path, target: Path | None = None) -> Path:
    """Pack a run folder into one file that can be sent to somebody and checked there.

    The same folder always gives the same bytes.

    Args:
        folder: Run folder, untouched since the run.
        target: File to write; default ``RUN.tar.gz`` in the working folder.

    Returns:
        Path of the bundle.

    Raises:
        InvalidInput: The folder differs from its manifest.
    """
    differences = verify_manifest(folder)
    if differences:
        raise InvalidInput(f"run {folder.name} - is not as it was left: {'; '.join(differences)}", hint="apqx verify")
    path = target or Path(f"{folder.name}.tar.gz")
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        for file in sorted([*_files(folder), folder / MANIFEST]):
            archive.add(file, f"{folder.name}/{file.relative_to(folder)}", filter=_anonymous)
    return path


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out who owned a file, and when it was written."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 0, 0o644
    return member


def _files(folder: Path) -> list[Path]:
    """All files of the folder but the manifest, sorted."""
    found = (p for p in folder.rglob("*") if p.is_file() or p.is_symlink())
    return sorted(p for p in found if p.relative_to(folder) != Path(MANIFEST))


def _sha256(path: Path) -> str:
    """Hash one file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
