"""Will this action item ever be done? Checks a person can act on: one clear message per problem.

An item starts with a verb, is bounded by a done-test, has one owner, a due date and a kind. Words that promise effort
instead of a result are refused unless the done-test says what can be measured at the end.

Source: PagerDuty post-mortem guide (actionable, specific, bounded); Lueder, Beyer, "Postmortem Action Items: Plan the
Work and Work the Plan", ;login: 2017 (prevent, detect, mitigate, process).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

KINDS = ("prevent", "detect", "mitigate", "process")
COLUMNS = ("action", "owner", "due", "done when", "kind")
"""Column heads of the table in a post-mortem document."""
MAX_WORDS = 25
DETECT_TARGET_S = 300.0

_VERB_LIST = """
abort add alert allow apply archive assign audit automate backfill backport ban block bound build bump cache call
cap catch change check clean close collect compare configure convert copy correct count cover create cut
decommission delay delete deploy deprecate describe disable document drain drill drop enable encrypt enforce ensure
evict expand expire explore export expose extend extract fail fix freeze gate generate give grant halve harden hold
improve increase inject install instrument introduce investigate isolate keep label let limit link lint list load
lock log lower make mark measure merge migrate mirror mock monitor mount move name notify optimise optimize order
pack page partition patch pin port post practise prevent print probe promote prove prune publish pull purge put
queue raise read rebuild record redirect reduce refactor refuse rehearse reject release remove rename repair replace
replicate report reproduce require reserve reset resize restart restore restrict retire retry return reverse review
revoke rewrite roll rotate route run sample scale schedule scrub send separate serve set shard share shorten show
shrink simplify simulate size skip split stage start stop store stress subscribe switch tag teach test throttle time
track train trigger trim tune turn undo unify update upgrade use validate verify version wait warn watch wire wrap
write
"""
VERBS = frozenset(_VERB_LIST.split())
"""Words an item may begin with."""
_VAGUE = (
    "consider", "discuss", "enhance", "ensure", "explore", "improve", "investigate", "look at", "look into",
    "make sure", "monitor closely", "optimise", "optimize", "pay attention", "raise awareness", "review", "think about",
    "try",
    "understand", "work on", "be more careful", "be careful",
)  # fmt: skip
_BOUNDLESS = ("all possible", "any kind", "anything", "as needed", "asap", "etc", "everything", "everywhere", "forever")
_NOBODY = (
    "",
    "-",
    "?",
    "n/a",
    "none",
    "nobody",
    "tba",
    "tbd",
    "todo",
    "team",
    "the team",
    "everyone",
    "everybody",
    "all",
)
_MEASURE = re.compile(
    r"\d|%|\b(alerts?|dashboard|drills?|fails?|fires?|green|lists?|merged|passes|pages?|published|red|refused?|refuses"
    r"|rejected|rejects|report|runs?|shows?|tests?|zero)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ActionItem:
    """One row of the table of action items; texts as they were written."""

    action: str
    owner: str = ""
    due: str = ""
    done_when: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an item (row number from 1; 0 for the list as a whole), and what to write instead."""

    row: int
    field: str
    message: str

    def __str__(self) -> str:
        place = f"item {self.row}" if self.row else "action items"
        return f"{place}, {self.field}: {self.message}"


def check(
    items: Sequence[ActionItem],
    *,
    detect_s: float | None = None,
    detect_target_s: float = DETECT_TARGET_S,
    not_before: date | None = None,
) -> tuple[Problem, ...]:
    """Check action items.

    Args:
        items: Rows of the table, in order.
        detect_s: How long detection took; above the target at least one item has to be about detection.
        detect_target_s: How long detection may take.
        not_before: Due dates before this day (the day of the incident) are refused.

    Returns:
        Problems by row; empty when the list can be worked with.
    """
    found = [
        Problem(row, field, text) for row, item in enumerate(items, 1) for field, text in _problems(item, not_before)
    ]
    if not items:
        found.append(Problem(0, "list", "there is none - add one item that would have prevented, found or eased this"))
    slow = detect_s is not None and detect_s > detect_target_s
    if slow and not any(item.kind.strip().lower() == "detect" for item in items):
        text = (
            f"detection took {detect_s:.0f} s, more than {detect_target_s:.0f} s - add at least one item of kind detect"
        )
        found.append(Problem(0, "detect", text))
    return tuple(found)


def _problems(item: ActionItem, not_before: date | None) -> list[tuple[str, str]]:
    """Return (field, message) of one item."""
    checks: tuple[Callable[[], tuple[str, str] | None], ...] = (
        lambda: _verb(item),
        lambda: _vague(item),
        lambda: _bounded(item),
        lambda: _owner(item),
        lambda: _due(item, not_before),
        lambda: _done_test(item),
        lambda: _kind(item),
    )
    return [problem for one in checks if (problem := one()) is not None]


def _verb(item: ActionItem) -> tuple[str, str] | None:
    """A verb comes first."""
    first = re.match(r"[A-Za-z-]+", item.action.strip())
    word = first.group().lower() if first else ""
    if word in VERBS or any(item.action.lower().strip().startswith(phrase) for phrase in _VAGUE):
        return None
    seen = f"starts with {word!r}" if word else "is empty"
    return ("action", f"{seen} - begin with what somebody does, for example add, alert, limit, remove, test")


def _vague(item: ActionItem) -> tuple[str, str] | None:
    """Effort without a measurable end is no action."""
    text = item.action.lower()
    vague = next((phrase for phrase in _VAGUE if re.search(rf"\b{phrase}\b", text)), None)
    if vague is None or _MEASURE.search(item.done_when):
        return None
    return (
        "action",
        f"{vague!r} has no end - say what will be different, or give a done-test with a number or a check",
    )


def _bounded(item: ActionItem) -> tuple[str, str] | None:
    """One item is one piece of work."""
    text, words = item.action.lower(), item.action.split()
    boundless = next((phrase for phrase in _BOUNDLESS if re.search(rf"\b{phrase}\b", text)), None)
    if boundless:
        return ("action", f"{boundless!r} has no bound - name the service, the file or the limit that is meant")
    if len(words) > MAX_WORDS:
        return (
            "action",
            f"has {len(words)} words, at most {MAX_WORDS} were expected - split it into items of their own",
        )
    if 0 < len(words) < 3:
        return ("action", f"{item.action.strip()!r} is too short - name what is changed, and where")
    return None


def _owner(item: ActionItem) -> tuple[str, str] | None:
    """One person or one named team."""
    owner = item.owner.strip()
    if owner.lower() in _NOBODY:
        return (
            "owner",
            f"{owner!r} is nobody - name one person or one team that has a name" if owner else "is empty - name one",
        )
    if re.search(r",|;|/|&|\band\b", owner):
        return ("owner", f"{owner!r} is more than one - name the one who answers for it")
    return None


def _due(item: ActionItem, not_before: date | None) -> tuple[str, str] | None:
    """A day of the calendar, not before the incident."""
    try:
        due = date.fromisoformat(item.due.strip())
    except ValueError:
        seen = repr(item.due.strip()) if item.due.strip() else "is empty"
        return ("due", f"{seen} - a date like 2026-01-31 was expected")
    if not_before is not None and due < not_before:
        return ("due", f"{due} is before the incident ({not_before}) - give a day to come")
    return None


def _done_test(item: ActionItem) -> tuple[str, str] | None:
    """How somebody else sees that it is done."""
    text = item.done_when.strip()
    if not text or text in ("-", "?"):
        return ("done when", "is empty - say how somebody else can see that it is done")
    if not _MEASURE.search(text):
        return ("done when", f"{text!r} cannot be measured - name a number, a test, an alert or a drill that shows it")
    return None


def _kind(item: ActionItem) -> tuple[str, str] | None:
    """What the item would have changed about the incident."""
    kind = item.kind.strip().lower()
    if kind in KINDS:
        return None
    return ("kind", f"{kind or 'empty'} - one of {', '.join(KINDS)} was expected")


def table_rows(markdown: str) -> tuple[ActionItem, ...] | None:
    """Read the table of action items from a Markdown document.

    Args:
        markdown: The document; the table is found by its columns (action, owner, due, done when, kind).

    Returns:
        Rows with at least one filled cell; None when the document has no such table.
    """
    lines = markdown.splitlines()
    for index, line in enumerate(lines):
        head = [cell.lower() for cell in _cells(line)]
        if set(COLUMNS) <= set(head):
            places = [head.index(column) for column in COLUMNS]
            return tuple(_rows(lines[index + 2 :], places))
    return None


def _rows(lines: Sequence[str], places: Sequence[int]) -> list[ActionItem]:
    """Read rows until the table ends; rows without any text are the template's own."""
    found = []
    for line in lines:
        cells = _cells(line)
        if not cells:
            break
        values = [cells[place] if place < len(cells) else "" for place in places]
        if any(values):
            found.append(ActionItem(*values))
    return found


def _cells(line: str) -> list[str]:
    """Split a table row; empty when the line is none."""
    text = line.strip()
    if not text.startswith("|"):
        return []
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", text.strip("|"))]
