"""How much acknowledged desired state does a loss cost? A numbered marker is committed until right before it.

Each sentinel is one commit of a ConfigMap with a sequence number and the time it was written. What number the
rebuilt cluster holds tells which commits survived; the age of that one at the moment of the fault is the RPO.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from platform_lib import journal
from platform_lib.errors import NotFound
from platform_lib.model import App, Platform, to_json
from platform_lib.wait import now, pause
from platform_lib.wire import kube
from platform_lib.wire.git import repository

NAME = "recovery-sentinel"
COUNT = 4
EVERY_S = 0.5
"""Time between two sentinels; the last one is not followed by a pause, so it may not even be synced."""

_TEXT = """\
# Written by a disaster drill, removed at its end: tells which commit a rebuilt cluster holds.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: {namespace}
data:
  drill: "{drill}"
  sequence: "{sequence}"
  written-at: "{written_at}"
"""


class Sentinels:
    """The sentinels of one drill.

    Args:
        platform: Where.
        app: Whose folder of desired state carries them.
    """

    def __init__(self, platform: Platform, app: App) -> None:
        self.platform, self.app = platform, app
        self.drill = to_json(now())
        self.commits: list[str] = []
        self.survived: int | None = None
        self.survived_at: datetime | None = None

    @property
    def file(self) -> str:
        """Path in the GitOps repository."""
        return f"{self.app.path}/{NAME}.yaml"

    def push(self, count: int = COUNT) -> None:
        """Commit ``count`` sentinels, ``EVERY_S`` apart; git acknowledged each, the cluster need not have it.

        Raises:
            GitError: A push was refused.
        """
        for index in range(count):
            if index:
                pause(EVERY_S)
            self._push_one(len(self.commits) + 1)

    def _push_one(self, sequence: int) -> None:
        """Commit one; its time is taken before the commit, so that the RPO is never flattered."""
        written_at = now()

        def edit(tree: Path) -> str:
            values = {"namespace": self.app.namespace, "drill": self.drill, "written_at": written_at.isoformat()}
            (tree / self.file).write_text(_TEXT.format(name=NAME, sequence=sequence, **values))
            return f"Recovery sentinel {sequence} of the drill at {self.drill}"

        commit = repository(self.platform).change(edit) or ""
        self.commits.append(commit)
        journal.current().append("git", "commit", self.app.name, cause=f"sentinel {sequence}", commit=commit)

    def read(self) -> None:
        """Note which sentinel of this drill the cluster holds now; none is a finding, not an error."""
        try:
            found = kube.connect(self.platform).get("v1/configmaps", NAME, self.app.namespace)
        except NotFound:
            return
        data = found.get("data") or {}
        if data.get("drill") == self.drill:
            self.survived = int(data["sequence"])
            self.survived_at = datetime.fromisoformat(data["written-at"])

    def remove(self) -> bool:
        """Take the sentinels out of git again; returns whether there was one.

        The message names their commits as reverted, so that no rollback chooses one of them.
        """

        def edit(tree: Path) -> str | None:
            path = tree / self.file
            if not path.exists():
                return None
            path.unlink()
            taken = "\n".join(f"This reverts commit {commit}." for commit in self.commits if commit)
            return f"Remove the recovery sentinels of the drill at {self.drill}\n\n{taken}".rstrip()

        commit = repository(self.platform).change(edit)
        if commit:
            journal.current().append("git", "commit", self.app.name, cause="sentinels removed", commit=commit)
        return commit is not None

    def figures(self, fault_at: datetime) -> dict[str, Any]:
        """Return ``rpo_s``, ``sentinels_pushed`` and ``sentinels_lost``.

        Args:
            fault_at: Moment of the loss.

        Returns:
            ``rpo_s`` is the time from writing the newest sentinel that survived to the fault, in seconds; it is
            above 0 because a sentinel is written before the fault, and None when none survived.
        """
        age_s = None if self.survived_at is None else round((fault_at - self.survived_at).total_seconds(), 3)
        return {
            "rpo_s": age_s,
            "sentinels_pushed": len(self.commits),
            "sentinels_lost": len(self.commits) - (self.survived or 0),
        }
