"""Which revision is the right one to go back to? Pure choice, with a reason for every refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from platform_lib.errors import NoRollbackTarget, RollbackRefused
from platform_lib.model import Revision, joined


@dataclass(frozen=True, slots=True)
class Candidate:
    """One revision as a target of a rollback.

    Attributes:
        revision: The commit.
        content: Hash of the application's folder at that commit; empty when the folder is absent.
        history_id: Row of Argo CD's history that deployed this content, None when there is none.
        refused: Why it is no target; empty when it is one.
    """

    revision: Revision
    content: str
    history_id: int | None
    refused: str


def candidates(
    revisions: Sequence[Revision],
    contents: Mapping[str, str],
    *,
    deployed: Mapping[str, int],
    reverted: Mapping[str, str],
) -> list[Candidate]:
    """Judge every revision of an application, newest first.

    Args:
        revisions: Commits that touched the application, newest first; the first one is current.
        contents: Commit to hash of the folder.
        deployed: Hash of the folder to row of Argo CD's history.
        reverted: Commits that were rolled back before, to what did it.
    """
    if not revisions:
        return []
    current = contents.get(revisions[0].sha, "")
    found = []
    for index, revision in enumerate(revisions):
        content = contents.get(revision.sha, "")
        refused = _refusal(revision, content, current, reverted, newest=index == 0)
        found.append(Candidate(revision, content, deployed.get(content), refused))
    return found


def abandoned(revisions: Sequence[Revision], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return commits that a rollback by Argo CD's history left behind; git does not know of those.

    Args:
        revisions: Commits of the application, newest first.
        rows: Argo CD's history, oldest first. A row that is followed by one of an older commit was left.
    """
    age = {revision.sha: index for index, revision in enumerate(revisions)}
    found = {}
    for row, after in pairwise(rows):
        before_sha, after_sha = str(row.get("revision")), str(after.get("revision"))
        if before_sha in age and after_sha in age and age[after_sha] > age[before_sha]:
            found[before_sha] = f"Argo CD history id {after.get('id')}"
    return found


def _refusal(revision: Revision, content: str, current: str, reverted: Mapping[str, str], *, newest: bool) -> str:
    """Say why a revision is no target."""
    if newest:
        return "it is the current revision"
    if not content:
        return "the application's folder is absent there"
    if content == current:
        return "same content as the current revision"
    if "@sha256:" not in revision.image:
        return f"its image {revision.image or '(none)'} is not named by digest"
    if revision.sha in reverted:
        return f"it was rolled back by {reverted[revision.sha]}"
    return ""


def choose(found: Sequence[Candidate], *, to: str | None = None, need_history: bool = False) -> Candidate:
    """Choose the target of a rollback.

    Args:
        found: Candidates, newest first.
        to: Commit (at least 4 digits) or version that the user named; None for the newest good one. One that was
            deployed according to Argo CD goes before one that never was.
        need_history: Only revisions in Argo CD's history qualify.

    Raises:
        NoRollbackTarget: None qualifies; says of each why.
        RollbackRefused: The named one exists and is refused.
    """
    if to is not None:
        return _named(found, to, need_history)
    allowed = [c for c in found if not c.refused and (c.history_id is not None or not need_history)]
    deployed = [c for c in allowed if c.history_id is not None]
    if not allowed:
        considered = [f"{c.revision.sha[:7]} ({c.revision.version}): {c.refused or _NOT_DEPLOYED}" for c in found[:8]]
        raise NoRollbackTarget(
            f"rollback - no earlier revision qualifies: {joined(considered)}",
            hint="deploy a corrected version, or name a commit",
            considered=considered,
        )
    return (deployed or allowed)[0]


_NOT_DEPLOYED = "Argo CD has no history row for it"


def _named(found: Sequence[Candidate], to: str, need_history: bool) -> Candidate:
    """Return the candidate that the user named; one refused only for an earlier rollback is his choice."""
    matching = [c for c in found if c.revision.version == to or (len(to) >= 4 and c.revision.sha.startswith(to))]
    if not matching:
        known = joined(f"{c.revision.sha[:7]} ({c.revision.version})" for c in found[:8])
        raise NoRollbackTarget(
            f"rollback - {to} is no commit or version of this application, expected one of {known}",
            hint="see apqx app history NAME",
        )
    usable = [c for c in matching if not c.refused or "rolled back by" in c.refused]
    usable = [c for c in usable if c.history_id is not None or not need_history]
    if not usable:
        why = matching[0].refused or _NOT_DEPLOYED
        raise RollbackRefused(
            f"rollback - {to} cannot be the target: {why}", hint="choose another revision, see apqx app history NAME"
        )
    return usable[0]


def undone(found: Sequence[Candidate], target: Candidate) -> list[Revision]:
    """Return the commits that a rollback to the target takes back, newest first."""
    shas = [candidate.revision.sha for candidate in found]
    return [candidate.revision for candidate in found[: shas.index(target.revision.sha)]]
