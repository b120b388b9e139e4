"""What do runbooks need from the notebook side: live progress, kept figures, and one record per run.

Everything works headless too: outside a run folder nothing is written, without a front end progress is lines.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from platform_lib import approval, frontend
from platform_lib.errors import InvalidInput
from platform_lib.frontend import Choice, choose
from platform_lib.model import Outcome, Plan, to_json
from platform_lib.settings import settings
from platform_lib.wait import now

__all__ = ["Choice", "choose", "headline", "keep_figure", "planned", "progress", "record", "show"]

# A book imports this module first of all, so its errors are shown from there on; a plain program is left alone.
frontend.show_errors()


def progress(line: str) -> None:
    """Show one line of progress: a bar in JupyterLab, else a line, which papermill passes on to the terminal."""
    frontend.say(line)


def keep_figure(figure: Any, name: str) -> Any:
    """Save a matplotlib figure to the run folder as PNG and SVG and return a picture for display.

    A ``Figure`` made without pyplot has no rich form of its own, so the picture is returned.

    Args:
        figure: A matplotlib Figure.
        name: File name without ending: letters, digits, dashes.

    Returns:
        An IPython ``Image`` of the figure.

    Raises:
        InvalidInput: ``name`` is no plain file name.
    """
    from IPython.display import Image

    if not name.replace("-", "").isalnum():
        raise InvalidInput(f"figure name {name!r} - wanted letters, digits and dashes", hint="rename the figure")
    folder = settings().run_dir
    if folder is not None:
        for ending in ("png", "svg"):
            figure.savefig(folder / "figures" / f"{name}.{ending}", dpi=144)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=144)
    return Image(data=picture.getvalue(), format="png", retina=True, alt=name)


def record(outcome: Outcome, *, key_figure: str, **figures: Any) -> Outcome:
    """Write the result of a book: its last cell.

    Args:
        outcome: What the main operation did; its figures go to result.json.
        key_figure: The one figure a person wants in the summary, with its unit.
        **figures: More named numbers, units in the names.

    Returns:
        ``outcome``, to be shown.
    """
    folder = settings().run_dir
    if folder is not None:
        document = {
            "key_figure": key_figure,
            "message": outcome.message,
            "figures": {"duration_s": outcome.duration_s, **outcome.figures, **figures},
            "stages": dict(outcome.stages),
            "verdict": outcome.verdict,
            "ok": outcome.ok,
        }
        (Path(folder) / "record.json").write_text(json.dumps(to_json(document), indent=1) + "\n")
    return outcome


def plan(made: Plan) -> Plan:
    """Show a book's plan, keep it as evidence, and hold an approved run to the plan that was approved.

    Args:
        made: What the book is about to do.

    Returns:
        ``made``, to be shown.

    Raises:
        GuardRefused: The run was approved for another plan; names what differs.
    """
    return approval.show(made)


def planned(plan: Plan) -> Outcome:
    """Return the outcome of a dry run: nothing was changed, the plan was made."""
    moment = now()
    return Outcome(
        operation=plan.title,
        ok=True,
        started_at=moment,
        finished_at=moment,
        figures={"planned_steps": len(plan.steps)},
        message="dry run: nothing was changed",
    )


def headline(outcome: Outcome, figure: str, text: str) -> str:
    """Format one figure for the summary line.

    Args:
        outcome: The outcome that carries the figures; ``duration_s`` is known to every outcome.
        figure: Name of the figure.
        text: Format with one place for the value, for example ``live in {:.1f} s``.

    Returns:
        The text; the outcome's message when the figure was not measured (a dry run).
    """
    value = {"duration_s": outcome.duration_s, **outcome.figures}.get(figure)
    return outcome.message if value is None or "planned_steps" in outcome.figures else text.format(value)


def show(value: Any) -> None:
    """Display a value in the middle of a cell, with its rich form where there is a front end."""
    from IPython.display import display

    display(value)
