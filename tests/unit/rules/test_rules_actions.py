"""Action items: a good one passes, each kind of bad one is named with what to write instead."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules.actions import ActionItem, check, table_rows

GOOD = ActionItem(
    action="Add an alert on the error ratio of the ingress",
    owner="Ann",
    due="2026-02-01",
    done_when="the alert fires within 60 s in the drill bad-deploy",
    kind="detect",
)


def test_a_good_item_passes() -> None:
    assert check([GOOD], detect_s=900, not_before=date(2026, 1, 5)) == ()


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"action": "The alert is missing"}, "action", "begin with what somebody does"),
        ({"action": ""}, "action", "is empty"),
        ({"action": "Better monitoring of the ingress"}, "action", "starts with 'better'"),
        (
            {"action": "Investigate the ingress errors", "done_when": "we know more"},
            "action",
            "'investigate' has no end",
        ),
        ({"action": "Make sure deploys are safe", "done_when": "it is safe"}, "action", "'make sure' has no end"),
        ({"action": "Look into slow starts of pods", "done_when": "understood"}, "action", "'look into' has no end"),
        ({"action": "Alert on everything in the cluster"}, "action", "has no bound"),
        ({"action": "Add " + "very " * 30 + "long text"}, "action", "split it"),
        ({"action": "Fix it"}, "action", "too short"),
        ({"owner": ""}, "owner", "is empty"),
        ({"owner": "everyone"}, "owner", "is nobody"),
        ({"owner": "Ann and Bob"}, "owner", "more than one"),
        ({"due": ""}, "due", "is empty"),
        ({"due": "next week"}, "due", "a date like"),
        ({"due": "2025-12-31"}, "due", "before the incident"),
        ({"done_when": ""}, "done when", "is empty"),
        ({"done_when": "it is better"}, "done when", "cannot be measured"),
        ({"kind": "fix"}, "kind", "prevent, detect, mitigate, process"),
        ({"kind": ""}, "kind", "empty"),
    ],
)
def test_each_problem_is_named(change: dict, field: str, words: str) -> None:
    problems = check([replace(GOOD, **change)], not_before=date(2026, 1, 5))
    assert [problem.field for problem in problems if words in problem.message] == [field], problems
    assert all(problem.row == 1 for problem in problems)


def test_a_vague_verb_with_a_measurable_end_is_accepted() -> None:
    item = replace(GOOD, action="Improve the start time of pods", done_when="ready in under 2 s in 10 of 10 deploys")
    assert check([item]) == ()


def test_slow_detection_asks_for_an_item_about_it() -> None:
    other = replace(GOOD, kind="prevent")
    assert check([other], detect_s=299) == ()
    assert check([other]) == ()
    (problem,) = check([other], detect_s=301)
    assert str(problem).startswith("action items, detect: detection took 301 s")
    assert check([other, GOOD], detect_s=301) == ()


def test_an_empty_list_is_a_problem() -> None:
    (problem,) = check([])
    assert "there is none" in problem.message


TABLE = """# Post-mortem

| item | Action | Owner | Due | Done when | Kind |
|---|---|---|---|---|---|
| 1 | Add an alert on the error ratio of the ingress | Ann | 2026-02-01 | the alert fires within 60 s | detect |
| 2 | Limit the \\| rate | | | | |
| | | | | | |

| other | table |
|---|---|
"""


def test_the_table_is_read_by_its_heads() -> None:
    rows = table_rows(TABLE)
    assert rows is not None
    assert [row.action for row in rows] == ["Add an alert on the error ratio of the ingress", "Limit the | rate"]
    assert rows[0].kind == "detect" and rows[1].owner == ""


def test_a_document_without_the_table_has_none() -> None:
    assert table_rows("# nothing\n\n| a | b |\n|---|---|\n") is None


@given(st.text(max_size=300))
def test_any_text_is_read_without_an_error(text: str) -> None:
    rows = table_rows(text + "\n| action | owner | due | done when | kind |\n|---|---|---|---|---|\n| " + text)
    assert rows is None or check(rows) is not None
