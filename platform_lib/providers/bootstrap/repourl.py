"""How do the files of ``gitops/`` come to name another repository? One line each; everything else stays as it is.

The files carry the address of a repository as a literal (docs/decisions/git-url.md). Who has a repository of their
own replaces it once, by ``rewrite_repo_url`` in a commit; ``mismatches`` says what a tree still lacks. Charts and
other people's repositories are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platform_lib.errors import InvalidInput, ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests

ROOT = "gitops/bootstrap/k3d/root.yaml"
FOLDER = "gitops"
INTERNAL = "http://git.apqx-system.svc/gitops.git"
"""What the files name as they come: a server in the cluster, which the embedded platform plays."""
_KEPT = "gitops/bootstrap/embedded"
"""The embedded platform has no network, so its root keeps the internal name."""
_SCP = re.compile(r"^[A-Za-z0-9_][\w.-]*@(?P<host>[A-Za-z0-9.-]+):(?P<path>[^\s:]+)$")
_HOST = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$")
_SCHEMES = ("https", "http", "ssh")
_HERE = ("localhost", "127.", "0.", "::1")


def check_url(url: str) -> str:
    """Return the address of a repository that Argo CD in a cluster can read.

    Raises:
        InvalidInput: It is none, carries a credential, or means this machine.
    """
    hint = "use an address such as https://github.com/you/apqx.git, and a token as a reference in APQX_GIT_TOKEN"
    scp = _SCP.match(url)
    try:
        parts = urlsplit(url)
    except ValueError as error:  # an open bracket; the text may hold a credential and is not repeated
        raise InvalidInput(
            f"repository address - {error}, expected an https, http or ssh address", hint=hint
        ) from error
    shown = url if "@" not in url or scp else f"{parts.scheme}://...@{parts.netloc.rpartition('@')[2]}{parts.path}"
    host = scp["host"] if scp else _hostname(parts)
    if not scp and (parts.scheme not in _SCHEMES or not host or len(parts.path) < 2 or parts.query or parts.fragment):
        raise InvalidInput(f"repository {shown!r} - expected an https, http or ssh address with a path", hint=hint)
    if not scp and (parts.password is not None or (parts.username is not None and parts.scheme != "ssh")):
        raise InvalidInput(
            f"repository {shown!r} - carries a credential, expected none: the address is committed and logged",
            hint=hint,
        )
    if host.startswith(_HERE) or host.endswith(".localhost") or not _HOST.match(host.lower()):
        raise InvalidInput(
            f"repository {shown!r} - host {host!r} is unknown inside a cluster, expected a name Argo CD can resolve",
            hint=hint,
        )
    return url


def _hostname(parts: Any) -> str:
    """Return the host of a URL; empty when its port is no number."""
    try:
        _ = parts.port
    except ValueError:
        return ""
    return str(parts.hostname or "")


def rewrite_repo_url(tree: Path, url: str, *, branch: str = "main") -> list[str]:
    """Write another repository into every Application and AppProject that names the present one.

    Args:
        tree: Folder that holds ``gitops/``.
        url: Address of the repository, without credentials.
        branch: Branch that Argo CD follows there.

    Returns:
        The files that changed, relative to ``tree``; empty when all of them name it already.

    Raises:
        InvalidInput: The address cannot be used, or the tree holds no root Application.
        ManifestError: A file still names another repository afterwards: it spells it in a way that is not a plain line.
    """
    check_url(url)
    old_url, old_branch = own(tree)
    changed = {}
    for path in _files(tree):
        before = path.read_text()
        after = _rewritten(before, old_url, url, old_branch, branch)
        if after != before:
            changed[path] = after
    for path, text in changed.items():
        path.write_text(text)
    left = mismatches(tree, url, branch=branch, known=(old_url,))
    if left:
        raise ManifestError(left[0], hint="write it as a plain line, or change that line by hand", path=left[0])
    return [str(path.relative_to(tree)) for path in changed]


def own(tree: Path) -> tuple[str, str]:
    """Return repository and branch that the root Application of a tree names.

    Raises:
        InvalidInput: There is no root Application.
    """
    path = tree / ROOT
    if not path.is_file():
        raise InvalidInput(
            f"{ROOT} - absent in the repository, expected the root Application",
            hint="push this project's gitops/ folder there first",
        )
    (root,) = manifests.parse_manifests(path.read_text(), ROOT)[:1]
    source = manifests.spec(root).get("source") or {}
    return str(source.get("repoURL") or ""), str(source.get("targetRevision") or "")


def mismatches(tree: Path, url: str, *, branch: str = "main", known: tuple[str, ...] = ()) -> list[str]:
    """Say which files do not follow a repository and branch, one sentence each.

    Args:
        tree: Folder that holds ``gitops/``.
        url: The repository.
        branch: Its branch.
        known: Other addresses of the same repository, which must not stay; default: what the root names.
    """
    own_urls = {*known, own(tree)[0]}
    found = []
    for path in _files(tree):
        name = str(path.relative_to(tree))
        for obj in _documents(path, name):
            for place, seen, revision in _named(obj):
                if seen in own_urls and seen != url:
                    found.append(f"{name} - {place} is {seen}, expected {url}")
                elif seen == url and revision not in (None, branch):
                    found.append(f"{name} - targetRevision is {revision}, expected {branch}")
    return found


def with_repo_url(obj: Obj, old_url: str, url: str, branch: str) -> Obj:
    """Return an Application or AppProject with another repository in it; for objects that are applied by hand."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            changed = {key: walk(item) for key, item in value.items()}
            if value.get("repoURL") == old_url and "targetRevision" in value:
                changed["targetRevision"] = branch
            return changed
        if isinstance(value, list):
            return [walk(item) for item in value]
        return url if value == old_url else value

    result: Obj = walk(obj)
    return result


def _files(tree: Path) -> list[Path]:
    """Return the manifests of a tree."""
    found = sorted(path for path in (tree / FOLDER).rglob("*.yaml") if path.is_file() and not path.is_symlink())
    return [path for path in found if not path.is_relative_to(tree / _KEPT)]


def _documents(path: Path, name: str) -> list[Obj]:
    """Return the objects of a file that may name a repository; other files need not be manifests."""
    text = path.read_text()
    return manifests.parse_manifests(text, name) if "argoproj.io" in text else []


def _named(obj: Any) -> Iterator[tuple[str, str, str | None]]:
    """Yield (field, address, branch) of every place in an object that names a repository."""
    if isinstance(obj, dict):
        if isinstance(obj.get("repoURL"), str):
            yield "repoURL", obj["repoURL"], None if "chart" in obj else str(obj.get("targetRevision") or "")
        for seen in obj.get("sourceRepos") or ():
            yield "sourceRepos", str(seen), None
        for value in obj.values():
            yield from _named(value)
    elif isinstance(obj, list):
        for value in obj:
            yield from _named(value)


def _rewritten(text: str, old_url: str, url: str, old_branch: str, branch: str) -> str:
    """Return a file's text with the address replaced, and the branch in the lines beside it."""
    address = re.compile(rf"""^(\s*(?:-\s+)?(?:repoURL:\s*|-\s+)?)(["']?){re.escape(old_url)}\2(\s*(?:#.*)?)$""")
    revision = re.compile(rf"""^(\s*(?:-\s+)?targetRevision:\s*)(["']?){re.escape(old_branch)}\2(\s*(?:#.*)?)$""")
    lines = text.split("\n")
    hits = [index for index, line in enumerate(lines) if address.match(line)]
    for index in hits:
        lines[index] = address.sub(lambda m: f"{m[1]}{m[2]}{url}{m[2]}{m[3]}", lines[index])
    if old_branch != branch:
        for near in {index + step for index in hits for step in (-2, -1, 1, 2)} & set(range(len(lines))):
            lines[near] = revision.sub(lambda m: f"{m[1]}{m[2]}{branch}{m[2]}{m[3]}", lines[near])
    return "\n".join(lines)
