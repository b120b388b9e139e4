"""The documents carry the facts, leave judgement open, and hold no markup of strangers."""

import json
import re
from pathlib import Path

import pytest
from incidents import archive, record, samples, story
from typer.testing import CliRunner

from platform_lib import plots, postmortem
from platform_lib.errors import InvalidInput

SECTIONS = [
    "Overview", "What Happened", "Contributing Factors", "Resolution", "Impact", "Responders", "Timeline", "Alerts",
    "How'd We Do?", "Action Items", "Messaging", "Evidence",
]  # fmt: skip
ITEM = "| Add an alert on errors of the ingress | Ann | 2026-02-01 | the alert fires within 60 s | detect |"


@pytest.fixture(scope="module")
def found() -> postmortem.PostMortem:
    return postmortem.build(archive())


def test_the_sections_are_those_of_the_guide(found: postmortem.PostMortem) -> None:
    text = postmortem.markdown(found)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    page = postmortem.html(found)
    assert [title.replace("&#39;", "'") for title in re.findall(r"<h2>(.+?)</h2>", page)] == SECTIONS


def test_facts_are_filled_in_and_judgement_is_left_open(found: postmortem.PostMortem) -> None:
    text = postmortem.markdown(found)
    assert f"{found.impact.failed} of {found.impact.sent}" in text
    assert "correlated, not proven" in text and "12:00:50" in text
    assert len(re.findall(r"^> \? ", text, re.MULTILINE)) == 10
    assert "None" not in text and "nan" not in text.lower().split()


def test_every_table_of_the_document_has_whole_rows(found: postmortem.PostMortem) -> None:
    for block in re.findall(r"(?:^\|.*\n)+", postmortem.markdown(found), re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_words_of_others_cannot_add_markup() -> None:
    evil = record(45, "git", "commit", commit="d" * 40, message="<script>alert(1)</script> | a | b", author="*x*")
    found = postmortem.build(archive([*story(), evil]))
    assert "<script>alert" not in postmortem.html(found)
    text = postmortem.markdown(found)
    assert "<script>" not in text.replace(r"\<script\>", "") and r"\| a \| b" in text


def test_the_page_is_self_contained(found: postmortem.PostMortem) -> None:
    page = postmortem.html(found)
    assert "data:image/svg+xml" in page and 'alt="Requests answered' in page
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


def test_an_incident_without_data_still_has_a_document() -> None:
    found = postmortem.build(archive([], samples().iloc[:0]))
    assert "no probe and no metric covers the window" in postmortem.markdown(found)
    assert "<img" not in postmortem.html(found)


def test_files_are_written_once(found: postmortem.PostMortem, tmp_path: Path) -> None:
    names = [path.name for path in postmortem.write(found, tmp_path / "pm")]
    assert names == ["postmortem.md", "postmortem.html", "postmortem.json", "incident.svg"]
    facts = json.loads((tmp_path / "pm" / "postmortem.json").read_text())
    assert facts["figures"]["requests_lost"] == found.impact.failed
    with pytest.raises(InvalidInput, match="somebody may have written in it"):
        postmortem.write(found, tmp_path / "pm")


def test_the_picture_shows_onset_stamps_changes_and_alerts(found: postmortem.PostMortem) -> None:
    figure = plots.incident(found)
    upper, lower = figure.axes
    labels = [text.get_text() for text in upper.get_legend().get_texts()]
    assert labels[:3] == ["answered", "failed", "onset, 5-95 %"]
    assert [label.split()[0] for label in labels[3:]] == list(found.stamps)
    words = [text.get_text() for text in lower.texts]
    assert any("Deploy 1.3" in word for word in words) and "alert ErrorRatio" in words
    assert upper.get_ylabel() == "requests per second"


def test_the_template_s_own_list_is_refused_until_it_is_filled(found: postmortem.PostMortem) -> None:
    text = postmortem.markdown(found)
    (problem,) = postmortem.check(text)
    assert "there is none" in str(problem)
    assert postmortem.check(text.replace("| | | | | |", ITEM)) == ()


def test_an_incident_that_nothing_noticed_wants_a_detect_item() -> None:
    unseen = [row for row in story() if row["source"] != "prometheus"]
    text = postmortem.markdown(postmortem.build(archive(unseen)))
    assert "at least one item has to be of kind detect" in text
    filled = text.replace("| | | | | |", ITEM)
    assert postmortem.check(filled) == ()
    (problem,) = postmortem.check(filled.replace("| detect |", "| prevent |"))
    assert problem.field == "detect"


def test_the_command_checks_a_document(found: postmortem.PostMortem, tmp_path: Path) -> None:
    from platform_lib.cli.postmortem import postmortem_app

    document = tmp_path / "postmortem.md"
    document.write_text(postmortem.markdown(found).replace("| | | | | |", ITEM.replace("Add", "Maybe add")))
    refused = CliRunner().invoke(postmortem_app, ["check", str(document)])
    assert refused.exit_code == 1 and "item 1, action: starts with 'maybe'" in refused.output
    document.write_text(document.read_text().replace("Maybe add", "Add"))
    accepted = CliRunner().invoke(postmortem_app, ["check", str(document)])
    assert accepted.exit_code == 0 and "can be worked with" in accepted.output


def test_a_document_without_the_table_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no table of action items"):
        postmortem.check("# nothing")
