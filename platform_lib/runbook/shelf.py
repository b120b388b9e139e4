"""Which runbooks are there, what are they for, and which parameters do they take?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

from platform_lib.errors import InvalidInput
from platform_lib.model import joined
from platform_lib.parameters import MODELS
from platform_lib.settings import settings


@dataclass(frozen=True, slots=True)
class BookInfo:
    """A runbook on the shelf: name, title, purpose and whether it can change a platform."""

    name: str
    title: str
    purpose: str
    path: Path


def books_folder() -> Path:
    """Return the folder with the runbooks of this project."""
    return settings().project_dir / "runbooks"


def catalogue() -> tuple[BookInfo, ...]:
    """List the runbooks, in the order of their numbers."""
    return tuple(_info(name) for name in sorted(MODELS))


def _info(name: str) -> BookInfo:
    """Read title and first paragraph of a book without loading nbformat (slow import)."""
    path = books_folder() / f"{name}.ipynb"
    if not path.is_file():
        raise InvalidInput(f"runbook {name!r} - no file {path}", hint="run from the project folder")
    first = json.loads(path.read_text())["cells"][0]["source"]
    lines = [line.strip() for line in "".join(first).splitlines() if line.strip()]
    return BookInfo(name=name, title=lines[0].lstrip("# "), purpose=lines[1] if len(lines) > 1 else "", path=path)


def resolve(name: str) -> str:
    """Return the full name of a runbook given its name, number or the part after the number.

    Raises:
        InvalidInput: No runbook, or more than one, answers to ``name``.
    """
    wanted = name.removesuffix(".ipynb")
    found = [book for book in MODELS if book == wanted or wanted in book.split("-", 1)]
    if len(found) != 1:
        raise InvalidInput(
            f"runbook {name!r} - unknown, wanted one of {joined(sorted(MODELS))}",
            hint="see: apqx runs --books",
        )
    return found[0]


def describe(name: str) -> list[tuple[str, str, str, str]]:
    """Return (parameter, type, default, help) of a runbook.

    Raises:
        InvalidInput: Unknown runbook.
    """
    model = MODELS[resolve(name)]
    rows = []
    for key, info in model.model_fields.items():
        kind = getattr(info.annotation, "__name__", None) or str(info.annotation).replace("typing.", "")
        if get_origin(info.annotation) is Literal:
            kind = joined(repr(choice) for choice in get_args(info.annotation))
        rows.append((key, kind, repr(info.default), info.description or ""))
    return rows


def book_sha256(path: Path) -> str:
    """Hash what a book does: its cells' sources and tags, not outputs or counts."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
