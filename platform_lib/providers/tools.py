"""Where are the programs that the embedded platform starts, and how are they obtained without touching the host?

A program is taken from the settings, else from PATH (which includes this environment's own programs, so
Traefik comes from its wheel), else from the tool cache. ``python -m platform_lib.providers.tools`` fills the
cache at set-up time: from the distribution's package, downloaded and unpacked but not installed (no service,
no root), else from the pinned upstream release, checked against its SHA-256. Bringing the platform up
downloads nothing.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from platform_lib.errors import ToolMissing
from platform_lib.settings import Settings, child_environment, search_path, settings
from platform_lib.unpacking import unpack

PROMETHEUS_VERSION = "2.55.1"
"""Last release of the 2.x line; the configuration is the same that Debian's 2.42 reads."""
PROMETHEUS_SHA256 = {
    "x86_64": ("amd64", "19700bdd42ec31ee162e4079ebda4cd0a44432df4daa637141bdbea4b1cd8927"),
    "aarch64": ("arm64", "af43368bc6379c3c8bd5ac0b82208060bba22267bf01ad3ab5df56ad5725bf88"),
}
"""Architecture name of the release and SHA-256 of its archive, by ``platform.machine()``."""
PROMETHEUS_URL = "https://github.com/prometheus/prometheus/releases/download/v{version}/{name}.tar.gz"
DOWNLOAD_TIMEOUT_S = 300
BWRAP_LIBRARIES = ("libcap2", "libselinux1", "libpcre2-8-0")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: what it is for and what to do when it is absent."""

    name: str
    needed: bool
    hint: str


PROMETHEUS_PROGRAMS = ("prometheus", "promtool")
TOOLS = (
    Tool("git", True, "install git from your distribution"),
    Tool("traefik", True, "run make setup (its wheel is among the locked packages), or set APQX_TRAEFIK"),
    Tool("prometheus", True, "run make setup (fetches it into the tool cache), or set APQX_PROMETHEUS"),
    Tool("bwrap", False, "run make setup; without it pods run unsandboxed and say so in their conditions"),
)


def find(name: str, current: Settings) -> str | None:
    """Return the path of a program, or None; looks in the settings, on PATH, in the tool cache."""
    chosen = getattr(current, name, "")
    if chosen:
        return chosen if chosen != "none" and Path(chosen).is_file() else None
    cached = current.tools_dir / name / name
    return shutil.which(name, path=search_path()) or (str(cached) if cached.is_file() else None)


def require(name: str, current: Settings) -> str:
    """Return the path of a program.

    Raises:
        ToolMissing: It is neither set, nor on PATH, nor in the tool cache.
    """
    path = find(name, current)
    if path is None:
        chosen = getattr(current, name, "")
        seen = f"APQX_{name.upper()} is {chosen}, which is no file" if chosen else "not on PATH, not in the tool cache"
        raise ToolMissing(f"{name} - {seen}", hint=next(t.hint for t in TOOLS if t.name == name), tool=name)
    return path


def fetch_missing(current: Settings, progress: Progress) -> list[str]:
    """Fetch what is absent into the tool cache; return the names that could not be had.

    Absent optional programs are reported through ``progress`` and not returned.
    """
    missing = []
    for name, fetch in (("prometheus", _fetch_prometheus), ("bwrap", _fetch_bwrap)):
        if find(name, current) is not None or getattr(current, name, "") == "none":
            continue
        progress(f"fetching {name}")
        reasons = fetch(current.tools_dir / name)
        if reasons:
            progress(f"{name} could not be had: {'; '.join(reasons)}")
            missing += [name] if name == "prometheus" else []
    return missing


def _fetch_prometheus(target: Path) -> list[str]:
    """Try each source in turn; return why each failed, empty when one worked."""
    reasons: list[str] = []
    for source in (_prometheus_from_package, _prometheus_from_release):
        with tempfile.TemporaryDirectory(prefix="apqx-tools-") as scratch:
            try:
                _keep(source(Path(scratch)), target)
                return []
            except ToolMissing as error:
                reasons.append(error.message)
    return reasons


def _fetch_bwrap(target: Path) -> list[str]:
    """Unpack the distribution's bubblewrap; with its libraries only where the host lacks them."""
    with tempfile.TemporaryDirectory(prefix="apqx-tools-") as scratch:
        folder = Path(scratch)
        try:
            root = _unpack(["bubblewrap"], folder)
            program = root / "usr/bin/bwrap"
            files = {"bwrap": program}
            if _run([str(program), "--version"], folder).returncode != 0:
                files = _bwrap_with_libraries(folder)
            _keep(files, target)
        except ToolMissing as error:
            return [error.message]
    return []


def _bwrap_with_libraries(folder: Path) -> dict[str, Path]:
    """Return bubblewrap behind a two-line script that points it to unpacked libraries."""
    root = _unpack(["bubblewrap", *BWRAP_LIBRARIES], folder)
    script = folder / "bwrap.sh"
    script.write_text(
        '#!/bin/sh\nhere=$(dirname "$(readlink -f "$0")")\nLD_LIBRARY_PATH="$here" exec "$here/bwrap.real" "$@"\n'
    )
    libraries = {path.name: path for path in root.glob("**/lib*.so.*") if path.is_file()}
    return {"bwrap": script, "bwrap.real": root / "usr/bin/bwrap", **libraries}


def _prometheus_from_package(folder: Path) -> dict[str, Path]:
    """Return the programs of the distribution's package, unpacked; promtool checks rules beside the server."""
    programs = _unpack(["prometheus"], folder) / "usr/bin"
    if not (programs / "prometheus").is_file():
        raise ToolMissing("package prometheus - holds no usr/bin/prometheus", hint="set APQX_PROMETHEUS")
    return {name: programs / name for name in PROMETHEUS_PROGRAMS}


def _prometheus_from_release(folder: Path) -> dict[str, Path]:
    """Return the programs of the pinned upstream release, after its checksum held."""
    machine = platform.machine()
    if machine not in PROMETHEUS_SHA256:
        raise ToolMissing(f"prometheus release - none pinned for {machine}", hint="set APQX_PROMETHEUS")
    architecture, wanted = PROMETHEUS_SHA256[machine]
    name = f"prometheus-{PROMETHEUS_VERSION}.linux-{architecture}"
    archive = folder / "release.tar.gz"
    _download(PROMETHEUS_URL.format(version=PROMETHEUS_VERSION, name=name), archive)
    verify_sha256(archive, wanted)
    with tarfile.open(archive) as tar:
        unpack(tar, folder)
    return {program: folder / name / program for program in PROMETHEUS_PROGRAMS}


def _download(url: str, target: Path) -> None:
    """Write what the URL answers to a file."""
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer, target.open("wb") as out:  # noqa: S310 - https, pinned
            shutil.copyfileobj(answer, out)
    except OSError as error:
        raise ToolMissing(f"{url} - not downloaded: {error}", hint="check the network, or set the path") from error


def verify_sha256(path: Path, wanted: str) -> None:
    """Check a downloaded file.

    Raises:
        ToolMissing: The file is not the one that was pinned.
    """
    with path.open("rb") as handle:
        seen = hashlib.file_digest(handle, "sha256").hexdigest()
    if seen != wanted:
        raise ToolMissing(f"{path.name} - SHA-256 {seen}, want {wanted}", hint="download it again", path=str(path))


def _unpack(packages: Iterable[str], folder: Path) -> Path:
    """Download Debian packages and unpack them below ``folder/root``; nothing is installed."""
    root = folder / "root"
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise ToolMissing("distribution package - no apt-get here", hint="install it with your package manager")
    for package in packages:
        _apt_download(package, folder)
        archive = max(folder.glob(f"{package}_*.deb"))
        unpacked = _run(["dpkg-deb", "-x", str(archive), str(root)], folder)
        if unpacked.returncode != 0:
            raise ToolMissing(f"package {package} - not unpacked: {unpacked.stderr[-200:]}", hint="see apt-get")
    return root


def _apt_download(package: str, folder: Path) -> None:
    """Download one package; where the host's package lists are absent or old, with private lists."""
    private = folder / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (private / part).mkdir(parents=True, exist_ok=True)
    own = [f"-oDir::State={private / 'state'}", f"-oDir::Cache={private / 'cache'}"]
    own += ["-oDir::State::status=/var/lib/dpkg/status", "-oAPT::Sandbox::User="]
    first = _run(["apt-get", "download", "-q", "-oAPT::Sandbox::User=", package], folder)
    if first.returncode == 0:
        return
    update = _run(["apt-get", "update", "-q", *own], folder)
    second = _run(["apt-get", "download", "-q", *own, package], folder)
    if second.returncode != 0:
        reason = (second.stderr or update.stderr).strip().splitlines()[-1:] or ["no reason given"]
        raise ToolMissing(f"package {package} - not downloaded: {reason[0]}", hint="check the network")


def _run(argv: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end in a folder."""
    return subprocess.run(
        argv,
        cwd=folder,
        env=child_environment({"LC_ALL": "C"}),
        capture_output=True,
        text=True,
        timeout=DOWNLOAD_TIMEOUT_S,
        check=False,
    )


def _keep(files: dict[str, Path], target: Path) -> None:
    """Put files into the cache in one step, readable for the pods' user too."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        fresh = Path(scratch) / target.name
        fresh.mkdir(mode=0o755)
        for name, path in files.items():
            shutil.copy(path, fresh / name)
            (fresh / name).chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        fresh.rename(target)


def main() -> int:
    """Fetch what is missing; exit status 1 when a needed program could not be had.

    With ``--folders`` print where fetched programs are, as an addition to PATH, and fetch nothing.
    """
    current = settings()
    if "--folders" in sys.argv[1:]:
        sys.stdout.write(":".join(str(current.tools_dir / tool.name) for tool in TOOLS) + "\n")
        return 0
    missing = fetch_missing(current, _say)
    for tool in TOOLS:
        _say(f"{tool.name:<11} {find(tool.name, current) or 'absent: ' + tool.hint}")
    return 1 if missing else 0


def _say(line: str) -> None:
    """Write one line for the person who runs the set-up."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
