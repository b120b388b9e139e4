"""How does the library change desired state? With the git program, in a private clone, by small commits.

Each change fetches, resets the private clone to the remote branch, applies the edit and pushes; when
somebody pushed first, it does so again on top of theirs. What to write into a manifest is decided in
``wire.manifest_edit``; who rolls back to what in ``rules.history``; what a refusal means in ``wire.git_answers``.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from platform_lib import guard
from platform_lib.errors import GitError, Locked, ManifestError
from platform_lib.model import App, Obj, Platform, Revision
from platform_lib.rules import manifests
from platform_lib.settings import settings
from platform_lib.wire import git_answers
from platform_lib.wire.git_program import Git, Identity

AUTHOR = "apqx <apqx@localhost>"
_PUSH_ATTEMPTS = 5
_LOCK_S = 30.0
_REVERTS = re.compile(r"^This reverts commit ([0-9a-f]{40})", re.MULTILINE)
_FIELDS = "%H%x1f%cI%x1f%an%x1f%s"


class Repository:
    """A private clone of the GitOps repository.

    Args:
        remote: Path or URL of the repository.
        branch: Branch that Argo CD follows.
        clone: Folder of the private clone; made on first use, thrown away when it is damaged.
        author: ``Name <mail>`` of the commits made here.
        before_change: Called before anything is changed; refuses by raising.
        user: User name sent with the token.
        token: Reference (``env:NAME``, ``file:/path``) to a token for an http(s) remote.

    Raises:
        InvalidInput: The remote carries a password.
    """

    def __init__(
        self,
        remote: str,
        branch: str,
        clone: Path,
        *,
        author: str = AUTHOR,
        before_change: Callable[[str], None] = lambda _what: None,
        user: str = "git",
        token: str = "",
    ) -> None:
        git_answers.check_remote(remote)
        self.remote, self.branch, self.clone = remote, branch, clone
        self._before_change = before_change
        name, _, mail = author.partition(" <")
        self.identity = Identity(name, mail.rstrip(">") or "apqx@localhost", user, token)

    @contextmanager
    def current(self) -> Iterator[Path]:
        """Hold the clone at the newest commit of the remote branch; yields its folder.

        Raises:
            Locked: Another process holds the clone.
            GitError: The remote cannot be read.
        """
        self.clone.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{self.clone}.lock")
        try:
            lock.acquire(timeout=_LOCK_S)
        except Timeout as error:
            raise Locked(
                f"git clone {self.clone.name} - in use for {_LOCK_S:.0f} s, expected to be free",
                hint="wait for the other run to end",
                holder="another apqx process",
                since="",
            ) from error
        try:
            self._update()
            yield self.clone
        finally:
            lock.release()

    def _update(self) -> None:
        """Make the clone equal to the remote branch; clone anew where that is not possible."""
        if (self.clone / ".git").is_dir():
            try:
                self.run("remote", "set-url", "origin", self.remote)
                self.run("fetch", "--quiet", "--prune", "origin", f"refs/heads/{self.branch}")
                self.run("reset", "--quiet", "--hard", "FETCH_HEAD")
                self.run("clean", "-qfdx")
                return
            except GitError as error:
                if error.context.get("kind") == "branch missing":
                    raise self._no_branch() from error
                if "not a git repository" not in str(error) and "corrupt" not in str(error):
                    raise
        self.head()  # a tag of that name would be cloned too, as a detached HEAD
        shutil.rmtree(self.clone, ignore_errors=True)
        self._git("clone", "--quiet", "--branch", self.branch, self.remote, str(self.clone), folder=None)

    def change(self, edit: Callable[[Path], str | None], *, base: str = "", rests_on: Sequence[str] = ()) -> str | None:
        """Apply an edit on top of the newest commit, commit and push it.

        Args:
            edit: Gets the work tree, changes files and returns the commit message, or None for no change.
                Called again on a fresh tree when somebody else pushed meanwhile.
            base: Commit that the edit was planned on. With it the edit is made there and carried over to the newest
                commit, so that a change of the same lines by somebody else is a conflict and is not overwritten.
            rests_on: Paths the decision was made from; a change of them since ``base`` is a conflict too.

        Returns:
            The new commit, or None when the edit changed nothing.

        Raises:
            GitError: The push was refused, was overtaken five times, does not fit on what others pushed (``kind``
                conflict, ``files``), or the branch was rewritten meanwhile. Nothing was pushed.
        """
        self._before_change(f"a push to {self.branch}")
        seen = base
        for attempt in range(1, _PUSH_ATTEMPTS + 1):
            with self.current() as tree:
                newest = self.run("rev-parse", "HEAD")
                self._same_history(seen or newest, newest)
                seen = newest
                if base:
                    self._unchanged(base, newest, rests_on)
                    self.run("reset", "--quiet", "--hard", base)
                message = edit(tree)
                self.run("add", "--all")
                if message is None or not self.run("status", "--porcelain"):
                    return None
                self.run("commit", "--quiet", "--no-verify", "-m", message)
                self._carry_over(base, newest)
                commit = self.run("rev-parse", "HEAD")
                if commit == newest:
                    return None  # somebody else made the same change
                if self._pushed(last=attempt == _PUSH_ATTEMPTS):
                    return commit
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _same_history(self, base: str, newest: str) -> None:
        """Refuse to go on when the branch no longer holds the commit that a change was planned on."""
        if base == newest or self.is_ancestor_here(base, newest):
            return
        try:
            related = bool(self.run("merge-base", base, newest))
        except GitError:
            related = False
        raise git_answers.rewritten(branch=self.branch, remote=self.remote, base=base, related=related)

    def _carry_over(self, base: str, newest: str) -> None:
        """Put the commit made on ``base`` on top of the newest one; a conflict is named by file and taken back."""
        if not base or base == newest:
            return
        try:
            self.run("rebase", "--quiet", "--onto", newest, base)
        except GitError as error:
            files = self.run("diff", "--name-only", "--diff-filter=U").splitlines()
            self.run("rebase", "--abort")
            if not files:
                raise
            raise self._conflict(base, newest, files) from error

    def _unchanged(self, base: str, newest: str, paths: Sequence[str]) -> None:
        """Refuse when a file that the decision was made from is another one by now."""
        files = self.run("diff", "--name-only", base, newest, "--", *paths).splitlines() if paths else []
        if files:
            raise self._conflict(base, newest, files)

    def _conflict(self, base: str, newest: str, files: list[str]) -> GitError:
        """Name the files and the newest of the commits that changed them."""
        theirs = self.run("log", "-1", "--format=%h by %an: %s", f"{base}..{newest}", "--", *files)
        return git_answers.conflict(files, branch=self.branch, theirs=theirs)

    def _pushed(self, *, last: bool) -> bool:
        """Push; False when somebody else was faster and another attempt is left."""
        try:
            self.run("push", "--quiet", "origin", f"HEAD:refs/heads/{self.branch}")
        except GitError as error:
            if git_answers.overtaken(str(error.context.get("stderr", ""))) and not last:
                return False
            raise
        return True

    def head(self) -> str:
        """Return the newest commit of the remote branch without changing the clone.

        Raises:
            GitError: The remote cannot be read, or has no branch of that name (``kind`` branch missing, detached).
        """
        answer = self._git("ls-remote", "--heads", self.remote, f"refs/heads/{self.branch}", folder=None)
        if not answer:
            raise self._no_branch()
        return answer.split()[0]

    def _no_branch(self) -> GitError:
        """Say what the name is instead of a branch, and which branches there are."""
        lines = self._git("ls-remote", self.remote, folder=None).splitlines()
        refs = {ref: sha for sha, _, ref in (line.partition("\t") for line in lines)}
        branches = [ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/")]
        if f"refs/tags/{self.branch}" in refs:
            what = "a tag"
        elif self.branch == "HEAD" or (len(self.branch) >= 7 and any(s.startswith(self.branch) for s in refs.values())):
            what = "a commit"
        else:
            return GitError(
                f"branch {self.branch} - absent in {git_answers.without_password(self.remote)}, expected to exist",
                hint=f"branches there: {', '.join(branches)}" if branches else "push the desired state first",
                command="ls-remote",
                stderr="",
                kind="branch missing",
            )
        return git_answers.detached(branch=self.branch, remote=self.remote, what=what, branches=branches)

    def run(self, *arguments: str) -> str:
        """Run git in the clone and return its output without the last line end."""
        return self._git(*arguments, folder=self.clone)

    def _git(self, *arguments: str, folder: Path | None, stdin: str | None = None) -> str:
        """Run git; see ``wire.git_program``."""
        return Git(self.remote, self.branch, self.identity).run(arguments, folder=folder, stdin=stdin)

    def log(self, app: App, *, limit: int = 50) -> list[Revision]:
        """Return the commits that touched the folder of an application, newest first.

        ``image`` and ``version`` are what its Deployment names at that commit, empty where it names none.
        """
        with self.current():
            text = self.run("log", f"--max-count={limit}", f"--format={_FIELDS}", "HEAD", "--", app.path)
            rows = [line.split("\x1f") for line in text.splitlines() if line]
            files = self._contents([f"{row[0]}:{app.deployment_file}" for row in rows])
        return [_revision(row, content) for row, content in zip(rows, files, strict=True)]

    def history(self, *, since: str = "", limit: int = 2000) -> list[dict[str, Any]]:
        """Return the commits of the branch after a commit, oldest first.

        Args:
            since: Commit that is known already; empty, or no longer on the branch, for all.
            limit: At most so many, the newest ones.

        Returns:
            ``commit``, ``committed_at`` (ISO 8601), ``author``, ``message`` (whole) and ``files`` (paths) of each.
        """
        with self.current():
            known = bool(since) and self.is_ancestor_here(since, "HEAD")
            span = f"{since}..HEAD" if known else "HEAD"
            form = "--format=%x1e%H%x1f%cI%x1f%an%x1f%B%x1f"
            text = self.run("log", "--reverse", f"--max-count={limit}", "--name-only", form, span)
        rows = [entry.split("\x1f") for entry in text.split("\x1e") if entry.strip()]
        return [
            {"commit": sha, "committed_at": at, "author": author, "message": body.strip(), "files": files.split()}
            for sha, at, author, body, files in rows
        ]

    def image_at(self, commit: str, app: App) -> str:
        """Return the image that the application's Deployment names at a commit; empty when it names none."""
        with self.current():
            (content,) = self._contents([f"{commit}:{app.deployment_file}"])
        return manifests.image_of(_deployment(content))

    def reverted(self, app: App, *, limit: int = 50) -> dict[str, str]:
        """Return commits that a later commit took back, to that later commit.

        Source: git revert writes "This reverts commit <sha>." into the message; rollbacks here do the same.
        """
        with self.current():
            text = self.run("log", f"--max-count={limit}", "--format=%H%x1f%B%x1e", "HEAD", "--", app.path)
        found: dict[str, str] = {}
        for entry in text.split("\x1e"):
            sha, _, message = entry.strip().partition("\x1f")
            for match in _REVERTS.finditer(message):
                found.setdefault(match.group(1), sha)
        return found

    def _contents(self, names: Sequence[str]) -> list[str]:
        """Return the content of objects (``commit:path``) by one git process; empty for absent ones."""
        if not names:
            return []
        answer = self._git("cat-file", "--batch", folder=self.clone, stdin="\n".join(names) + "\n")
        found, rest = [], answer.encode() + b"\n"
        for _ in names:
            head, _, rest = rest.partition(b"\n")
            if head.endswith((b" missing", b" ambiguous")):
                found.append("")
                continue
            size = int(head.rsplit(b" ", 1)[1])
            found.append(rest[:size].decode("utf-8", "replace"))
            rest = rest[size + 1 :]
        return found

    def files(self, commit: str, folder: str, endings: tuple[str, ...]) -> dict[str, str]:
        """Return the text files of a folder at a commit, by their path inside of it; empty when it is absent.

        Args:
            commit: Full commit.
            folder: Path in the repository; empty for all of it.
            endings: Only files whose names end so. A link is read as what it points to.
        """
        prefix = f"{folder}/" if folder else ""
        with self.current():
            listing = self.run("ls-tree", "-r", "-z", commit, "--", *([prefix] if prefix else []))
            entries = [line.partition("\t")[::2] for line in listing.split("\0") if line]
            links = {path: self.run("show", f"{commit}:{path}") for kind, path in entries if kind.startswith("120000")}
            paths = [path for kind, path in entries if " blob " in kind and path.endswith(endings)]
            places = [posixpath.normpath(f"{posixpath.dirname(p)}/{links[p]}") if p in links else p for p in paths]
            contents = self._contents([f"{commit}:{place}" for place in places])
        return {path.removeprefix(prefix): content for path, content in zip(paths, contents, strict=True)}

    def resolve(self, name: str) -> str:
        """Return the full commit of a name, abbreviation or tag.

        Raises:
            GitError: There is no such commit.
        """
        with self.current():
            return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")

    def tree(self, commit: str, path: str) -> str:
        """Return the hash of a folder's content at a commit; empty when the folder is absent there."""
        try:
            return self.run("rev-parse", "--verify", "--quiet", f"{commit}:{path}")
        except GitError:
            return ""

    def contents(self, commits: Sequence[str], path: str) -> dict[str, str]:
        """Return the hash of a folder at each commit; commits that git does not have are left out."""
        with self.current():
            found = {commit: self.tree(commit, path) for commit in dict.fromkeys(commits) if commit}
        return {commit: content for commit, content in found.items() if content}

    def same_content(self, first: str, second: str, path: str) -> bool:
        """Tell whether a folder is the same at two commits, fetching what is not known yet."""
        with self.current():
            return bool(first and second) and self.tree(first, path) == self.tree(second, path) != ""

    def is_ancestor(self, first: str, second: str) -> bool:
        """Tell whether ``first`` is part of the history of ``second``; False when git cannot say."""
        with self.current():
            return first != second and self.is_ancestor_here(first, second)

    def is_ancestor_here(self, first: str, second: str) -> bool:
        """Tell the same of commits that the clone has, without fetching; the caller holds the clone."""
        try:
            self.run("merge-base", "--is-ancestor", first, second)
        except GitError:
            return False
        return True

    def restore(self, tree: Path, commit: str, path: str) -> None:
        """Make a folder of the work tree equal to a commit, files deleted since then included."""
        del tree  # the caller holds the clone; git works in it
        self.run("rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", path)
        self.run("checkout", "--quiet", commit, "--", path)


def repository(platform: Platform, *, author: str = AUTHOR) -> Repository:
    """Return the private clone that belongs to a platform; a repository on a host gets the token of the settings."""
    current = settings()
    return Repository(
        platform.gitops_repo,
        platform.gitops_branch,
        platform.home / "clones" / platform.name,
        author=author,
        before_change=partial(guard.check, platform),
        user=current.git_user,
        token=platform.gitops_token or current.git_token,
    )


def _deployment(content: str) -> Obj:
    """Return the Deployment of a file, empty when there is none or it cannot be read."""
    try:
        documents = manifests.parse_manifests(content, "deployment.yaml") if content else []
    except ManifestError:
        documents = []
    return next((document for document in documents if manifests.kind(document) == "Deployment"), {})


def _revision(row: Sequence[str], content: str) -> Revision:
    """Build a Revision from a log line and the Deployment at that commit."""
    deployment = _deployment(content)
    sha, committed, author, message = row
    return Revision(
        sha=sha,
        image=manifests.image_of(deployment),
        version=manifests.version_of(deployment),
        committed_at=datetime.fromisoformat(committed),
        author=author,
        message=message,
    )
