"""What does a person read first of an error: what, why, and the next step? Text in, three sentences out.

The words come from the error itself (*object - what was seen against what was wanted; next step*); an error of
another library gets the same three parts, as far as it has them.
"""

from __future__ import annotations

from dataclasses import dataclass

from platform_lib import errors
from platform_lib.model import _Table

UNKNOWN_STEP = "open the traceback below; the journal of the run says what happened before"


@dataclass(frozen=True, slots=True)
class Explanation(_Table):
    """An error in the order in which it helps.

    Attributes:
        what: The object it is about.
        why: What was observed against what was wanted.
        next_step: What to do now.
        type: Class of the error.
    """

    what: str
    why: str
    next_step: str
    type: str

    def rows(self) -> list[tuple[str, str]]:
        """Return what, why and the next step."""
        return [("what", self.what), ("why", self.why), ("next step", self.next_step)]


def explain(kind: str, text: str, *, hint: str = "") -> Explanation:
    """Take an error's text apart.

    Args:
        kind: Class name of the error.
        text: Its message, with or without the hint at its end.
        hint: The next step where it is known apart from the text.

    Returns:
        Never an empty part: what the text does not say is said in general words.

    Example:
        >>> explain("GitError", "push to branch main - refused: hook; run again").next_step
        'run again'
    """
    message = text.strip()
    if hint:
        message = message.removesuffix(f"; {hint}")
    elif hasattr(errors, kind) and "; " in message:
        message, _, hint = message.rpartition("; ")
    mark = next((mark for mark in (" - ", ": ") if hasattr(errors, kind) and mark in message), "")
    what, _, why = message.partition(mark) if mark else (kind, "", message)
    return Explanation(what or kind, why or f"{kind} without a message", hint or UNKNOWN_STEP, kind)


def explain_error(error: BaseException) -> Explanation:
    """Explain an exception: its own hint where it has one, the wrong fields where it is a pydantic error."""
    kind = type(error).__name__
    fields = getattr(error, "errors", None)
    if kind == "ValidationError" and callable(fields):
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}={e.get('input')!r}: {e['msg']}" for e in fields())
        title = getattr(error, "title", "")
        return Explanation(f"{title} parameters", wrong, "correct the parameters cell and run from there", kind)
    return explain(kind, str(error), hint=str(getattr(error, "hint", "") or ""))
