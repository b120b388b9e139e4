"""Pages stand alone, read well in light and dark, and say what stopped a run."""

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from platform_lib import report

VOID = {"meta", "img", "input", "br", "hr", "link", "col"}


class Page(HTMLParser):
    """What the tests ask of a page: balance, ids, headings, references, policy."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: Counter[str] = Counter()
        self.headings: list[int] = []
        self.references: list[str] = []
        self.policy = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        self.tags.append((tag, facts))
        if tag not in VOID:
            self.open.append(tag)
        if facts.get("id"):
            self.ids[str(facts["id"])] += 1
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.references += [str(facts[key]) for key in ("src", "href") if facts.get(key)]
        if facts.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(facts["content"])

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")


def code(source: str, outputs: list[dict], count: int = 1) -> dict:
    return {"cell_type": "code", "source": source, "outputs": outputs, "execution_count": count, "metadata": {}}


def stream(text: str) -> dict:
    return {"output_type": "stream", "name": "stdout", "text": text}


ERROR = {"output_type": "error", "ename": "SyncFailed",
         "evalue": "web - OutOfSync, wanted Synced; see apqx status", "traceback": ["one\x1b[31m line"]}  # fmt: skip
TOLD = {"output_type": "display_data", "metadata": {}, "data": {
    report.ERROR_MIME: {"what": "web", "why": "OutOfSync; wanted Synced", "next_step": "see apqx status",
                        "type": "SyncFailed", "traceback": "the whole traceback"},
    "text/html": "<b>card</b>"}}  # fmt: skip
PICTURE = {"output_type": "display_data", "metadata": {"image/png": {"alt": "error-rate", "width": 300}},
           "data": {"image/png": base64.b64encode(b"x").decode(), "text/plain": "<Image>"}}  # fmt: skip


def run_folder(place: Path, name: str, cells: list[dict], **result: object) -> Path:
    folder = place / name
    folder.mkdir(parents=True)
    head = {"cell_type": "markdown", "source": "# A title\n\nPurpose.\n\n## Look", "metadata": {}}
    (folder / "input.ipynb").write_text(json.dumps({"cells": [head, *cells]}))
    (folder / "params.json").write_text("{}")
    base = {"run_id": name, "runbook": "02-deploy", "status": "passed", "started_at": "2026-11-02T09:00:00.000Z",
            "duration_s": 1.5, "figures": {}, "parameters": {"version": "<1>"}, "versions": {"a": "3"}}  # fmt: skip
    (folder / "result.json").write_text(json.dumps(base | result))
    return folder


@pytest.fixture
def failed(tmp_path: Path) -> Page:
    error = {"type": "SyncFailed", "cell": 2, "message": "x cell 2 - SyncFailed: web - OutOfSync; see apqx status"}
    cells = [code("a < b", [stream("hello"), PICTURE]), code("c", [ERROR], 2)]
    folder = run_folder(tmp_path / "x", "20261102T090000Z-02-deploy-aaaa", cells, status="failed", error=error)
    return Page(report.write_report(folder).read_text())


@pytest.fixture
def index(tmp_path: Path) -> str:
    run_folder(tmp_path, "20261102T090000Z-02-deploy-aaaa", [], key_figure="live in 1 s")
    run_folder(tmp_path, "20261103T090000Z-04-rollback-bbbb", [], runbook="04-rollback", status="failed",
               error={"message": "x cell 2 - GateFailed: no"}, started_at="2026-11-03T09:00:00.000Z")  # fmt: skip
    lost = tmp_path / "20261104T090000Z-05-dr-drill-cccc"
    lost.mkdir()
    (lost / "params.json").write_text("{}")
    return report.write_index(tmp_path).read_text()


@pytest.fixture(params=["failed", "index"])
def page(request: pytest.FixtureRequest) -> Page:
    found = request.getfixturevalue(request.param)
    return found if isinstance(found, Page) else Page(found)


def test_a_page_is_balanced_html_with_unique_ids_and_headings_in_order(page: Page) -> None:
    assert page.faults == [] and page.open == []
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))


def test_a_page_refers_to_nothing_outside_its_folder(page: Page) -> None:
    assert [text for text in page.references if re.match(r"(?:[a-z+]+:)?//", text)] == []
    assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
    assert page.policy.startswith("default-src 'none'")


def test_only_our_own_script_may_run(index: str, failed: Page) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", index, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in Page(index).policy
    assert "script-src 'none'" in failed.policy


def test_every_control_has_a_name_and_every_picture_a_text(page: Page) -> None:
    for tag, facts in page.tags:
        assert tag != "img" or facts.get("alt"), facts
        assert tag not in {"input", "select"} or facts.get("name"), facts


def test_a_failed_run_says_what_why_and_the_next_step(tmp_path: Path) -> None:
    error = {"type": "SyncFailed", "cell": 2, "message": "x cell 2 - SyncFailed: web - OutOfSync; see apqx status"}
    for outputs, why in (([ERROR], "OutOfSync, wanted Synced"), ([TOLD, ERROR], "OutOfSync; wanted Synced")):
        name = f"20261102T090000Z-02-deploy-{len(outputs)}"
        folder = run_folder(tmp_path, name, [code("c", outputs, 2)], status="failed", error=error)
        text = report.write_report(folder).read_text()
        assert "<dt>what</dt><dd><b>web</b></dd>" in text
        assert f"<dt>why</dt><dd>{why}</dd>" in text
        assert "<dt>next step</dt><dd>see apqx status</dd>" in text
        assert '<a href="#cell-2">' in text and 'id="cell-2"' in text
    assert "the whole traceback" in text and "<b>card</b>" not in text


def test_a_run_that_ended_well_has_no_error_section(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "20261102T090000Z-02-deploy-aaaa", [])
    assert "What stopped it" not in report.write_report(folder).read_text()


def test_what_a_person_typed_is_text(failed: Page, tmp_path: Path) -> None:
    assert "&lt;1&gt;" in next(tmp_path.glob("x/*/report.html")).read_text()


def test_lines_that_were_written_over_are_shown_once(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "20261102T090000Z-02-deploy-aaaa", [code("x", [stream("10 %\r50 %\r100 %\nend\n")])])
    text = report.write_report(folder).read_text()
    assert "100 %\nend" in text and "50 %" not in text


def test_the_index_lists_runs_newest_first_with_what_the_filters_need(index: str) -> None:
    rows = re.findall(r'<tr data-runbook="(.*?)" data-result="(.*?)" data-date="(.*?)">', index)
    assert rows == [
        ("05-dr-drill", "lost", "2026-11-04"),
        ("04-rollback", "failed", "2026-11-03"),
        ("02-deploy", "passed", "2026-11-02"),
    ]
    assert "killed, or is still running" in index and "GateFailed" in index
    assert index.count("<option>") == 6
    assert re.search(r"<th[^>]*aria-sort=\"descending\"", index)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def palettes() -> list[dict[str, str]]:
    sheet = (report.TEMPLATES / "style.css").read_text()
    return [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in sheet.split(":root")[1:3]]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "ok", "bad", "warn", "link"])
@pytest.mark.parametrize("ground", ["ground", "card"])
def test_every_colour_can_be_read(scheme: int, ink: str, ground: str) -> None:
    """Source: WCAG 2.2, success criterion 1.4.3 (4.5 to 1 for text)."""
    palette = palettes()[scheme]
    dark, light = sorted((luminance(palette[ink]), luminance(palette[ground])))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({"rollout_s": 1.25}, ("rollout", "1.25", "s")),
        ({"rollout_s": None}, ("rollout", "not measured", "")),
        ({"availability": 0.9956}, ("availability", "99.56", "%")),
        ({"changed": True}, ("changed", "yes", "")),
        ({"rate_rps": 200}, ("rate", "200", "1/s")),
    ],
)
def test_figures_are_shown_with_their_unit(figures: dict, shown: tuple) -> None:
    assert report._numbers(figures) == [shown]
