"""How does the library change desired state? With the git program, in a private clone, by small commits.

Each change fetches, resets the private clone to the remote branch, applies the edit and pushes; when
somebody pushed first, it does so again on top of theirs. What to write into a manifest is decided in
``wire.manifest_edit``; who rolls back to what in ``rules.history``.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from platform_lib import guard
from platform_lib.errors import GitError, Locked, ManifestError, ToolMissing
from platform_lib.model import App, Obj, Platform, Revision
from platform_lib.rules import manifests

AUTHOR = "apqx <apqx@localhost>"
_TIMEOUT_S = 60.0
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
    """

    def __init__(
        self,
        remote: str,
        branch: str,
        clone: Path,
        *,
        author: str = AUTHOR,
        before_change: Callable[[str], None] = lambda _what: None,
    ) -> None:
        self.remote, self.branch, self.clone = remote, branch, clone
        self._before_change = before_change
        self.author_name, _, mail = author.partition(" <")
        self.author_mail = mail.rstrip(">") or "apqx@localhost"

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
                self.run("fetch", "--quiet", "--prune", "origin", self.branch)
                self.run("reset", "--quiet", "--hard", "FETCH_HEAD")
                self.run("clean", "-qfdx")
                return
            except GitError as error:
                if "not a git repository" not in str(error) and "corrupt" not in str(error):
                    raise
        shutil.rmtree(self.clone, ignore_errors=True)
        self._git("clone", "--quiet", "--branch", self.branch, self.remote, str(self.clone), folder=None)

    def change(self, edit: Callable[[Path], str | None]) -> str | None:
        """Apply an edit on top of the newest commit, commit and push it.

        Args:
            edit: Gets the work tree, changes files and returns the commit message, or None for no change.
                Called again on a fresh tree when somebody else pushed meanwhile.

        Returns:
            The new commit, or None when the edit changed nothing.

        Raises:
            GitError: The push was refused for another reason, or was overtaken five times.
        """
        self._before_change(f"a push to {self.branch}")
        for attempt in range(1, _PUSH_ATTEMPTS + 1):
            with self.current() as tree:
                message = edit(tree)
                self.run("add", "--all")
                if message is None or not self.run("status", "--porcelain"):
                    return None
                self.run("commit", "--quiet", "--no-verify", "-m", message)
                commit = self.run("rev-parse", "HEAD")
                if self._pushed(last=attempt == _PUSH_ATTEMPTS):
                    return commit
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _pushed(self, *, last: bool) -> bool:
        """Push; False when somebody else was faster and another attempt is left."""
        try:
            self.run("push", "--quiet", "origin", f"HEAD:refs/heads/{self.branch}")
        except GitError as error:
            text = str(error.context.get("stderr", ""))
            overtaken = any(word in text for word in ("fetch first", "non-fast-forward", "cannot lock ref"))
            if overtaken and not last:
                return False
            raise GitError(
                f"push to branch {self.branch} - refused: {_tail(text)}",
                hint="check that the repository accepts pushes from here (hooks, rights), then run again",
                command="push",
                stderr=text,
            ) from error
        return True

    def head(self) -> str:
        """Return the newest commit of the remote branch without changing the clone."""
        answer = self._git("ls-remote", self.remote, f"refs/heads/{self.branch}", folder=None)
        if not answer:
            raise GitError(
                f"branch {self.branch} - absent in {self.remote}, expected to exist",
                hint="push the desired state first",
                command="ls-remote",
                stderr="",
            )
        return answer.split()[0]

    def run(self, *arguments: str) -> str:
        """Run git in the clone and return its output without the last line end."""
        return self._git(*arguments, folder=self.clone)

    def _git(self, *arguments: str, folder: Path | None, stdin: str | None = None) -> str:
        """Run git with a clean environment, no prompt and a deadline."""
        program = shutil.which("git")
        if program is None:
            raise ToolMissing("git - not found on PATH, it is needed", hint="install git")
        command = [program, *self._options(), *(["-C", str(folder)] if folder else []), *arguments]
        try:
            done = subprocess.run(
                command,
                env=self._environment(program),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(arguments, f"no answer within {_TIMEOUT_S:.0f} s") from error
        if done.returncode:
            raise _failed(arguments, done.stderr or done.stdout)
        return done.stdout.rstrip("\n")

    def _options(self) -> list[str]:
        """Return the configuration that every call needs, whatever the user's own says."""
        pairs = (
            ("user.name", self.author_name),
            ("user.email", self.author_mail),
            ("commit.gpgsign", "false"),
            ("core.hooksPath", os.devnull),
            ("core.autocrlf", "false"),
            ("gc.auto", "0"),
            ("advice.detachedHead", "false"),
        )
        return [part for key, value in pairs for part in ("-c", f"{key}={value}")]

    def _environment(self, program: str) -> dict[str, str]:
        """Return an environment without the caller's git variables; a URL keeps the user's credentials."""
        clean = {
            "PATH": os.pathsep.join((str(Path(program).parent), os.defpath)),
            "HOME": str(Path.home()),
            "LC_ALL": "C.UTF-8",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
        }
        local = "://" not in self.remote and not self.remote.startswith("git@")
        return clean | ({"GIT_CONFIG_GLOBAL": os.devnull} if local else {})

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
            known = bool(since) and self._on_branch(since)
            span = f"{since}..HEAD" if known else "HEAD"
            form = "--format=%x1e%H%x1f%cI%x1f%an%x1f%B%x1f"
            text = self.run("log", "--reverse", f"--max-count={limit}", "--name-only", form, span)
        rows = [entry.split("\x1f") for entry in text.split("\x1e") if entry.strip()]
        return [
            {"commit": sha, "committed_at": at, "author": author, "message": body.strip(), "files": files.split()}
            for sha, at, author, body, files in rows
        ]

    def _on_branch(self, commit: str) -> bool:
        """Whether the clone has a commit and its branch contains it."""
        try:
            self.run("merge-base", "--is-ancestor", commit, "HEAD")
        except GitError:
            return False
        return True

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
            try:
                self.run("merge-base", "--is-ancestor", first, second)
            except GitError:
                return False
        return first != second

    def restore(self, tree: Path, commit: str, path: str) -> None:
        """Make a folder of the work tree equal to a commit, files deleted since then included."""
        del tree  # the caller holds the clone; git works in it
        self.run("rm", "-r", "--quiet", "--force", "--ignore-unmatch", "--", path)
        self.run("checkout", "--quiet", commit, "--", path)


def repository(platform: Platform, *, author: str = AUTHOR) -> Repository:
    """Return the private clone that belongs to a platform."""
    return Repository(
        platform.gitops_repo,
        platform.gitops_branch,
        platform.home / "clones" / platform.name,
        author=author,
        before_change=partial(guard.check, platform),
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


def _failed(arguments: Sequence[str], stderr: str) -> GitError:
    """Build the error of a failed command."""
    command = arguments[0]
    return GitError(
        f"git {command} - failed: {_tail(stderr)}",
        hint="see that the repository exists and can be reached",
        command=command,
        stderr=stderr[-2000:],
    )


def _tail(text: str) -> str:
    """Return the lines of git's answer that say something, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("hint:")]
    return "; ".join(lines[-6:]) or "no message"
