"""How does a fault that was committed to git leave it again, also from another process?"""

from __future__ import annotations

from pathlib import Path

from platform_lib.model import App, Platform
from platform_lib.sync import refresh
from platform_lib.wire.git import repository


def take_back(platform: Platform, app: App, commit: str, mark: str) -> bool:
    """Make the application's folder as it was at a commit, if a file of it still holds a mark.

    The message is that of git revert, so that no rollback ever chooses what is taken back.

    Args:
        platform: Where.
        app: What.
        commit: Newest commit before the fault.
        mark: Text that only the fault put there; without it somebody has taken it back already.

    Returns:
        Whether there was something to take back.
    """
    repo = repository(platform)

    def edit(tree: Path) -> str | None:
        files = [file for file in sorted((tree / app.path).rglob("*")) if file.is_file()]
        if not any(mark in file.read_text(errors="replace") for file in files):
            return None
        taken = repo.run("log", "--format=%H", f"{commit}..HEAD", "--", app.path).split()
        repo.restore(tree, commit, app.path)
        lines = "\n".join(f"This reverts commit {one}." for one in taken)
        return f"Take back what a drill committed to {app.name}\n\n{lines}".rstrip()

    if repo.change(edit) is None:
        return False
    refresh(platform, app)
    return True
