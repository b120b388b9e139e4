"""How does a run begin, end, and begin again? New, from an approved plan, or resumed after it was cut off."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from platform_lib import approval, errors, journal, steps
from platform_lib.errors import GuardRefused, InvalidInput, PlatformError, RunbookFailed
from platform_lib.lock import exclusive, identity
from platform_lib.model import to_json
from platform_lib.operation import patient
from platform_lib.parameters import Parameters, validate
from platform_lib.runbook import folder as folders
from platform_lib.runbook.execute import Progress, execute
from platform_lib.runbook.folder import RunResult, RunStatus
from platform_lib.runbook.known import Known
from platform_lib.runbook.shelf import book_sha256, books_folder, resolve
from platform_lib.settings import settings
from platform_lib.wait import monotonic, now


def run(
    name: str,
    parameters: dict[str, Any] | None = None,
    *,
    plan: bool = False,
    approve: str = "",
    progress: Progress | None = None,
) -> RunResult:
    """Execute a runbook in a new run folder.

    Args:
        name: Runbook name or number; may be empty with ``approve``.
        parameters: Values by name; checked before anything is created.
        plan: Only make the plan: a dry run, whose ``plan.json`` can be approved.
        approve: Hash of such a plan: run exactly that, and refuse if it is no longer what would be done.
        progress: Called with one line whenever a cell starts or an operation reports.

    Returns:
        The result; a failed book is a result with ``ok`` False, not an exception.

    Raises:
        InvalidInput: Unknown runbook, parameters or plan; no folder was created and no kernel started.
        GuardRefused: The approval is for another book, other parameters or another platform.
        Locked: Another mutating run holds the platform.
    """
    given = dict(parameters or {})
    approved = _approved(name, given, approve) if approve else None
    book = approved["runbook"] if approved else resolve(name)
    if approved:
        given = approved["parameters"] | {"dry_run": False}
    elif plan:
        given |= {"dry_run": True}
    values = validate(book, given)
    current = settings()
    with contextlib.ExitStack() as stack:
        if not values.dry_run:
            stack.enter_context(exclusive(current.home, purpose=f"runbook {book}"))
        folder = folders.create(current, book)
        stack.enter_context(folders.working(folder))
        folders.write_inputs(folder, book, values)
        if approved:
            _write_approval(folder, approved)
        return _attempt(folder, book, values, patient(progress or (lambda _line: None)), 1)


def resume(run_id: str, parameters: dict[str, Any] | None = None, *, progress: Progress | None = None) -> RunResult:
    """Go on with a run that was killed, interrupted or failed, in the same folder.

    The book is executed again from the top; steps that had finished are skipped when library and inputs are the
    same and their check passes again. The earlier attempt's output stays as ``output.1.ipynb``.

    Args:
        run_id: The run.
        parameters: Must agree with the run's own, where given.
        progress: As in ``run``.

    Raises:
        InvalidInput: No such run, it has passed, or other parameters were given.
        GuardRefused: The book changed since, the folder was altered, or the platform is another one.
        Locked: The run still goes on, or another one holds the platform.
    """
    folder = folders.find(run_id)
    with contextlib.ExitStack() as stack:
        stack.enter_context(folders.working(folder))
        book, values = _resumable(folder, parameters or {})
        if not values.dry_run:
            stack.enter_context(exclusive(settings().home, purpose=f"runbook {book} (resumed)"))
            _undo_drills(folder, patient(progress or (lambda _line: None)))
        number = len(_attempts(folder)) + 1
        _put_aside(folder, number - 1)
        return _attempt(folder, book, values, patient(progress or (lambda _line: None)), number)


def _resumable(folder: Path, given: dict[str, Any]) -> tuple[str, Parameters]:
    """Check that a run can go on as what it was."""
    begun, status = folders.read(folder, "inputs.json"), folders.read(folder, "result.json").get("status")
    if not begun:
        raise InvalidInput(f"run {folder.name} - died before it began", hint="start a new run")
    if status == "passed":
        raise InvalidInput(f"run {folder.name} - has passed, nothing is left to do", hint="start a new run")
    _refuse_altered(folder)
    book, own = begun["runbook"], json.loads((folder / "params.json").read_text())
    other = [f"{key}={value!r} (the run has {own.get(key)!r})" for key, value in given.items() if own.get(key) != value]
    if other:
        raise InvalidInput(f"run {folder.name} - other parameters: {', '.join(other)}", hint="start a new run")
    if book_sha256(books_folder() / f"{book}.ipynb") != begun["book_sha256"]:
        raise GuardRefused(f"run {folder.name} - the book {book} changed since it began", hint="start a new run")
    platform = folders.target()
    if (platform.name, platform.context) != (begun["platform"], begun["context"]):
        raise GuardRefused(
            f"run {folder.name} - began on {begun['platform']} ({begun['context']}), here is {platform.name}",
            hint="set APQX_HOME to that platform's state folder",
        )
    return book, validate(book, own)


def _undo_drills(folder: Path, progress: Progress) -> None:
    """Undo the fault that a cut-off drill left: a drill is never half-resumed, it is undone and run again.

    Raises:
        UndoFailed: The fault is still there.
    """
    from platform_lib.drills import undo

    for one in undo.undo(settings().home, progress=progress):
        steps.Ledger(folder).write("undone", "drill", 1, why=f"{one.scenario} was cut off, its fault was still there")


def _refuse_altered(folder: Path) -> None:
    """Refuse to go on from evidence that somebody changed; a killed run has no manifest to compare with."""
    from platform_lib.evidence import MANIFEST, verify_manifest

    differences = verify_manifest(folder, ignore=(folders.LOCK,)) if (folder / MANIFEST).is_file() else []
    if book_sha256(folder / "input.ipynb") != folders.read(folder, "inputs.json").get("book_sha256"):
        differences.append("input.ipynb: not the book the run began with")
    if differences:
        raise GuardRefused(f"run {folder.name} - was altered: {'; '.join(differences)}", hint="start a new run")


def _put_aside(folder: Path, number: int) -> None:
    """Keep what the last attempt left under its number."""
    for name in ("output.ipynb", "result.json", "record.json", "plan.json"):
        path = folder / name
        if path.is_file():
            path.rename(path.with_name(f"{path.stem}.{number}{path.suffix}"))
    for name in ("report.html", "manifest.sha256", ".output.ipynb.new"):
        (folder / name).unlink(missing_ok=True)


def _attempts(folder: Path) -> list[dict[str, Any]]:
    """Return one entry per time the run was started, as the folder has them on record."""
    path = folder / "attempts.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _note_attempt(folder: Path, **facts: Any) -> None:
    """Add a line about this attempt."""
    with (folder / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(to_json(facts)) + "\n")


def _attempt(folder: Path, book: str, values: Parameters, progress: Progress, number: int) -> RunResult:
    """Execute the book once and complete the folder, whatever happened."""
    path = (folder / "journal.jsonl").resolve()
    home = settings().home
    record = home / journal.FOLDER if home.is_dir() else None
    run_journal = journal.Journal(path, run_id=folder.name, record=record)
    known = Known(values)
    begun = _Begun(folder, book, now(), monotonic())
    _note_attempt(folder, attempt=number, started_at=begun.at, by=identity(), library_sha256=steps.library())
    run_journal.append("run", "started", book, runbook=book, attempt=number, dry_run=values.dry_run)
    extra = {
        "APQX_RUN_DIR": str(folder.resolve()),
        "APQX_JOURNAL": str(path),
        "APQX_READ_ONLY": str(values.dry_run).lower(),
        "APQX_APPROVED_PLAN": str(folders.read(folder, approval.APPROVAL).get("sha256", "")),
    }
    status, error = _outcome(folder, values, extra, known, progress)
    run_journal.append("run", "finished", book, runbook=book, status=status, attempt=number)
    result = begun.result(status, error)
    folders.complete(result, values, known)
    return result


def _outcome(
    folder: Path, values: Parameters, extra: dict[str, str], known: Known, progress: Progress
) -> tuple[RunStatus, dict[str, Any] | None]:
    """Run the book; tell how it ended."""
    try:
        return ("interrupted" if execute(folder, values, extra, known, progress) else "passed"), None
    except KeyboardInterrupt:
        return "interrupted", {"type": "KeyboardInterrupt", "message": "stopped between two cells", "cell": None}
    except RunbookFailed as failure:
        stopped = failure.context.get("type") == "KeyboardInterrupt"
        return ("interrupted" if stopped else "failed"), {"message": failure.message, **failure.context}
    except Exception as crash:  # whatever Jupyter raised, the folder must be complete and say so
        text = known.scrub(f"Jupyter: {crash}")
        return "failed", {"type": type(crash).__name__, "message": text, "cell": None}


@dataclass(frozen=True, slots=True)
class _Begun:
    """An attempt that has begun."""

    folder: Path
    book: str
    at: datetime
    clock: float

    def result(self, status: RunStatus, error: dict[str, Any] | None) -> RunResult:
        """Build its result from what is in the folder."""
        record, agreed = folders.read(self.folder, "record.json"), folders.read(self.folder, approval.APPROVAL)
        return RunResult(
            run_id=self.folder.name,
            runbook=self.book,
            folder=self.folder,
            status=status,
            exit_code=_exit_code(status, error),
            started_at=self.at,
            duration_s=round(monotonic() - self.clock, 3),
            figures=record.get("figures", {}),
            key_figure=record.get("key_figure", ""),
            message=record.get("message", ""),
            error=error,
            attempts=tuple(_attempts(self.folder)),
            steps=folders.step_rows(self.folder),
            plan_sha256=folders.plan_hash(self.folder),
            approval={key: agreed[key] for key in ("sha256", "by", "at", "plan_run")} if agreed else None,
        )


def _exit_code(status: RunStatus, error: dict[str, Any] | None) -> int:
    """Map the error's class to its exit code."""
    if status == "passed":
        return errors.EXIT_OK
    cls = getattr(errors, str((error or {}).get("type", "")), PlatformError)
    return int(getattr(cls, "exit_code", errors.EXIT_FAILED))


def _approved(name: str, given: dict[str, Any], approve: str) -> dict[str, Any]:
    """Return the approved plan, if it is for this book, these parameters and this platform."""
    found = approval.find(settings().runs_dir, approve)
    book, platform = found["runbook"], folders.target()
    own = found["parameters"]
    wrong = [f"{k}={v!r}, approved {own.get(k)!r}" for k, v in given.items() if k != "dry_run" and own.get(k) != v]
    if name and resolve(name) != book:
        wrong.append(f"runbook {resolve(name)}, approved {book}")
    if (platform.name, platform.context) != (found["platform"], found["context"]):
        wrong.append(f"platform {platform.name}, approved {found['platform']}")
    if book_sha256(books_folder() / f"{book}.ipynb") != found["book_sha256"]:
        wrong.append(f"the book {book} changed since")
    if wrong:
        raise GuardRefused(
            f"plan {found['sha256'][: approval.MIN_HASH]} - does not cover this run: {'; '.join(wrong)}",
            hint="make and approve a new plan: apqx run NAME -p ... --plan",
        )
    return found


def _write_approval(folder: Path, approved: dict[str, Any]) -> None:
    """Keep who approved which plan, and when."""
    agreed = {key: value for key, value in approved.items() if key != "plan_run"}
    note = {"sha256": approved["sha256"], "by": identity(), "at": now(), "plan_run": approved["plan_run"]}
    (folder / approval.APPROVAL).write_text(json.dumps(to_json(note | {"approved": agreed}), indent=1) + "\n")
