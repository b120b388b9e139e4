"""How is a book executed? With papermill, in a kernel of its own; no secret reaches the disk on the way."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from platform_lib.errors import RunbookFailed
from platform_lib.parameters import Parameters
from platform_lib.redact import Secrets
from platform_lib.settings import settings

Progress = Callable[[str], None]


def execute(folder: Path, values: Parameters, extra: dict[str, str], known: Secrets, progress: Progress) -> bool:
    """Execute input.ipynb into output.ipynb.

    Args:
        folder: Run folder.
        values: Parameters of the book.
        extra: Variables for the kernel.
        known: Secrets that are taken out of everything that is written or reported.
        progress: Receives one line per section of the book and per line it prints.

    Returns:
        Whether a signal arrived.

    Raises:
        RunbookFailed: A cell raised; names the cell and its error.
    """
    # nbformat pulls jsonschema's IRI grammar where JupyterLab is installed: one second for nothing.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from platform_lib.kernel import interrupting, kernel_class, socket_folder

    output = (folder / "output.ipynb").resolve()

    def say(line: str) -> None:
        progress(known.scrub(line))

    with socket_folder() as sockets, _scrubbed(output, known):
        manager = kernel_class(sockets, extra)
        with interrupting(manager) as signals:
            try:
                papermill.execute_notebook(
                    str(folder / "input.ipynb"),
                    str(output),
                    parameters=values.model_dump(),
                    kernel_name="python3",
                    progress_bar=False,
                    log_output=False,
                    kernel_manager_class=manager,
                    shutdown_kernel="immediate",
                    resources={"metadata": {"path": str(settings().project_dir)}},
                    stdout_file=_Lines(say),
                    **_hooks(say, signals),
                )
            except PapermillExecutionError as failure:
                raise _failed(folder, failure, known) from failure
            return bool(signals)


def _failed(folder: Path, failure: Any, known: Secrets) -> RunbookFailed:
    """Name the cell that raised."""
    return RunbookFailed(
        known.scrub(f"{folder.name} cell {failure.exec_count} - {failure.ename}: {failure.evalue}"),
        hint=f"open {folder / 'output.ipynb'}",
        runbook=folder.name,
        type=failure.ename,
        cell=failure.exec_count,
        notebook=str(folder / "output.ipynb"),
    )


@contextlib.contextmanager
def _scrubbed(output: Path, known: Secrets) -> Iterator[None]:
    """Let papermill write one notebook through the scrubber: it saves after every cell and while one runs."""
    from papermill.iorw import papermill_io

    entry = (str(output), _Writer(known))
    papermill_io.register(*entry)
    try:
        yield
    finally:
        papermill_io._handlers.remove(entry)


class _Writer:
    """What papermill calls to save a notebook."""

    def __init__(self, known: Secrets) -> None:
        self._known = known

    def write(self, text: str, path: str) -> None:
        """Save a notebook in one step, without secrets."""
        place = Path(path)
        if len(self._known):
            text = json.dumps(self._known.document(json.loads(text)), indent=1, ensure_ascii=False)
        scratch = place.with_name(f".{place.name}.new")
        scratch.write_text(text + "\n")
        scratch.replace(place)

    def pretty_path(self, path: str) -> str:
        """Name the place in messages."""
        return path


def _hooks(progress: Progress, signals: list[int]) -> dict[str, Any]:
    """Report each section of the book; stop between cells once a signal came."""

    def started(cell: Any, cell_index: int) -> None:
        del cell_index
        if cell.cell_type == "markdown":
            progress(cell.source.splitlines()[0].lstrip("# "))

    def before_execute(cell: Any, cell_index: int) -> None:
        del cell, cell_index
        if signals:
            raise KeyboardInterrupt

    return {"on_cell_start": started, "on_cell_execute": before_execute}


class _Lines:
    """A text sink that hands complete lines to a progress function."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._rest = progress, ""

    def write(self, text: str) -> int:
        """Take a piece of text."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(None, lines):
            self._progress(f"  {line}")
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered beyond the current line."""
