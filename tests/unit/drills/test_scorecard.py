"""The score, its trend and the page, from results made by hand."""

import html.parser
import re
from dataclasses import replace
from pathlib import Path

import pytest

from platform_lib import scorecard
from platform_lib.drills import score
from platform_lib.drills.score import Result
from platform_lib.plots import score as pictures

FIGURES = {
    "rto_s": 3.0, "detect_s": 1.0, "decide_s": None, "restore_s": 1.5, "verify_s": 0.5, "requests_sent": 100,
    "requests_lost": 5, "outage_lower_s": 0.04, "outage_upper_s": 0.06, "outages": 1, "blind_s": {"prometheus": 2.0},
    "availability_ratio": 0.95,
}  # fmt: skip
BINS = [{"t_s": float(t), "sent": 10, "lost": int(t == 0), "p99_ms": 5.0} for t in range(-2, 8)]


def result(scenario: str, status: str, *, batch: str = "b1", weight: int = 5, **changes) -> Result:
    made = Result(
        id=f"{batch}-{scenario}", batch=batch, scenario=scenario, title=f"T <{scenario}>", why="w", expected="e",
        weight=weight, status=status, reason="because", proved="p", started_at="2026-01-01T00:00:00Z",
        finished_at=f"2026-01-01T00:00:0{batch[1]}Z", platform="apqx",
    )  # fmt: skip
    return replace(made, **changes)


def full(scenario: str, status: str, **changes) -> Result:
    checks = [{"name": "recovered", "status": status, "value": "3 s", "rule": "within 60 s", "reason": ""}]
    marks = [("fault", 0.0), ("verified", 3.0)]
    return result(scenario, status, figures=FIGURES, bins=BINS, marks=marks, checks=checks, **changes)


def test_the_score_is_the_weighted_share_of_passed_drills() -> None:
    found = [result("a", "pass", weight=8), result("b", "fail", weight=2), result("c", "skipped", weight=10)]
    assert score.score(found).value == pytest.approx(0.8)
    assert score.score(found).words() == "score 80% over 2 scenarios, 1 skipped"


@pytest.mark.parametrize("status", ["fail", "inconclusive", "aborted", "interrupted", "undo_failed"])
def test_only_a_passed_drill_counts(status: str) -> None:
    assert score.score([result("a", status)]).value == 0


def test_repetitions_count_by_their_share_and_only_the_newest_batch() -> None:
    turns = [result("a", status, batch="b2", id=f"b2-{i}") for i, status in enumerate(["pass", "fail", "pass", "pass"])]
    assert score.score([result("a", "fail"), *turns]).value == pytest.approx(0.75)


def test_the_trend_has_one_score_per_batch(tmp_path: Path) -> None:
    found = [result("a", "fail"), result("b", "pass"), result("a", "pass", batch="b2")]
    assert [one.value for one in score.trend(found)] == [0.5, 1.0]
    for one in found:
        score.keep(one, tmp_path)
    (score.folder(tmp_path) / "zz.json").write_text("{damaged")
    assert [one.id for one in score.results(tmp_path)] == sorted(one.id for one in found)


def test_a_skipped_or_doubtful_drill_proves_nothing() -> None:
    assert score.proof("It comes back.", "pass", "", {"requests_sent": 7}) == "It comes back. Seen by 7 requests."
    assert score.proof("It comes back.", "inconclusive", "nobody saw it", {}).startswith("Nothing")
    assert "did not do" in score.proof("It comes back.", "fail", "x", {})


class Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value]


def test_the_page_says_everything_and_loads_nothing(tmp_path: Path) -> None:
    first = [full("a", "pass"), full("b", "fail")]
    second = [full("a", "pass", batch="b2", id="b2-1"), full("a", "pass", batch="b2", id="b2-2")]
    for one in (*first, *second, result("c", "skipped", batch="b2", reason="no such node")):
        score.keep(one, tmp_path / "home")
    text = scorecard.write(tmp_path / "home", tmp_path / "runs").read_text()
    page = Tags()
    page.feed(text)
    assert all(link.startswith("#") for link in page.links) and "link" not in page.tags
    assert not re.search(r"https?://", text)
    assert {"T &lt;a&gt;", "no such node", "Median and range of 2 drills", "detect 1.00 s, restore 1.50 s"} <= {
        wanted
        for wanted in ("T &lt;a&gt;", "no such node", "Median and range of 2 drills", "detect 1.00 s, restore 1.50 s")
        if wanted in text
    }
    assert "prometheus 2.0 s" in text and text.count('class="spark"') == 2 and "50 %" in text


def test_a_page_without_drills_says_what_to_do(tmp_path: Path) -> None:
    assert "apqx drill all" in scorecard.write(tmp_path, tmp_path).read_text()


def test_pictures_tell_their_content_in_words() -> None:
    assert "1 of 100 requests lost" in pictures.sparkline(BINS, {"fault": 0.0})
    assert pictures.split_bar(FIGURES).count("<rect") == 3
    assert pictures.split_bar({}) == pictures.sparkline([], {}) == pictures.trend([0.5], ["x"]) == ""
    assert "from 50% to 100% over 2 runs" in pictures.trend([0.5, None, 1.0], ["x", "y", "z"])
