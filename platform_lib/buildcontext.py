"""What may a build of the Dockerfile read? A folder made for it, of ``CONTEXT`` alone: nothing else can enter an image.

A build by hand reads the checkout itself; there .dockerignore lets the same through, and a test keeps the two equal.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_lib.errors import InvalidInput

CONTEXT = (
    "LICENSE",
    "README.md",
    "app/requirements.lock",
    "app/requirements.txt",
    "app/sample_app",
    "gitops",
    "notebooks",
    "platform_lib",
    "pyproject.toml",
    "requirements-workbench.lock",
    "runbooks",
    "scripts/setup.lock",
)
"""What a build may read, beside the Dockerfile."""
WHEELS = ".wheels"
"""Folder of the context with wheels for a build without network; the Dockerfile looks there."""


def check(project_dir: Path) -> None:
    """Refuse a folder that is not the checkout.

    Raises:
        InvalidInput: Something that the Dockerfile copies is not there.
    """
    for needed in ("Dockerfile", *CONTEXT):
        if not (project_dir / needed).exists():
            raise InvalidInput(
                f"project folder {project_dir} - has no {needed}, expected the checkout of this project",
                hint="set APQX_PROJECT_DIR to it",
            )


@contextmanager
def made(project_dir: Path, wheels: Path | None) -> Iterator[Path]:
    """Yield a folder with the Dockerfile, what it may read, and the wheels; removed afterwards.

    Args:
        project_dir: The checkout; see ``check``.
        wheels: Folder of ``*.whl`` files, or None.

    Raises:
        InvalidInput: A file is a symbolic link, or ``wheels`` holds none.
    """
    with tempfile.TemporaryDirectory(prefix="apqx-context-") as name:
        folder = Path(name)
        for item in ("Dockerfile", ".dockerignore", *CONTEXT):
            source, copy = project_dir / item, folder / item
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=_left_out)
            elif source.exists():
                shutil.copy2(source, copy)
        if wheels is not None:
            _add_wheels(wheels, folder / WHEELS)
        yield folder


def _left_out(folder: str, names: list[str]) -> set[str]:
    """Return the names that stay out of the context; a link could lead anywhere, so it is refused."""
    for name in names:
        if (Path(folder) / name).is_symlink():
            raise InvalidInput(
                f"project file {Path(folder) / name} - is a symbolic link, expected a file", hint="copy it"
            )
    return {name for name in names if name == "__pycache__" or name.endswith((".pyc", "checkpoints"))}


def _add_wheels(wheels: Path, folder: Path) -> None:
    found = sorted(wheels.glob("*.whl"))
    if not found:
        raise InvalidInput(
            f"wheels folder {wheels} - holds no wheel, expected *.whl", hint="apqx image wheels fills it"
        )
    folder.mkdir()
    for wheel in found:
        shutil.copy2(wheel, folder / wheel.name)
