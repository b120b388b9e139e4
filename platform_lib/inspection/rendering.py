"""What does git ask for at a revision? Reads a folder of the GitOps repository and renders it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from platform_lib.errors import GitError, InvalidInput
from platform_lib.inspection.lookup import Kinds
from platform_lib.model import Obj, Platform
from platform_lib.rules import manifests
from platform_lib.rules import rendering as rules
from platform_lib.wire.git import Repository, repository

_REVISION = re.compile(r"[\w][\w./@^~+-]*")
_ENDINGS = (".yaml", ".yml", ".json", "Kustomization")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an Application wants at a commit."""

    revision: str
    rendered: rules.Rendered


def resolve(repo: Repository, revision: str) -> str:
    """Return the commit of a name: commit, branch, tag, or ``pull/12/head``; the remote's word counts.

    Raises:
        InvalidInput: It is no name of a revision, or neither the remote nor the clone has it.
    """
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidInput(
            f"revision {revision!r} - a commit, branch or tag was expected", hint="for example main, or a commit"
        )
    with repo.current():
        if not _COMMIT.fullmatch(revision):
            try:
                repo.run("fetch", "--quiet", "origin", "--", revision)
                return repo.run("rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
            except GitError as error:
                missing = "couldn't find remote ref" in str(error.context.get("stderr")) or not {
                    "~",
                    "^",
                    "@",
                }.isdisjoint(revision)
                if not missing:
                    raise
        try:
            return repo.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        except GitError as error:
            raise InvalidInput(
                f"revision {revision} - unknown to {repo.remote}, an existing commit, branch or tag was expected",
                hint="push it first, or see git log",
            ) from error


def render(platform: Platform, application: Obj, kinds: Kinds, *, revision: str) -> Wanted:
    """Render the folder of an Application at a commit.

    Args:
        platform: Where its repository is.
        application: Whose source and destination count.
        kinds: Which kinds are namespaced.
        revision: Full commit.

    Raises:
        InvalidInput: Another repository, several sources, or a tool that only Argo CD has.
        ManifestError: A manifest cannot be read.
    """
    name, source = manifests.name(application), rules.source_of(application)
    if source["repoURL"] != platform.gitops_url:
        raise InvalidInput(
            f"{name} - comes from {source['repoURL']}, this platform's repository is {platform.gitops_url}",
            hint="only what is in the platform's own repository can be rendered here",
        )
    folder = posixpath.normpath(f"/{source.get('path') or ''}").strip("/")
    files = repository(platform).files(revision, folder, _ENDINGS)
    if not files:
        raise InvalidInput(
            f"{name} - folder {folder or '/'} is absent at {revision[:7]}, manifests were expected",
            hint="name a revision that has it",
        )
    directory = source.get("directory") or {}
    tool = rules.tool_of(source, files)
    if tool != "directory":
        raise InvalidInput(
            f"{name} - folder {folder or '/'} is rendered by {tool}, a directory of manifests was expected",
            hint=f"only Argo CD renders {tool} the way it deploys it; see argocd app diff {name}",
        )
    chosen = {file: files[file] for file in rules.selected(files, directory)}
    namespace = str((manifests.spec(application).get("destination") or {}).get("namespace") or "")
    return Wanted(revision, rules.placed(rules.objects_of(chosen), name, namespace, kinds.namespaced))
