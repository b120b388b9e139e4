"""Which runbooks are there, what are they for, and how did each end last time? The page to start from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from platform_lib import runbook
from platform_lib.model import _Table, joined
from platform_lib.settings import settings

COLUMNS = ("runbook", "purpose", "parameters", "last result")


@dataclass(frozen=True, slots=True)
class Book(_Table):
    """One runbook on the shelf; paths are relative to the folder the page is opened from."""

    name: str
    purpose: str
    parameters: tuple[str, ...]
    path: str
    last_result: str
    report: str

    def cells(self) -> tuple[str, str, str, str]:
        """Return what the table shows, in the order of ``COLUMNS``."""
        return (self.name, self.purpose, joined(self.parameters), self.last_result)


@dataclass(frozen=True, slots=True)
class Shelf(_Table):
    """All runbooks, as a table with links in a notebook and as lines in a log."""

    books: tuple[Book, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return one row per runbook."""
        return [(book.name, f"{book.purpose} Last: {book.last_result}.") for book in self.books]

    def __str__(self) -> str:
        grid = [COLUMNS, *(book.cells() for book in self.books)]
        widths = [max(len(row[column]) for row in grid) for column in range(len(COLUMNS) - 1)]
        return "\n".join("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in grid)

    def _repr_html_(self) -> str:
        head = "".join(f"<th style='text-align:left'>{title}</th>" for title in COLUMNS)
        body = "".join(f"<tr>{_cells_html(book)}</tr>" for book in self.books)
        return f"<table class='apqx'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells_html(book: Book) -> str:
    """Return the cells of one row; name and result are links."""
    name, purpose, parameters, last = map(escape, book.cells())
    last = f"<a href='{escape(book.report)}' target='_blank'>{last}</a>" if book.report else last
    parts = (f"<a href='{escape(book.path)}'>{name}</a>", purpose, f"<code>{parameters}</code>", last)
    return "".join(f"<td style='text-align:left'>{part}</td>" for part in parts)


def shelf(folder: Path | None = None) -> Shelf:
    """List the runbooks with purpose, parameters, the result of the last run and the way to its report.

    Args:
        folder: Where the page that shows it lies; links are relative to it. None for the folder ``notebooks``.

    Returns:
        One book per runbook, in the order of their numbers.
    """
    base = folder or settings().project_dir / "notebooks"
    last: dict[str, dict[str, Any]] = {}
    for run in reversed(runbook.runs()):
        last[str(run.get("runbook"))] = run
    return Shelf(tuple(_book(info, last.get(info.name), base) for info in runbook.catalogue()))


def _book(info: runbook.BookInfo, run: dict[str, Any] | None, base: Path) -> Book:
    """Join a book with its last run."""
    names = tuple(name for name, *_ in runbook.describe(info.name))
    said, report = "never run", ""
    if run:
        said = f"{run['status']} {str(run.get('started_at', ''))[:10]} {run.get('key_figure', '')}".strip()
        report = os.path.relpath(Path(run["folder"]).absolute() / "report.html", base)
    return Book(info.name, info.purpose, names, os.path.relpath(info.path, base), said, report)


def parameters(name: str) -> Any:
    """Describe the parameters of a runbook.

    Returns:
        A DataFrame: index ``parameter``; columns ``type``, ``default``, ``help``.

    Raises:
        InvalidInput: Unknown runbook.
    """
    import pandas as pd

    rows = [dict(zip(("parameter", "type", "default", "help"), row, strict=True)) for row in runbook.describe(name)]
    return pd.DataFrame(rows).set_index("parameter")
