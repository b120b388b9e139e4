from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platform_lib.errors import NoRollbackTarget, RollbackRefused
from platform_lib.model import Revision
from platform_lib.rules import history


def revision(letter: str, version: str, image: str = "") -> Revision:
    image = image or f"web@sha256:{letter * 64}"
    return Revision(letter * 40, image, version, datetime(2026, 1, 1, tzinfo=UTC), "me", f"deploy {version}")


FOUR = [revision("d", "4"), revision("c", "3"), revision("b", "2"), revision("a", "1")]


def judged(revisions=FOUR, *, contents=None, deployed=None, reverted=None):
    trees = {r.sha: f"tree-{r.version}" for r in revisions} | (contents or {})
    known = {f"tree-{r.version}": i for i, r in enumerate(reversed(revisions))} if deployed is None else deployed
    return history.candidates(revisions, trees, deployed=known, reverted=reverted or {})


def chosen(found, **options) -> str:
    return history.choose(found, **options).revision.version


def test_the_revision_before_is_the_target() -> None:
    assert chosen(judged()) == "3"


def test_one_that_was_rolled_back_before_is_skipped_but_may_be_named() -> None:
    found = judged(reverted={"c" * 40: "d" * 40})
    assert chosen(found) == "2"
    assert chosen(found, to="3") == "3"


def test_the_same_content_is_no_target() -> None:
    assert chosen(judged(contents={"c" * 40: "tree-4"})) == "2"


def test_one_that_was_deployed_goes_before_one_that_never_was() -> None:
    assert chosen(judged(deployed={"tree-1": 7})) == "1"
    assert chosen(judged(deployed={})) == "3"


def test_a_tagged_image_is_refused_with_the_reason() -> None:
    found = judged([revision("d", "4"), revision("c", "3", image="web:latest")])
    with pytest.raises(NoRollbackTarget, match="not named by digest"):
        history.choose(found)


def test_nothing_to_go_back_to_lists_what_was_considered() -> None:
    with pytest.raises(NoRollbackTarget, match="it is the current revision") as caught:
        history.choose(judged([revision("d", "4")]))
    assert caught.value.considered


@pytest.mark.parametrize("name", ["2", "bbbb", "b" * 40])
def test_a_target_is_named_by_version_or_commit(name: str) -> None:
    assert chosen(judged(), to=name) == "2"


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(NoRollbackTarget, match="expected one of ddddddd"):
        history.choose(judged(), to="9.9")


def test_the_current_revision_is_refused_by_name() -> None:
    with pytest.raises(RollbackRefused, match="it is the current revision"):
        history.choose(judged(), to="4")


def test_the_history_way_needs_a_history_row() -> None:
    found = judged(deployed={"tree-1": 0})
    assert chosen(found, need_history=True) == "1"
    with pytest.raises(RollbackRefused, match="no history row"):
        history.choose(found, to="2", need_history=True)


def test_what_is_undone_is_everything_since_the_target() -> None:
    found = judged()
    assert [r.version for r in history.undone(found, history.choose(found, to="2"))] == ["4", "3"]


def test_what_argo_cd_left_by_its_history_is_known_as_rolled_back() -> None:
    rows = [{"id": i, "revision": letter * 40} for i, letter in enumerate("abcb")]
    left = history.abandoned(FOUR, rows)
    assert left == {"c" * 40: "Argo CD history id 3"}
    assert chosen(judged(reverted=left)) == "2"
