"""Which files does a revision of the desired state hold? Reads one bare git repository through the git program.

No checkout is needed. Which of the files are manifests is decided in ``render``.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from platform_lib.errors import GitError, ToolMissing

_SHA = re.compile(r"^[0-9a-f]{40}$")
_MAX_LINKS = 5
_KEPT_TREES = 64


class Entry(NamedTuple):
    """One line of a git tree listing, path relative to the listed folder."""

    path: str
    mode: str
    blob: str


class Repository:
    """One bare repository that is known to Applications by a URL.

    Args:
        git_dir: The bare repository.
        url: The URL that Applications name it by; any other URL is refused, because nothing is downloaded.
    """

    def __init__(self, git_dir: Path, url: str) -> None:
        self.git_dir = git_dir
        self.url = url
        self._git: str | None = None
        self._resolved: tuple[object, dict[str, str]] = ((), {})
        self._trees: dict[str, str] = {}

    def serves(self, url: str) -> bool:
        """Tell whether a ``repoURL`` names this repository (a trailing ``.git`` or slash does not count)."""
        return _plain(url) == _plain(self.url)

    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Return something that changes whenever a branch or tag moves; costs a few ``stat`` calls."""
        found: list[tuple[str, int, int]] = []
        fixed = (self.git_dir / name for name in ("HEAD", "packed-refs", "reftable/tables.list"))
        for path in (*fixed, *self.git_dir.glob("refs/**/*")):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            found.append((str(path), stat.st_mtime_ns, stat.st_ino))
        return tuple(found)

    async def resolve(self, wanted: str) -> str:
        """Return the commit of a branch, tag, abbreviated or full commit id; empty means ``HEAD``.

        Raises:
            GitError: There is no such revision, or the repository cannot be read.
        """
        name = wanted or "HEAD"
        if _SHA.match(name):
            return name
        signature = self.signature()  # before git reads: an older signature is found outdated and read again
        if self._resolved[0] != signature:
            self._resolved = (signature, {})
        known = self._resolved[1]
        if name not in known:
            known[name] = await self._resolve(name)
        return known[name]

    async def _resolve(self, name: str) -> str:
        """Ask git for the commit of a name."""
        try:
            output = await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
        except GitError as error:
            raise GitError(
                f"unable to resolve '{name}' to a commit SHA", hint="push that branch or tag", stderr=error.stderr
            ) from error
        return output.decode().strip()

    async def tree(self, revision: str, path: str) -> str:
        """Return the id of a folder's content: equal ids mean equal files.

        Raises:
            GitError: The revision or the folder does not exist.
        """
        folder = _clean(path)
        wanted = f"{revision}:{folder}" if folder else f"{revision}^{{tree}}"
        if wanted not in self._trees:
            self._trees[wanted] = await self._tree(wanted, path, revision)
            if len(self._trees) > _KEPT_TREES:
                self._trees.pop(next(iter(self._trees)))
        return self._trees[wanted]

    async def _tree(self, wanted: str, path: str, revision: str) -> str:
        """Ask git for the id of a folder."""
        try:
            output = await self._run("rev-parse", "--verify", "--quiet", "--end-of-options", wanted)
        except GitError as error:
            raise GitError(
                f"{path}: app path does not exist in {revision[:7]}",
                hint="correct spec.source.path",
                stderr=error.stderr,
            ) from error
        return output.decode().strip()

    async def files(self, tree: str, *, recurse: bool) -> dict[str, str]:
        """Read the text of every file of a folder.

        Args:
            tree: What ``tree`` returned.
            recurse: Whether sub-folders count.

        Returns:
            Path relative to the folder -> text, in lexical order; files that are not UTF-8 are left out.

        Raises:
            GitError: The content cannot be read, or a symbolic link leaves the folder.
        """
        entries = await self._entries(tree, recurse=recurse)
        blobs = await self._blobs([entry.blob for entry in entries])
        found = {}
        for entry in sorted(entries):
            content = blobs[entry.blob]
            if entry.mode == "120000":
                content = await self._linked(tree, entry.path, content)
            try:
                found[entry.path] = content.decode()
            except UnicodeDecodeError:
                continue
        return found

    async def _entries(self, tree: str, *, recurse: bool) -> list[Entry]:
        """List the files of a tree."""
        flags = ["-r"] if recurse else []
        output = await self._run("ls-tree", "-z", *flags, tree)
        entries = []
        for line in filter(None, output.decode(errors="surrogateescape").split("\0")):
            mode, kind, rest = line.split(" ", 2)
            blob, path = rest.split("\t", 1)
            if kind == "blob":
                entries.append(Entry(path, mode, blob))
        return entries

    async def _blobs(self, ids: list[str]) -> dict[str, bytes]:
        """Read many blobs with one process."""
        if not ids:
            return {}
        output = await self._run("cat-file", "--batch", stdin="\n".join(ids).encode() + b"\n")
        found, position = {}, 0
        for wanted in ids:
            end = output.index(b"\n", position)
            header = output[position:end].split()
            if len(header) != 3:
                raise GitError(f"git object {wanted} is missing", hint="check the repository with git fsck")
            size = int(header[2])
            found[wanted] = output[end + 1 : end + 1 + size]
            position = end + 2 + size
        return found

    async def _linked(self, tree: str, path: str, target: bytes) -> bytes:
        """Follow a symbolic link inside the folder."""
        for _ in range(_MAX_LINKS):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target.decode(errors="replace")))
            if path.startswith(("../", "/")) or path == "..":
                break
            mode_line = (await self._run("ls-tree", tree, "--", path)).decode()
            if not mode_line:
                break
            target = await self._run("cat-file", "blob", mode_line.split()[2])
            if not mode_line.startswith("120000"):
                return target
        raise GitError(f"{path}: symbolic link leaves the folder or leads nowhere", hint="replace it with a file")

    async def _run(self, *arguments: str, stdin: bytes | None = None) -> bytes:
        """Run git on the repository with a clean environment; return what it printed."""
        git = self._program()
        process = await asyncio.create_subprocess_exec(
            git,
            *("-c", f"safe.directory={self.git_dir}", f"--git-dir={self.git_dir}", *arguments),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={
                "PATH": f"{Path(git).parent}:/usr/bin:/bin",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
                "GIT_OPTIONAL_LOCKS": "0",
                "LC_ALL": "C",
            },
        )
        output, errors = await process.communicate(stdin)
        if process.returncode:
            said = errors.decode(errors="replace").strip()[:500]
            raise GitError(f"git {arguments[0]} - {said or 'failed'}", command=arguments[0], stderr=said)
        return output

    def _program(self) -> str:
        """Find git once."""
        if self._git is None:
            self._git = shutil.which("git")
        if self._git is None:
            raise ToolMissing("git - not found on PATH", hint="install git and bring the platform up again")
        return self._git


def _plain(url: str) -> str:
    """Return a repository URL without the parts that do not matter."""
    return url.rstrip("/").removesuffix(".git").lower()


def _clean(path: str) -> str:
    """Return a folder inside the repository; empty for its root."""
    folder = posixpath.normpath("/" + path).lstrip("/")
    return "" if folder == "." else folder
