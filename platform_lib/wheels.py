"""How does an image get its Python packages where the build has no network, or only this machine knows the index?

This machine's pip, with its own configuration (index, proxy, certificates), fetches exactly the locked wheels, each
checked against its hash; ``container.build`` takes the folder along. Nothing about the index enters the image.

Source: pip download; PEP 508 (environment markers); PEP 600 (manylinux).
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from platform_lib.errors import ImageError, InvalidInput
from platform_lib.settings import child_environment, settings

LOCKS = {
    "app": ("app/requirements.lock",),
    "workbench": ("scripts/setup.lock", "requirements-workbench.lock"),
}
"""Lock files that each target of the Dockerfile installs."""
PYTHON_VERSION = "3.11.16"
"""Python of the base image that the Dockerfile names."""
_FULL_VERSION = re.compile(r"3\.\d{1,2}\.\d{1,3}")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
_GLIBC = ("2_17", "2_28", "2_34")
"""Of manylinux tags that wheels carry; the base image has glibc 2.41, Debian 12 has 2.36."""


def download(
    project_dir: Path,
    folder: Path,
    *,
    target: str,
    python_version: str = PYTHON_VERSION,
    architecture: str = "amd64",
) -> int:
    """Fetch the wheels of one target; those that are there already are only checked.

    Args:
        project_dir: The checkout.
        folder: Where they go; created when absent.
        target: ``app`` or ``workbench``.
        python_version: Full version of the image's Python, because locks ask for it.
        architecture: ``amd64`` or ``arm64``: the image's, not this machine's.

    Returns:
        How many wheels the target needs.

    Raises:
        InvalidInput: ``target`` or ``architecture`` is unknown, or the version is none; nothing was made.
        ImageError: A wheel could not be had, or has another hash than the locked one.
    """
    if target not in LOCKS or architecture not in _MACHINES:
        raise InvalidInput(
            f"wheels - for {target!r} on {architecture!r}, expected {'|'.join(LOCKS)} on {'|'.join(_MACHINES)}",
            hint="see LOCKS in platform_lib/wheels.py",
        )
    if not _FULL_VERSION.fullmatch(python_version):
        raise InvalidInput(
            f"wheels - for Python {python_version!r}, expected the full version of the image's, as in {PYTHON_VERSION}",
            hint="leave out --python-version for the base image that the Dockerfile names",
        )
    entries = [
        entry
        for lock in LOCKS[target]
        for entry in _wanted((project_dir / lock).read_text(encoding="utf-8"), python_version, _MACHINES[architecture])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="apqx-wheels-") as lock_file:
        lock_file.write("\n".join(entries))
        lock_file.flush()
        _pip_download(Path(lock_file.name), folder, python_version, _MACHINES[architecture])
    return len(entries)


def _wanted(lock: str, python_version: str, machine: str) -> Iterator[str]:
    """Yield the entries of a lock that the image's Python wants, without their markers.

    pip would judge the markers by the Python it runs on, which need not be the image's.
    """
    environment = {
        "python_version": ".".join(python_version.split(".")[:2]),
        "python_full_version": python_version,
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock):
        text = "\n".join(line for line in block.splitlines() if not line.lstrip().startswith("#"))
        head = text.partition("--hash=")[0].strip().removesuffix("\\").strip()
        if "==" not in head:
            continue
        requirement = Requirement(head)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield " ".join([f"{requirement.name}{requirement.specifier}", *re.findall(r"--hash=\S+", text)])


def _pip_download(lock: Path, folder: Path, python_version: str, machine: str) -> None:
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC] + [f"manylinux2014_{machine}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--implementation", "cp", "--python-version", ".".join(python_version.split(".")[:2])]
    command += [argument for platform in platforms for argument in ("--platform", platform)]
    done = subprocess.run(
        [*command, "--requirement", str(lock)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=settings().image_build_timeout_s,
        env=child_environment(),
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()
        raise ImageError(
            f"wheels for the image - pip download failed, expected every locked wheel: {' '.join(lines[-2:])[:600]}",
            hint="check pip's configuration of this machine: pip config list",
        )
