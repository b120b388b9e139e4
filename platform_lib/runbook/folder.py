"""What is in a run folder, who writes it, and how does an earlier run look from outside?"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from platform_lib import approval, steps
from platform_lib.errors import InvalidInput, Locked, PlatformError
from platform_lib.lock import identity
from platform_lib.model import Platform, to_json
from platform_lib.parameters import Parameters
from platform_lib.providers.state import platform_of, read_endpoints
from platform_lib.runbook.shelf import book_sha256, books_folder
from platform_lib.settings import Settings, settings
from platform_lib.wait import now

RunStatus = Literal["passed", "failed", "interrupted"]
LOCK = "run.lock"


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one run left behind.

    Attributes:
        figures: The numbers that the book recorded.
        error: The last error's type, text and cell.
        attempts: One entry per time the run was started; more than one after a resume.
        steps: What happened to each step: name, event (finished, skipped, undone, started) and why.
        plan_sha256: Hash of the plan document the run made; empty when the book did not get that far.
        approval: Who approved the plan, and when; None for a run without an approval.
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
    attempts: tuple[dict[str, Any], ...] = ()
    steps: tuple[dict[str, Any], ...] = ()
    plan_sha256: str = ""
    approval: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        """True when the book's own verification passed."""
        return self.status == "passed"

    @property
    def report(self) -> Path:
        """The HTML report of the run."""
        return self.folder / "report.html"


def create(current: Settings, book: str) -> Path:
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


def write_inputs(folder: Path, book: str, values: Parameters) -> None:
    """Copy the book and write parameters and versions: all are evidence and never change again."""
    from platform_lib.evidence import versions

    shutil.copyfile(books_folder() / f"{book}.ipynb", folder / "input.ipynb")
    (folder / "params.json").write_text(json.dumps(values.model_dump(), indent=1) + "\n")
    (folder / "journal.jsonl").touch()
    platform = target()
    begun = {
        "runbook": book,
        "book_sha256": book_sha256(folder / "input.ipynb"),
        "library_sha256": steps.library(),
        "versions": versions(),
        "platform": platform.name,
        "context": platform.context,
        "gitops_sha": gitops_sha(platform),
        "started_at": now(),
        "by": identity(),
    }
    (folder / "inputs.json").write_text(json.dumps(to_json(begun), indent=1) + "\n")


def target() -> Platform:
    """Return the platform that is up, or the one that the settings would bring up."""
    current = settings()
    try:
        return read_endpoints(current.home)
    except PlatformError:
        return platform_of(current)


def gitops_sha(platform: Platform) -> str:
    """Return the commit that desired state has now; empty when there is no repository yet."""
    from platform_lib.wire.git import repository

    try:
        return repository(platform).head()
    except PlatformError:
        return ""


@contextlib.contextmanager
def working(folder: Path) -> Iterator[None]:
    """Hold the run folder while a run works in it; the kernel drops the lock when the runner dies.

    Raises:
        Locked: The run still goes on.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Locked(f"run {folder.name} - still goes on", hint="wait for it, or end it") from None
        yield
    finally:
        os.close(handle)


def goes_on(folder: Path) -> bool:
    """Return whether a runner works in the folder right now."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with working(folder):
            return False
    except Locked:
        return True


def find(run_id: str) -> Path:
    """Return the folder of a run.

    Raises:
        InvalidInput: There is none of that name.
    """
    folder = settings().runs_dir / run_id
    if "/" in run_id or run_id.startswith(".") or not (folder / "params.json").is_file():
        raise InvalidInput(f"run {run_id!r} - none in {settings().runs_dir}", hint="see: apqx runs")
    return folder


def read(folder: Path, name: str) -> dict[str, Any]:
    """Read one JSON document of a run folder; empty when it is absent or was cut off."""
    try:
        document = json.loads((folder / name).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def status_of(folder: Path) -> str:
    """Return the run's status: its result's, ``running``, or ``lost`` when it was killed before it had one."""
    if goes_on(folder):
        return "running"
    return str(read(folder, "result.json").get("status", "lost"))


def step_rows(folder: Path) -> tuple[dict[str, Any], ...]:
    """Return what happened to each step: only events that end a step, and the start of one that did not end."""
    rows: list[dict[str, Any]] = []
    for line in steps.read(folder):
        row = {key: line.get(key, "") for key in ("utc", "step", "event", "why")}
        if rows and rows[-1]["event"] == "started" and rows[-1]["step"] == row["step"] and row["event"] == "finished":
            why = rows.pop()["why"]
            row["why"] = f"done again, {why}" if why else ""
        rows.append(row)
    return tuple(row | {"event": "cut off" if row["event"] == "started" else row["event"]} for row in rows)


def complete(result: RunResult, values: Parameters, known: Any) -> None:
    """Scrub the folder, write result, report and manifest, and refresh the index of runs."""
    from platform_lib.evidence import versions, write_manifest
    from platform_lib.report import write_index, write_report

    folder = result.folder
    if result.ok:
        shutil.rmtree(folder / steps.RESULTS, ignore_errors=True)
    document = {
        **{key: getattr(result, key) for key in RunResult.__slots__ if key != "folder"},
        "parameters": values.model_dump(),
        "versions": versions() | {"gitops_sha": gitops_sha(target())},
    }
    (folder / "result.json").write_text(json.dumps(to_json(document), indent=1, default=str) + "\n")
    known.folder(folder)
    write_report(folder)
    known.folder(folder)
    (folder / LOCK).unlink(missing_ok=True)
    write_manifest(folder)
    write_index(folder.parent)


def runs(limit: int | None = None) -> list[dict[str, Any]]:
    """Return the results of earlier runs, newest first.

    Args:
        limit: At most so many.

    Returns:
        One dictionary per run: the content of its result.json plus ``folder``. A run that was killed before it
        could write a result is listed with status ``lost`` and can be resumed; one that goes on with ``running``.
    """
    folders = sorted((p.parent for p in settings().runs_dir.glob("*/params.json")), reverse=True)
    return [
        {"run_id": folder.name, **read(folder, "result.json"), "status": status_of(folder), "folder": str(folder)}
        for folder in folders[:limit]
    ]


def plan_hash(folder: Path) -> str:
    """Return the hash of the plan that the run made; empty when it did not get that far."""
    return str(read(folder, approval.PLAN).get("sha256", ""))
