"""Which steps of a run are done, and may a resumed run rely on it?

Each outermost operation of a run is a step: its start, inputs and end are lines in ``steps.jsonl`` of the run
folder, synced to disk. A resumed run skips a finished step when library and inputs are the same and its own
check passes again; a step that measured something and was cut off is undone first and done again.

Results are kept as pickles beside the ledger until the run has passed. A run folder is as trusted as the
notebook in it, which a resume executes too.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from platform_lib.model import to_json
from platform_lib.settings import settings
from platform_lib.wait import now

T = TypeVar("T")
LEDGER = "steps.jsonl"
RESULTS = "steps"


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the last attempt left of one step: its start, and its end if it got there."""

    started: Mapping[str, Any]
    finished: Mapping[str, Any] | None


class Ledger:
    """The steps of one run folder.

    Args:
        folder: Run folder. Steps that are on record at this moment belong to earlier attempts.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        lines = [(line["step"], line["place"], line) for line in read(folder)]
        self._started = {(step, place): line for step, place, line in lines if line["event"] == "started"}
        self._last = {(step, place): line for step, place, line in lines if line["event"] in ("started", "finished")}
        self._places: dict[str, int] = {}
        self.depth = 0

    def earlier(self, step: str, place: int) -> Earlier | None:
        """Return what earlier attempts left of a step; the last line of it decides."""
        started, last = self._started.get((step, place)), self._last.get((step, place))
        if started is None or last is None:
            return None
        return Earlier(started, last if last["event"] == "finished" else None)

    def place(self, step: str) -> int:
        """Count how often a step of this name was reached: a book may do the same thing twice."""
        self._places[step] = self._places.get(step, 0) + 1
        return self._places[step]

    def write(self, event: str, step: str, place: int, **facts: Any) -> None:
        """Add a line and wait until it is on disk: a killed machine must not forget that a change began."""
        line = json.dumps(to_json({"utc": now(), "event": event, "step": step, "place": place, **facts}), default=str)
        descriptor = os.open(self.folder / LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def keep(self, step: str, place: int, result: Any) -> str:
        """Store a result; return its hash, or nothing for a result that cannot be stored."""
        try:
            content = pickle.dumps(result)
        except (pickle.PicklingError, TypeError, AttributeError):
            return ""
        path = self._result(step, place)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
        path.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def result(self, step: str, place: int, sha256: str) -> tuple[bool, Any]:
        """Load a stored result, if it is the one on record."""
        path = self._result(step, place)
        content = path.read_bytes() if path.is_file() else b""
        if not sha256 or hashlib.sha256(content).hexdigest() != sha256:
            return False, None
        return True, pickle.loads(content)  # noqa: S301 (written by this run, see above)

    def _result(self, step: str, place: int) -> Path:
        """File of one result."""
        return self.folder / RESULTS / f"{step}-{place}.pickle"


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's ledger; a last line cut off by a crash is left out."""
    path = folder / LEDGER
    found = []
    for text in path.read_text().splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(text))
        except ValueError:
            continue
    return found


@cache
def _ledger(folder: Path) -> Ledger:
    """One ledger per run folder and process."""
    return Ledger(folder)


def ledger() -> Ledger | None:
    """Return the ledger of the run this process works for; None outside of a run."""
    folder = settings().run_dir
    return _ledger(folder) if folder is not None else None


@cache
def library() -> str:
    """Return a hash of the library's own source: results of another library are not relied on."""
    top = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(top.rglob("*.py")):
        digest.update(str(path.relative_to(top)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Rules:
    """What a resume needs to know of a step; every part may be left out.

    Attributes:
        facts: What to remember of the world, from before the step and from after it.
        still: Given the facts from after the step: why it no longer holds; an empty text when it does.
        undo: For steps that measure: takes back what a cut-off attempt left, given the facts from before it.
        admit: Raises when the world has moved on and the run must not be resumed at all.
    """

    facts: Callable[[], Mapping[str, Any]] = dict
    still: Callable[[Mapping[str, Any]], str] | None = None
    undo: Callable[[Mapping[str, Any]], None] | None = None
    admit: Callable[[Earlier], None] | None = None


def once(
    step: str,
    *,
    inputs: Mapping[str, Any],
    act: Callable[[], T],
    rules: Rules | None = None,
    said: Callable[[str], None] = lambda _line: None,
) -> T:
    """Do a step of a run, unless an earlier attempt of the same run did it and it still holds.

    Args:
        step: Name of the step.
        inputs: Plain values that decide what the step does; compared by hash.
        act: Does it.
        rules: When an earlier attempt counts, and how it is taken back.
        said: Receives one line that says what was skipped or done again, and why.

    Returns:
        What ``act`` returned, now or in an earlier attempt.
    """
    book = ledger()
    if book is None or book.depth:
        return act()
    place, rules = book.place(step), rules or Rules()
    found, why = book.earlier(step, place), ""
    if found is not None:
        if rules.admit is not None:
            rules.admit(found)
        usable, result, why = _usable(book, step, place, found, inputs, rules)
        if usable:
            book.write("skipped", step, place, why=why)
            said(f"{step}: skipped, {why}")
            kept: T = result
            return kept
        said(f"{step}: {'taken back and ' if rules.undo else ''}done again, {why}")
    facts = dict(found.started.get("before") or {}) if found is not None else dict(rules.facts())
    if found is not None and rules.undo is not None:
        rules.undo(facts)
        book.write("undone", step, place, why=why)
    return _act(book, step, place, inputs, act, rules, facts, why)


def _act(
    book: Ledger,
    step: str,
    place: int,
    inputs: Mapping[str, Any],
    act: Callable[[], T],
    rules: Rules,
    facts: Mapping[str, Any],
    why: str,
) -> T:
    """Do the step between its two lines of the ledger; steps inside it are part of it."""
    made = {"key": _key(inputs), "library": library()}
    book.write("started", step, place, inputs=inputs, before=facts, why=why, **made)
    book.depth += 1
    try:
        result = act()
    finally:
        book.depth -= 1
    book.write("finished", step, place, after=rules.facts(), result=book.keep(step, place, result), **made)
    return result


def _usable(
    book: Ledger,
    step: str,
    place: int,
    found: Earlier,
    inputs: Mapping[str, Any],
    rules: Rules,
) -> tuple[bool, Any, str]:
    """Decide whether an earlier attempt's step can be relied on: (yes, its result, the reason)."""
    if found.finished is None:
        return False, None, "it was cut off before its end"
    if found.finished["key"] != _key(inputs):
        return False, None, f"its inputs changed: {_difference(found.started.get('inputs') or {}, inputs)}"
    if found.finished["library"] != library():
        return False, None, "the library changed since"
    loaded, result = book.result(step, place, found.finished["result"])
    if not loaded:
        return False, None, "its result was not kept"
    problem = rules.still(found.finished.get("after") or {}) if rules.still is not None else ""
    if problem:
        return False, None, f"its check fails: {problem}"
    return True, result, f"finished at {found.finished['utc']} with the same inputs, and its check passes again"


def _key(inputs: Mapping[str, Any]) -> str:
    """Hash inputs."""
    return hashlib.sha256(json.dumps(to_json(inputs), sort_keys=True, default=str).encode()).hexdigest()


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Name the inputs that differ, with both values."""
    plain = json.loads(json.dumps(to_json(new), default=str))
    names = sorted(name for name in {*old, *plain} if old.get(name) != plain.get(name))
    return ", ".join(f"{name} {old.get(name)!r} to {plain.get(name)!r}" for name in names)
