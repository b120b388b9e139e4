"""What is wanted, what is live, and what may be? Reads git and the cluster for one Application.

Gathers; ``compare`` and ``engine`` judge.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from platform_lib.embedded.argocd import project as projects
from platform_lib.embedded.argocd.cluster import Cluster
from platform_lib.embedded.argocd.compare import Comparison, Pair, pair_up, shared_warnings
from platform_lib.embedded.argocd.differ import Differ
from platform_lib.embedded.argocd.render import Rendered, place, read_objects, refuse_other_tools, select_files
from platform_lib.embedded.argocd.repository import Repository
from platform_lib.errors import GitError, ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

API_VERSION = "argoproj.io/v1alpha1"
_KEPT_RENDERINGS = 4


class Observer:
    """Reads for one Application; remembers parsed folders and differences.

    Args:
        cluster: View of the API.
        repository: The only repository that is served.
    """

    def __init__(self, cluster: Cluster, repository: Repository) -> None:
        self._cluster, self._repository = cluster, repository
        self.differ = Differ(cluster)
        self._parsed: dict[tuple[str, str], list[Obj]] = {}
        self.keys: set[m.ObjectKey] = set()
        """Keys of the objects that the last look was about."""

    def project(self, app: Obj) -> Obj | None:
        """Return the AppProject of an Application; None where it does not exist."""
        return self._cluster.get(m.ObjectKey("argoproj.io", "AppProject", m.namespace(app), projects.project_name(app)))

    def spec_errors(self, app: Obj) -> list[str]:
        """Say what is wrong with the specification."""
        return projects.spec_errors(app, self.project(app))

    async def revision(self, source: dict[str, Any], wanted: str) -> str:
        """Resolve a revision of a source.

        Raises:
            GitError: Unknown repository or revision.
        """
        url = str(source.get("repoURL") or "")
        if not self._repository.serves(url):
            raise GitError(
                f"repository {url} is not served by this platform (only {self._repository.url})",
                hint="correct spec.source.repoURL",
            )
        return await self._repository.resolve(wanted or str(source.get("targetRevision") or ""))

    async def targets(self, app: Obj, source: dict[str, Any], revision: str) -> Rendered:
        """Render the wanted objects of a revision and follow their kinds.

        Raises:
            GitError: The folder cannot be read.
            ManifestError: A manifest is wrong.
        """
        objects = await self._objects(source, revision)
        await self.follow((str(obj["apiVersion"]), m.kind(obj)) for obj in objects)
        destination = str(projects.destination_of(app).get("namespace") or "")

        def namespaced(obj: Obj) -> bool | None:
            served = self._cluster.known(obj)
            return served.namespaced if served is not None else _namespaced_by(objects, obj)

        return place(objects, m.name(app), destination, namespaced)

    async def _objects(self, source: dict[str, Any], revision: str) -> list[Obj]:
        """Read and parse a folder; a folder that did not change is not parsed again."""
        path, directory = str(source.get("path") or ""), source.get("directory") or {}
        tree = await self._repository.tree(revision, path)
        key = tree, repr(sorted(directory.items()))
        if key not in self._parsed:
            files = await self._repository.files(tree, recurse=bool(directory.get("recurse")))
            refuse_other_tools(source, files)
            parsed = read_objects(select_files(files, directory))
            while len(self._parsed) >= _KEPT_RENDERINGS:
                self._parsed.pop(next(iter(self._parsed)))
            self._parsed[key] = parsed
        return self._parsed[key]

    async def follow(self, kinds: Iterable[tuple[str, str]]) -> None:
        """Follow kinds (api version, kind); unknown ones are skipped."""
        await asyncio.gather(*(self._cluster.follow(*kind) for kind in set(kinds)))

    async def follow_recorded(self, app: Obj) -> None:
        """Follow the kinds that an Application had before, so that what is no longer wanted is found."""
        kinds = set()
        for row in m.status(app).get("resources") or []:
            group, version = row.get("group") or "", row.get("version") or ""
            kinds.add((f"{group}/{version}" if group else version, str(row.get("kind") or "")))
        await self.follow(kinds)

    def pairs(self, app: Obj, targets: Iterable[Obj]) -> list[Pair]:
        """Join wanted and live objects, and mark what the project does not permit."""
        found = pair_up(targets, self._cluster.tracked(m.name(app)), self._cluster.get)
        self.keys = {pair.key for pair in found}
        project = self.project(app)
        return [
            Pair(p.target, p.live, p.modified, project is not None and not self.refusal(app, project, p.obj))
            for p in found
        ]

    def refusal(self, app: Obj, project: Obj, obj: Obj) -> str:
        """Say why the project does not permit an object; empty when it does."""
        served = self._cluster.known(obj)
        namespaced = served.namespaced if served is not None else bool(m.namespace(obj))
        return projects.object_refusal(project, app, obj, namespaced=namespaced)

    async def compare(self, app: Obj, revision: str) -> Comparison:
        """Compare an Application with what is live.

        Args:
            app: The Application.
            revision: Commit to compare with; empty resolves ``targetRevision``.
        """
        errors = self.spec_errors(app)
        if errors:
            return Comparison(
                "", conditions=tuple(("InvalidSpecError", text) for text in errors), failed=True, invalid=True
            )
        await self.follow_recorded(app)
        source = projects.source_of(app)
        try:
            revision = revision or await self.revision(source, "")
            rendered = await self.targets(app, source, revision)
            pairs = await self.differ.judge(app, self.pairs(app, rendered.targets))
        except (GitError, ManifestError) as error:
            text = f"Failed to load target state: failed to generate manifest for source 1 of 1: {error.message}"
            live = tuple(self.pairs(app, ()))
            return Comparison("", live, (("ComparisonError", text),), failed=True)
        conditions = (*rendered.warnings, *shared_warnings(m.name(app), pairs))
        return Comparison(revision, tuple(pairs), conditions, namespace_changed=_namespace_changed(app))


def namespace_metadata(app: Obj) -> Obj:
    """Return the labels and annotations that the destination's namespace is to carry."""
    found = (m.spec(app).get("syncPolicy") or {}).get("managedNamespaceMetadata") or {}
    return {name: found[name] for name in ("labels", "annotations") if found.get(name)}


def _namespace_changed(app: Obj) -> bool:
    """Tell whether those labels changed since the last sync."""
    result = (m.status(app).get("operationState") or {}).get("syncResult") or {}
    wanted = namespace_metadata(app)
    return bool(wanted and result) and result.get("managedNamespaceMetadata") != wanted


def _namespaced_by(objects: Iterable[Obj], obj: Obj) -> bool | None:
    """Find the scope of a kind in a definition that comes with the same manifests."""
    group, _, kind = m.gvk(obj)
    for definition in objects:
        spec = m.spec(definition)
        names = spec.get("names") or {}
        if m.kind(definition) == "CustomResourceDefinition" and (spec.get("group"), names.get("kind")) == (group, kind):
            return spec.get("scope") == "Namespaced"
    return None
