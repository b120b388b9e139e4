"""How is one book run over many applications or clusters? One process a run, a limit on how many at once, one summary.

A target names a platform by its state folder, an application, and parameters of its own. Runs that change the same
platform take turns, because a platform has one changing run at a time; all others go side by side. One failure stops
nothing. With ``on="cluster"`` each run is a Job on its own cluster.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from platform_lib.errors import EXIT_FAILED, EXIT_OK, InvalidInput
from platform_lib.model import _Table, joined, to_json
from platform_lib.parameters import validate
from platform_lib.runbook import resolve
from platform_lib.settings import child_environment, settings
from platform_lib.wait import monotonic, now

Progress = Callable[[str], None]
On = Literal["local", "cluster"]
_PROGRAM = (sys.executable, "-c", "from platform_lib.cli import main; main()")


class Target(BaseModel):
    """Where one run of a fan-out goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    home: Path | None = Field(default=None, description="state folder of the platform; default: the present one")
    parameters: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @property
    def place(self) -> Path:
        """The state folder."""
        return (self.home or settings().home).expanduser().absolute()


@dataclass(frozen=True, slots=True)
class Row:
    """How one run ended; ``status`` is passed, failed, interrupted, refused or not started."""

    target: str
    status: str
    exit_code: int
    duration_s: float
    key_figure: str = ""
    message: str = ""
    run_id: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Summary(_Table):
    """One fan-out.

    Attributes:
        runbook: The book.
        results: One row a target, in the order they were given.
        path: The summary as JSON, beside the run folders.
    """

    runbook: str
    started_at: datetime
    duration_s: float
    results: tuple[Row, ...] = field(default=())
    path: Path = Path()

    @property
    def ok(self) -> bool:
        """Whether every run passed."""
        return all(row.exit_code == EXIT_OK for row in self.results)

    def rows(self) -> list[tuple[str, str]]:
        """Return one row a target and the sum."""
        passed = sum(row.exit_code == EXIT_OK for row in self.results)
        head = (f"{self.runbook}", f"{passed} of {len(self.results)} passed in {self.duration_s:.1f} s")
        return [head, *((row.target, f"{row.status}: {row.key_figure or row.message}") for row in self.results)]


def read(path: Path) -> list[Target]:
    """Read targets from a TOML file: ``[[target]]`` with ``name``, ``home`` and ``parameters``.

    Raises:
        InvalidInput: Not readable, empty, a name twice, or a key that has no meaning; names it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        found = [Target.model_validate(one) for one in raw.get("target", [])]
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path} - not readable as TOML: {error}", hint="see apqx fan-out --help") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInput(f"{path} - target {where}: {first['msg'].lower()}", hint="name, home, parameters") from None
    if not found or set(raw) != {"target"}:
        raise InvalidInput(f"{path} - expected [[target]] entries and nothing else", hint='[[target]]\nname = "eu"')
    return found


def run(
    name: str,
    targets: Sequence[Target],
    parameters: dict[str, Any] | None = None,
    *,
    at_once: int = 4,
    on: On = "local",
    options: Iterable[str] = (),
    progress: Progress | None = None,
) -> Summary:
    """Run a book on each target.

    Args:
        name: Runbook name or number.
        targets: Where.
        parameters: For all; a target's own win.
        at_once: Runs side by side at the most.
        on: ``local`` processes, or ``cluster``: a Job on each target's cluster.
        options: Further options of ``apqx run``, such as ``--results``.
        progress: Receives lines with the target's name in front.

    Returns:
        The summary; a failed run is a row in it. Ctrl-C is passed on to every run, and the summary is still written.

    Raises:
        InvalidInput: Unknown book, parameters that do not fit it, a target twice; nothing was started.
    """
    book, said = resolve(name), progress or (lambda _line: None)
    _check(book, targets, dict(parameters or {}), at_once)
    started, begun = now(), monotonic()
    runner = _Runner(book, dict(parameters or {}), on, tuple(options), said)
    with ThreadPoolExecutor(max_workers=at_once) as pool:
        waiting = [pool.submit(runner.turns, group) for group in _groups(book, targets, dict(parameters or {}))]
        try:
            for one in waiting:
                one.result()
        except KeyboardInterrupt:
            said("interrupted: every run is told to stop and to clean up")
            runner.stop()
    rows = tuple(runner.rows.get(target.name) or _unstarted(target) for target in targets)
    summary = Summary(book, started, round(monotonic() - begun, 3), rows, _path(started, book))
    summary.path.parent.mkdir(parents=True, exist_ok=True)
    summary.path.write_text(json.dumps(to_json(summary), indent=1) + "\n")
    return summary


def _path(started: datetime, book: str) -> Path:
    """Return where the summary goes."""
    return settings().runs_dir / f"{started:%Y%m%dT%H%M%SZ}-{book}-fan-out.json"


def _unstarted(target: Target) -> Row:
    """Return the row of a run that never began."""
    return Row(target.name, "not started", EXIT_FAILED, 0.0, message="the fan-out was interrupted before its turn")


def _check(book: str, targets: Sequence[Target], parameters: dict[str, Any], at_once: int) -> None:
    """Refuse what cannot work before anything is started."""
    if at_once < 1 or not targets:
        raise InvalidInput(f"fan-out over {len(targets)} targets, {at_once} at once - expected at least one of both")
    names = [target.name for target in targets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"targets {joined(twice)} - named more than once", hint="give each run a name of its own")
    for target in targets:
        try:
            validate(book, parameters | target.parameters)
        except InvalidInput as error:
            raise InvalidInput(f"target {target.name} - {error.message}", hint=error.hint) from error


def _groups(book: str, targets: Sequence[Target], parameters: dict[str, Any]) -> list[list[Target]]:
    """Put runs that must take turns into one group: those that change the same platform."""
    changing: dict[Path, list[Target]] = defaultdict(list)
    groups: list[list[Target]] = []
    for target in targets:
        if validate(book, parameters | target.parameters).dry_run:
            groups.append([target])
            continue
        if target.place not in changing:
            groups.append(changing[target.place])
        changing[target.place].append(target)
    return groups


class _Runner:
    """Starts the runs and keeps how each ended."""

    def __init__(self, book: str, parameters: dict[str, Any], on: On, options: tuple[str, ...], said: Progress) -> None:
        self._book, self._parameters, self._on, self._options, self._said = book, parameters, on, options, said
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[str, subprocess.Popen[str]] = {}
        self.rows: dict[str, Row] = {}

    def turns(self, group: list[Target]) -> None:
        """Run targets one after the other."""
        for target in group:
            if self._stopped.is_set():
                return
            row = self._one(target)
            with self._lock:
                self.rows[target.name] = row
            self._said(f"{target.name}: {row.status} in {row.duration_s:.1f} s  {row.key_figure or row.message}")

    def stop(self) -> None:
        """Pass Ctrl-C on; each run cleans up by itself."""
        with self._lock:
            self._stopped.set()
            for process in self._running.values():
                process.send_signal(signal.SIGINT)

    def _one(self, target: Target) -> Row:
        """Run one target as a process of its own, with its own settings."""
        begun = monotonic()
        values = self._parameters | target.parameters
        pairs = [part for key, value in values.items() for part in ("-p", f"{key}={_text(value)}")]
        argv = [*_PROGRAM, "run", self._book, *pairs, "--json", "--on", self._on, *self._options]
        process = subprocess.Popen(
            argv,
            env=child_environment(
                {"APQX_HOME": str(target.place), "APQX_RUNS_DIR": str(settings().runs_dir.absolute())}
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C reaches it once, from here
        )
        with self._lock:  # with the check: a second Ctrl-C would cut its clean-up short
            self._running[target.name] = process
            if self._stopped.is_set():
                process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        with self._lock:
            del self._running[target.name]
        return _row(target, process.returncode, out, err, round(monotonic() - begun, 3))


def _text(value: Any) -> str:
    """Write a value as the command line reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _row(target: Target, code: int, out: str, err: str, duration_s: float) -> Row:
    """Read how a run ended from what it printed."""
    try:
        said = json.loads(out)
    except ValueError:
        lines = [line for line in err.splitlines() if line.strip()] or ["it said nothing"]
        refused = next((line.removeprefix("apqx: ") for line in lines if line.startswith("apqx: ")), lines[-1])
        return Row(target.name, "refused", code or EXIT_FAILED, duration_s, message=refused)
    error = said.get("error") or {}
    return Row(
        target.name,
        str(said.get("status", "failed")),
        code,
        duration_s,
        key_figure=str(said.get("key_figure") or ""),
        message=str(said.get("message") or error.get("message") or ""),
        run_id=str(said.get("run_id") or ""),
        evidence=str(said.get("results") or said.get("folder") or ""),
    )
