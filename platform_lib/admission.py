"""What would the cluster's gatekeepers say of the files here? Admission policies and the canary's questions, offline.

The rules are in ``rules.policies`` and ``rules.analysis``; this module reads the files they need.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from platform_lib import metrics, slo
from platform_lib.errors import InvalidInput
from platform_lib.model import App, Obj
from platform_lib.rules import analysis, manifests
from platform_lib.rules import policies as rules
from platform_lib.settings import settings

POLICIES = "gitops/policies"
ANALYSIS = "gitops/addons/argo-rollouts/sample-app/analysistemplate.yaml"
VERSION_QUERY = "app_error_ratio"
"""Name in ``queries.toml`` of what is asked about the new version alone."""
_NO_MANIFESTS = ("gitops/slo", "kustomization.y")
_HEADER = """\
# Generated from gitops/slo and queries.toml by `apqx addon analysis --write`; a test compares them. Do not edit.
# yamllint disable rule:line-length
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was asked and what was found.

    Attributes:
        policies: How many were asked.
        pods: Objects that are pods or make them.
        violations: Every broken rule.
        unjudged: Objects with pods in namespaces that no policy selects; nobody approved them.
    """

    policies: int
    pods: int
    violations: tuple[rules.Violation, ...]
    unjudged: tuple[str, ...] = ()


def check(folder: Path | None = None) -> Checked:
    """Ask every policy of the project about every manifest of a folder.

    Args:
        folder: Default ``gitops`` of the project. Namespaces in it, and those of the project, say which policies
            hold where.

    Raises:
        InvalidInput: There are no policies, or no manifests, so nothing could have been refused.
        ManifestError: A file cannot be read, or a policy is not understood whole.
        ToolMissing: cel-python is absent.
    """
    project = settings().project_dir
    known = [rules.parse(obj, source=path.name) for path, obj in _objects(project / POLICIES)]
    found = [obj for _, obj in _objects(folder or project / "gitops")]
    if not known or not found:
        raise InvalidInput(
            f"{folder or 'gitops'} - {len(known)} policies and {len(found)} manifests, expected some of each",
            hint="name a folder with manifests, and set APQX_PROJECT_DIR to the project",
        )
    pods = sum(rules.pod_of(obj) is not None for obj in found)
    own = [obj for _, obj in _objects(project / "gitops")] if folder else []
    violations, unjudged = rules.check(known, found, namespaces=own)
    return Checked(len(known), pods, tuple(violations), tuple(unjudged))


def _objects(folder: Path) -> list[tuple[Path, Obj]]:
    """Return the objects below a folder with their files; what nobody applies is left out."""
    files = sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")])
    paths = [path for path in files if not any(no in str(path) for no in _NO_MANIFESTS)]
    return [(path, obj) for path in paths for obj in manifests.parse_manifests(path.read_text(), str(path))]


def analysis_manifest(app: App | None = None) -> str:
    """Return the AnalysisTemplate of an application, as it is committed."""
    query = metrics.queries()[VERSION_QUERY].promql
    body = analysis.template(app or App(), slo.load().values(), version_query=query)
    return f"{_HEADER}{slo.spec.dump(body)}"
