"""How do commands print? Progress on stderr, results on stdout as a table or as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_lib.errors import EXIT_FAILED

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
AppName = Annotated[str, typer.Argument(help="Application name.")]
TimeoutS = Annotated[float, typer.Option("--timeout-s", help="Deadline in seconds.")]


@contextmanager
def steps(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a progress function that writes to stderr, so that stdout stays for results."""

    def write(line: str) -> None:
        if not quiet:
            sys.stderr.write(f"  {line}\n")
            sys.stderr.flush()

    yield write


def show(value: Any, as_json: bool) -> None:
    """Print a value as JSON or as its table."""
    from platform_lib.model import to_json

    print(json.dumps(to_json(value), indent=1) if as_json else value)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print rows as a table; width follows the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def finish(outcome: Any, as_json: bool) -> None:
    """Print an outcome and leave with its exit code."""
    show(outcome, as_json)
    if not outcome.ok:
        raise typer.Exit(EXIT_FAILED)


Write = Annotated[bool, typer.Option("--write", help="Replace the committed manifest.")]
Verify = Annotated[bool, typer.Option("--check", help="Leave with 1 when the committed manifest is old.")]


def generated(text: str, path: Path, *, write: bool, verify: bool) -> None:
    """Print a generated manifest, write it to its place, or tell whether what is there is old.

    Raises:
        typer.Exit: With 1 when it was only to be checked, and is old.
    """
    same = path.exists() and path.read_text() == text
    if write and not same:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if write or verify:
        sys.stderr.write(f"{path.name} {'is up to date' if same else 'was written' if write else 'is old'}\n")
    else:
        print(text, end="")
    if verify and not write and not same:
        raise typer.Exit(EXIT_FAILED)


def pairs(items: list[str], flag: str) -> dict[str, str]:
    """Split ``KEY=VALUE`` texts of a repeatable option."""
    from platform_lib.errors import InvalidInput

    found = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{flag} {item!r} - wanted KEY=VALUE", hint=f"for example: {flag} dry_run=false")
        found[key] = value
    return found


def target_of(name: str) -> Any:
    """The application of that name: as ``[apps.NAME]`` of apqx.toml says, else by the project's convention."""
    from platform_lib import applications

    return applications.named(name)
