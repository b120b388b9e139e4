"""How does a post-mortem become a document people finish? Markdown to edit and a page to read, same facts.

Sections follow the PagerDuty guide. Facts are filled in; where judgement is asked for there is a question, and
whoever answers it removes the question.

Source: https://response.pagerduty.com/after/post_mortem_template/ (names of the sections).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

from platform_lib.errors import InvalidInput
from platform_lib.model import to_json
from platform_lib.postmortem.build import PostMortem, impact_text
from platform_lib.rules import actions
from platform_lib.rules.actions import Problem

_FACTS = re.compile(r"<!-- apqx-postmortem (\{.*?\}) -->")
_PAGE_ENTRIES = 400
"""Longer timelines are cut in the documents; the sidecar JSON has them all."""


def write(found: PostMortem, folder: Path) -> tuple[Path, ...]:
    """Write ``postmortem.md``, ``postmortem.html``, ``postmortem.json`` and the picture to a folder.

    A Markdown document that is there already is not replaced: people wrote in it.

    Returns:
        The files that were written.

    Raises:
        InvalidInput: ``postmortem.md`` exists.
    """
    document = folder / "postmortem.md"
    if document.exists():
        raise InvalidInput(
            f"{document} - exists, somebody may have written in it", hint="choose another folder with -o"
        )
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "postmortem.md": markdown(found),
        "postmortem.html": html(found),
        "postmortem.json": json.dumps(to_json(_plain(found)), indent=1, default=str) + "\n",
    }
    if found.signal is not None:
        files["incident.svg"] = _svg(found)
    for name, text in files.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in files)


def markdown(found: PostMortem) -> str:
    """Return the document as Markdown."""
    from platform_lib import report

    return report.page("postmortem.md", p=found, **_values(found))


def html(found: PostMortem) -> str:
    """Return the document as one self-contained page with its picture."""
    from platform_lib import report

    picture = _svg(found) if found.signal is not None else ""
    return report.page("postmortem.html", p=found, picture=picture, **_values(found))


def check(text: str, *, today: date | None = None) -> tuple[Problem, ...]:
    """Check the action items of a document.

    Args:
        text: The Markdown document.
        today: Due dates before it are refused; default the day of the incident, from the document's own facts.

    Returns:
        One problem per mistake, empty when the list can be worked with.

    Raises:
        InvalidInput: The document has no table of action items.
    """
    items = actions.table_rows(text)
    if items is None:
        wanted = ", ".join(actions.COLUMNS)
        raise InvalidInput("document - has no table of action items", hint=f"it is found by its columns: {wanted}")
    facts = _facts(text)
    day = today or (date.fromisoformat(str(facts["day"])) if facts.get("day") else None)
    return actions.check(items, detect_s=_detect_s(facts), not_before=day)


def _detect_s(facts: Mapping[str, Any]) -> float | None:
    """How long detection took; never noticed is longer than any target."""
    if "detect_s" not in facts:
        return None
    return float("inf") if facts["detect_s"] is None else float(facts["detect_s"])


def _facts(text: str) -> dict[str, Any]:
    """Read the facts that the document carries for programs."""
    match = _FACTS.search(text)
    try:
        return dict(json.loads(match.group(1))) if match else {}
    except ValueError as error:
        raise InvalidInput(
            f"document - its line of facts cannot be read: {error}", hint="restore it, or remove it"
        ) from error


def _values(found: PostMortem) -> dict[str, Any]:
    """Return what both templates need, formatted once."""
    detect_s = found.durations.get("detect_s")
    day = (found.stamps["started"].at or found.start).date().isoformat()
    return {
        "summary": impact_text(found.impact),
        "clock": _clock,
        "cell": _cell,
        "lasted": _lasted,
        "share": _share,
        "shown": found.timeline[:_PAGE_ENTRIES],
        "hidden": max(0, len(found.timeline) - _PAGE_ENTRIES),
        "detect_target_s": actions.DETECT_TARGET_S,
        "facts": json.dumps({"day": day, "detect_s": None if detect_s is None else round(detect_s, 3)}),
        "kinds": ", ".join(actions.KINDS),
    }


def _clock(moment: datetime | None) -> str:
    """Format a time to a hundredth of a second."""
    return "not known" if moment is None else f"{moment:%H:%M:%S.%f}"[:-4]


def _cell(text: Any) -> str:
    """Make a text fit for a cell of a Markdown table; it cannot add markup of its own."""
    plain = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", plain)


def _lasted(seconds: float | None) -> str:
    """Format a duration for people."""
    if seconds is None:
        return "not known"
    if abs(seconds) < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if abs(seconds) < 7200 else f"{seconds / 3600:.1f} h"


def _share(ratio: float | None) -> str:
    """Format a ratio in per cent."""
    return "not known" if ratio is None else f"{ratio:.2%}"


def _svg(found: PostMortem) -> str:
    """Draw the picture as SVG text."""
    import io

    from platform_lib import plots

    buffer = io.StringIO()
    plots.incident(found).savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _plain(found: PostMortem) -> dict[str, Any]:
    """Return the facts for programs."""
    return {
        "title": found.title,
        "app": found.app,
        "platform": found.platform,
        "start": found.start,
        "end": found.end,
        "incident": found.incident,
        "figures": found.figures(),
        "stamps": dict(found.stamps),
        "impact": found.impact,
        "changes": found.changes,
        "alerts": found.alerts,
        "expected": found.expected,
        "expected_note": found.expected_note,
        "timeline": found.timeline,
        "notes": found.notes,
    }
