"""How is a runbook found, described, validated and executed?

``run`` makes one folder per run, executes the book with papermill, and always leaves the folder complete: the
input, the output as far as it got, the parameters, the journal, the result, a report and a hash manifest.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from platform_lib import errors
from platform_lib.errors import InvalidInput, PlatformError, RunbookFailed
from platform_lib.lock import exclusive
from platform_lib.model import joined, to_json
from platform_lib.parameters import MODELS, Parameters, validate
from platform_lib.settings import Settings, settings
from platform_lib.wait import monotonic, now

RunStatus = Literal["passed", "failed", "interrupted"]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BookInfo:
    """A runbook on the shelf: name, title, purpose and whether it can change a platform."""

    name: str
    title: str
    purpose: str
    path: Path


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run left behind.

    ``figures`` are the numbers the book recorded; ``error`` is the last error's type, text and cell.
    """

    run_id: str
    runbook: str
    folder: Path
    status: RunStatus
    exit_code: int
    started_at: datetime
    duration_s: float
    figures: dict[str, Any] = field(default_factory=dict)
    key_figure: str = ""
    message: str = ""
    error: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """True when the book's own verification passed."""
        return self.status == "passed"

    @property
    def report(self) -> Path:
        """The HTML report of the run."""
        return self.folder / "report.html"


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
        rows.append((key, kind, repr(info.default), info.description or ""))
    return rows


def run(name: str, parameters: dict[str, Any] | None = None, *, progress: Progress | None = None) -> RunResult:
    """Execute a runbook in a new run folder.

    Args:
        name: Runbook name or number.
        parameters: Values by name; checked before anything is created.
        progress: Called with one line whenever a cell starts or an operation reports.

    Returns:
        The result; a failed book is a result with ``ok`` False, not an exception.

    Raises:
        InvalidInput: Unknown runbook or parameters; no folder was created and no kernel started.
        Locked: Another mutating run holds the platform.
    """
    book = resolve(name)
    values = validate(book, dict(parameters or {}))
    current = settings()
    with contextlib.ExitStack() as stack:
        if not values.dry_run:
            stack.enter_context(exclusive(current.home, purpose=f"runbook {book}"))
        folder = _create_folder(current, book)
        _write_inputs(folder, book, values)
        return _execute(folder, book, values, progress or (lambda _line: None))


def _create_folder(current: Settings, book: str) -> Path:
    """Make the run folder; its name sorts by time."""
    folder = current.runs_dir / f"{now():%Y%m%dT%H%M%SZ}-{book}-{secrets.token_hex(2)}"
    try:
        (folder / "figures").mkdir(parents=True)
    except OSError as error:
        raise InvalidInput(
            f"run folder {folder} - cannot be created: {error.strerror}",
            hint="free space or set APQX_RUNS_DIR to a folder you can write",
        ) from error
    return folder


def _write_inputs(folder: Path, book: str, values: Parameters) -> None:
    """Copy the book and write its parameters: both are evidence and never change again."""
    shutil.copyfile(books_folder() / f"{book}.ipynb", folder / "input.ipynb")
    (folder / "params.json").write_text(json.dumps(values.model_dump(), indent=1) + "\n")
    (folder / "journal.jsonl").touch()


def _execute(folder: Path, book: str, values: Parameters, progress: Progress) -> RunResult:
    """Run papermill, then complete the folder whatever happened."""
    started, clock = now(), monotonic()
    status: RunStatus = "passed"
    error: dict[str, Any] | None = None
    try:
        interrupted = _papermill(folder, values, progress)
        status = "interrupted" if interrupted else "passed"
    except KeyboardInterrupt:
        status, error = (
            "interrupted",
            {"type": "KeyboardInterrupt", "message": "stopped between two cells", "cell": None},
        )
    except RunbookFailed as failure:
        status = "interrupted" if failure.context.get("type") == "KeyboardInterrupt" else "failed"
        error = {"message": failure.message, **failure.context}
    except Exception as crash:  # whatever Jupyter raised, the folder must be complete and say so
        status, error = "failed", {"type": type(crash).__name__, "message": f"Jupyter: {crash}", "cell": None}
    record = _read_record(folder)
    result = RunResult(
        run_id=folder.name,
        runbook=book,
        folder=folder,
        status=status,
        exit_code=_exit_code(status, error),
        started_at=started,
        duration_s=round(monotonic() - clock, 3),
        figures=record.get("figures", {}),
        key_figure=record.get("key_figure", ""),
        message=record.get("message", ""),
        error=error,
    )
    _complete(result, values)
    return result


def _papermill(folder: Path, values: Parameters, progress: Progress) -> bool:
    """Execute input.ipynb into output.ipynb; return whether a signal arrived."""
    # nbformat pulls jsonschema's IRI grammar where JupyterLab is installed: one second for nothing.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    import papermill
    from papermill.exceptions import PapermillExecutionError

    from platform_lib.kernel import interrupting, kernel_class, socket_folder

    extra = {"APQX_RUN_DIR": str(folder.resolve()), "APQX_JOURNAL": str((folder / "journal.jsonl").resolve())}
    with socket_folder() as sockets:
        manager = kernel_class(sockets, extra)
        with interrupting(manager) as signals:
            hooks = _hooks(progress, signals)
            try:
                papermill.execute_notebook(
                    str(folder / "input.ipynb"),
                    str(folder / "output.ipynb"),
                    parameters=values.model_dump(),
                    kernel_name="python3",
                    progress_bar=False,
                    log_output=False,
                    kernel_manager_class=manager,
                    shutdown_kernel="immediate",
                    resources={"metadata": {"path": str(settings().project_dir)}},
                    stdout_file=_Lines(progress),
                    **hooks,
                )
            except PapermillExecutionError as failure:
                raise RunbookFailed(
                    f"{folder.name} cell {failure.exec_count} - {failure.ename}: {failure.evalue}",
                    hint=f"open {folder / 'output.ipynb'}",
                    runbook=folder.name,
                    type=failure.ename,
                    cell=failure.exec_count,
                    notebook=str(folder / "output.ipynb"),
                ) from failure
            return bool(signals)


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
        *lines, self._rest = (self._rest + text).split("\n")
        for line in filter(None, lines):
            self._progress(f"  {line}")
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered beyond the current line."""


def _read_record(folder: Path) -> dict[str, Any]:
    """Read what the book recorded; a book that failed early recorded nothing."""
    path = folder / "record.json"
    if not path.is_file():
        return {}
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def _exit_code(status: RunStatus, error: dict[str, Any] | None) -> int:
    """Map the error's class to the exit code that DESIGN gives it."""
    if status == "passed":
        return errors.EXIT_OK
    cls = getattr(errors, str((error or {}).get("type", "")), PlatformError)
    return int(getattr(cls, "exit_code", errors.EXIT_FAILED))


def _complete(result: RunResult, values: Parameters) -> None:
    """Write result, report and manifest, and refresh the index of runs."""
    from platform_lib.evidence import versions, write_manifest
    from platform_lib.report import write_index, write_report

    document = to_json(
        {
            **{key: getattr(result, key) for key in RunResult.__slots__ if key != "folder"},
            "parameters": values.model_dump(),
            "versions": versions(),
        }
    )
    (result.folder / "result.json").write_text(json.dumps(document, indent=1) + "\n")
    write_report(result.folder)
    write_manifest(result.folder)
    write_index(result.folder.parent)


def runs(limit: int | None = None) -> list[dict[str, Any]]:
    """Return the results of earlier runs, newest first.

    Args:
        limit: At most so many.

    Returns:
        One dictionary per run: the content of its result.json plus ``folder``. A run that was killed before it
        could write a result is listed with status ``lost``.
    """
    found = list(_results(settings().runs_dir))
    return found[:limit] if limit else found


def _results(runs_dir: Path) -> Iterator[dict[str, Any]]:
    """Yield results of all run folders, newest first."""
    folders = sorted((p.parent for p in runs_dir.glob("*/params.json")), reverse=True)
    for folder in folders:
        path = folder / "result.json"
        base = json.loads(path.read_text()) if path.is_file() else {"run_id": folder.name, "status": "lost"}
        yield {**base, "folder": str(folder)}
