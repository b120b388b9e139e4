"""Text and HTML of a value show the same rows; an error has three parts; a shelf lists what there is."""

import dataclasses
import html
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from IPython.lib.pretty import pretty

import platform_lib
from platform_lib import errors, frontend, model, shelf
from platform_lib.dora import Delivery, Estimate
from platform_lib.explain import UNKNOWN_STEP, Explanation, explain, explain_error
from platform_lib.model import App, AppState, Check, Outage, Outcome, Plan, PodState, ProbeResult, Step, Verdict
from platform_lib.parameters import MODELS

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
VERDICT = Verdict("fail", "too many <errors>", (Check("errors", "fail", "4 %", "below 1 %", "it is above"),))
POD = PodState("web-1", "node-0", "1.0", "Running", True, 2, "", "web@sha256:0", NOW)
OUTAGES = (Outage(NOW, NOW, 1, 0, 0.2),)
VALUES: list[Any] = [
    App(),
    model.Platform("apqx", "embedded", Path("k"), "apqx", "http://p", "http://i", "repo", Path("h")),
    model.Revision("a" * 40, "web@sha256:0", "1.0", NOW, "me", "Deploy"),
    AppState("web", NOW, "Synced", "Healthy", "a" * 40, None, "", ("odd & bad",), ("web@sha256:0",), 1, 2, (POD,)),
    POD,
    ProbeResult("http://x", 10, NOW, 3, 30, 1, 0.96, 0.1, 1.0, None, 3.0, 0.1, 0.5, OUTAGES, {"500": 1}),
    VERDICT,
    Plan("deploy", (Step("commit", "file", "why"),)),
    Plan("nothing"),
    Outcome("deploy", True, NOW, NOW, {"rollout_s": 1.5}, (("wait", 1.0),), "done", VERDICT),
    Delivery("web", NOW, NOW, (Estimate("rate", 0.5, 0.1, 0.9, "ratio", 4, "how"),), VERDICT, ("note",)),
    explain("SyncFailed", "web - out <of> sync; look"),
    frontend.choose("book", ["a", "b"], value="a"),
    *(made() for made in MODELS.values()),
]  # fmt: skip


def html_rows(text: str) -> list[tuple[str, ...]]:
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]
    return [tuple(html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row) for row in cells]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_text_and_html_show_the_same_rows(value: Any) -> None:
    shown = html_rows(value._repr_html_())
    assert shown == value.rows()
    lines = str(value).splitlines()
    assert [tuple(re.split(r"\s{2,}", line, maxsplit=1)) for line in lines] == shown
    assert pretty(value) == str(value), "what a notebook keeps as text is what a log shows"


def test_every_public_value_is_in_the_test_above() -> None:
    values = [getattr(platform_lib, name) for name in platform_lib.__all__]
    public = {each for each in values if dataclasses.is_dataclass(each)}
    assert public - {type(value) for value in VALUES} == set()


def test_the_shelf_shows_the_same_cells_as_text_and_html(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APQX_RUNS_DIR", str(tmp_path))
    found = shelf.shelf()
    head, *rows = html_rows(found._repr_html_())
    assert head == shelf.COLUMNS
    lines = str(found).splitlines()[1:]
    for cells, line in zip(rows, lines, strict=True):
        assert [part for part in cells if part not in line] == []
        assert cells[-1] == "never run"
    for book in found.books:
        assert (shelf.settings().project_dir / "notebooks" / book.path).is_file()


@pytest.mark.parametrize(
    ("kind", "text", "hint", "parts"),
    [
        ("GitError", "push to main - refused: hook; run again", "", ("push to main", "refused: hook", "run again")),
        ("WaitTimeout", "web late: last seen A; B; see x", "", ("web late", "last seen A; B", "see x")),
        ("SyncFailed", "web - a; b", "b", ("web", "a", "b")),
        ("SyncFailed", "web - a", "", ("web", "a", UNKNOWN_STEP)),
        ("ZeroDivisionError", "division by zero", "", ("ZeroDivisionError", "division by zero", UNKNOWN_STEP)),
        ("KeyError", "", "", ("KeyError", "KeyError without a message", UNKNOWN_STEP)),
        ("ValueError", "see http://x: it - is; so", "", ("ValueError", "see http://x: it - is; so", UNKNOWN_STEP)),
    ],
)  # fmt: skip
def test_an_error_is_taken_apart_into_what_why_and_next_step(kind: str, text: str, hint: str, parts: tuple) -> None:
    assert explain(kind, text, hint=hint) == Explanation(*parts, kind)


def test_an_error_of_ours_is_explained_by_its_own_hint_and_a_wrong_parameter_by_its_name() -> None:
    from pydantic import ValidationError

    from platform_lib.parameters import Teardown

    assert explain_error(errors.SyncFailed("web - a; b", hint="c; d")).next_step == "c; d"
    with pytest.raises(ValidationError) as caught:
        Teardown(purge="yes")
    told = explain_error(caught.value)
    assert "purge='yes'" in told.why and "parameters cell" in told.next_step


def test_an_error_card_escapes_and_folds_the_traceback() -> None:
    card = frontend.error_card({"what": "<a>", "why": "b", "next_step": "c", "traceback": "<t>"})
    assert "&lt;a&gt;" in card and "<details>" in card and "&lt;t&gt;" in card and "<t>" not in card


@pytest.mark.parametrize(
    ("line", "wanted"),
    [("web: 2 of 3 updated", "value='2' max='3'"), ("waiting", "<progress aria"), ("0 of 0", "<progress aria")],
)
def test_a_bar_is_as_long_as_its_newest_line_says(line: str, wanted: str) -> None:
    assert wanted in frontend.bar_html(["first <b>", line], 2.0, running=True)
    ended = frontend.bar_html(["first <b>", line], 2.0, running=False)
    assert "<progress" not in ended and "done after 2.0 s" in ended and "first &lt;b&gt;" in ended


def test_progress_is_a_plain_line_where_nobody_looks_on(capsys: pytest.CaptureFixture[str]) -> None:
    frontend.say("1 of 2")
    assert capsys.readouterr().out == "1 of 2\n"
    assert not frontend.attended() and frontend.show_errors() is False


def test_a_choice_outside_its_options_is_refused() -> None:
    assert frontend.choose("n", [1, 2], value=2).value == 2
    with pytest.raises(errors.InvalidInput, match="n 3 - unknown, wanted one of 1, 2"):
        frontend.choose("n", [1, 2], value=3)
