"""What does a person see while a cell runs, and when it fails? A bar, and an error in three parts.

Everything here has a plain form: without a front end progress is lines, a choice is its parameter, an error is its
text. A front end is told by its request (it names the cell), so papermill and nbval always get the plain form.
"""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from platform_lib.errors import InvalidInput
from platform_lib.explain import explain_error
from platform_lib.model import _Table, joined
from platform_lib.report import ANSI, ERROR_MIME
from platform_lib.wait import monotonic

_SHARE = re.compile(r"\b(\d+) of (\d+)\b")
_KEPT_LINES = 200


def shell() -> Any:
    """Return the running IPython shell, or None; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None


def attended() -> bool:
    """Tell whether a person looks on: the request that runs this cell came from a notebook front end."""
    kernel = getattr(shell(), "kernel", None)
    if kernel is None:
        return False
    parent = kernel.get_parent("shell") or {}
    return bool((parent.get("metadata") or {}).get("cellId"))


# Errors ------------------------------------------------------------------------------------------------------


def show_errors() -> bool:
    """Let this kernel show errors as what, why and next step, with the traceback folded.

    Name and text of the error stay what they are, so papermill and nbclient notice it as before.

    Returns:
        Whether there is a kernel to do so; a plain interpreter and a terminal keep their tracebacks.
    """
    running = shell()
    if getattr(running, "kernel", None) is None:
        return False
    running.set_custom_exc((Exception,), _show_error)
    return True


def _show_error(running: Any, kind: type, error: BaseException, trace: Any, tb_offset: int | None = None) -> list[str]:
    """Display the error in three parts, then report it to the front end with one line in place of its traceback."""
    from IPython.display import display

    told = explain_error(error)
    whole = running.InteractiveTB.structured_traceback(kind, error, trace, tb_offset=tb_offset)
    text = ANSI.sub("", "\n".join(whole))
    facts = {"what": told.what, "why": told.why, "next_step": told.next_step, "type": told.type, "traceback": text}
    display({ERROR_MIME: facts, "text/html": error_card(facts), "text/plain": str(told)}, raw=True)
    short = [f"{kind.__name__}: {error}"]
    running._showtraceback(kind, error, short)
    return short


def error_card(facts: dict[str, str]) -> str:
    """Return the HTML of an error; it takes its colours from the theme of JupyterLab."""
    edge = "border-left:4px solid var(--jp-error-color1,#a4262c);padding:.2em 0 .2em .9em"
    rows = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{label}</th>"
        f"<td style='text-align:left'>{html.escape(facts[key])}</td></tr>"
        for label, key in (("what", "what"), ("why", "why"), ("next step", "next_step"))
    )
    trace = f"<details><summary>traceback</summary><pre>{html.escape(facts['traceback'])}</pre></details>"
    return f"<div style='{edge}'><table class='apqx'>{rows}</table>{trace}</div>"


# Progress ----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bar:
    """The bar of one cell: the newest line, how far it is where the line says so, and all lines folded."""

    handle: Any
    started: float = field(default_factory=monotonic)
    lines: list[str] = field(default_factory=list)

    def say(self, line: str) -> None:
        """Add a line and show it."""
        self.lines.append(line)
        self._show(bar_html(self.lines, monotonic() - self.started, running=True))

    def end(self, *_: Any) -> None:
        """Show that the cell ended; the lines stay, folded."""
        self._show(bar_html(self.lines, monotonic() - self.started, running=False))

    def _show(self, text: str) -> None:
        self.handle.update({"text/html": text, "text/plain": "\n".join(self.lines)}, raw=True)


def bar_html(lines: Sequence[str], seconds: float, *, running: bool) -> str:
    """Return the bar as HTML: determinate when the newest line says ``n of m``, an endless one otherwise."""
    newest = html.escape(lines[-1]) if lines else ""
    share = _SHARE.search(lines[-1]) if lines else None
    known = f" value='{share[1]}' max='{share[2]}'" if share and int(share[2]) else ""
    bar = f"<progress{known} aria-label='progress' style='width:12em'></progress> " if running else ""
    log = html.escape("\n".join(lines[-_KEPT_LINES:]))
    count = f"{len(lines)} {'line' if len(lines) == 1 else 'lines'}"
    head = newest if running else f"done after {seconds:.1f} s"
    return f"<div>{bar}{head}<details><summary>{count}, {seconds:.1f} s</summary><pre>{log}</pre></details></div>"


_bars: dict[int, _Bar] = {}


def say(line: str) -> None:
    """Show one line of progress: in a bar where a person looks on, as a plain line otherwise."""
    if not attended():
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        return
    running = shell()
    count = running.execution_count
    if count not in _bars:
        _bars.clear()
        _bars[count] = _new_bar(running)
    _bars[count].say(line)


def _new_bar(running: Any) -> _Bar:
    """Open the bar of this cell; it closes itself when the cell has run."""
    from IPython.display import display

    bar = _Bar(display({"text/html": "", "text/plain": ""}, raw=True, display_id=True))

    def close(*_: Any) -> None:
        running.events.unregister("post_run_cell", close)
        bar.end()

    running.events.register("post_run_cell", close)
    return bar


# Choices -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Choice(_Table):
    """One value among several: a plain parameter, and a menu where a person looks on."""

    name: str
    value: Any
    options: tuple[Any, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return the value and what else could be chosen."""
        return [
            (self.name, str(self.value)),
            ("other choices", joined(str(o) for o in self.options if o != self.value)),
        ]


def choose(name: str, options: Sequence[Any], *, value: Any) -> Choice:
    """Let a person choose one of several values; the parameter decides where nobody does.

    Args:
        name: What is chosen.
        options: What can be chosen.
        value: The plain parameter: the value without a front end, and the first one with it.

    Returns:
        ``.value`` is the present choice; a menu in JupyterLab changes it.

    Raises:
        InvalidInput: ``value`` is none of ``options``.
    """
    if value not in options:
        raise InvalidInput(f"{name} {value!r} - unknown, wanted one of {joined(map(str, options))}", hint="correct it")
    choice = Choice(name, value, tuple(options))
    if attended():
        _menu(choice)
    return choice


def _menu(choice: Choice) -> None:
    """Show a menu where ipywidgets is installed; the choice follows it."""
    import importlib.util

    if importlib.util.find_spec("ipywidgets") is None:
        return
    from importlib import import_module

    from IPython.display import display

    widgets: Any = import_module("ipywidgets")
    menu = widgets.Dropdown(options=list(choice.options), value=choice.value, description=choice.name)
    menu.observe(lambda change: setattr(choice, "value", change["new"]), names="value")
    display(menu)
