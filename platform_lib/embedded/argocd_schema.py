"""What shape have Argo CD's own resources? Structural schemas in the form a CRD carries.

Checked strictly where a typing error would change what is deployed (``spec``, ``destination``,
``syncPolicy``); the insides of tool settings and of status are kept as they come.
"""

from __future__ import annotations

from typing import Any

_OPEN: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TEXT: dict[str, Any] = {"type": "string"}
_FLAG: dict[str, Any] = {"type": "boolean"}
_COUNT: dict[str, Any] = {"type": "integer", "format": "int64"}


def _list(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _map(**fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


_TEXTS = _list(_TEXT)
_TEXT_MAP: dict[str, Any] = {"type": "object", "additionalProperties": _TEXT}
_PAIRS = _list(_map(name=_TEXT, value=_TEXT) | {"required": ["name", "value"]})
_GROUP_KINDS = _list(_map(group=_TEXT, kind=_TEXT, name=_TEXT) | {"required": ["group", "kind"]})

_SOURCE = _map(
    repoURL=_TEXT,
    path=_TEXT,
    targetRevision=_TEXT,
    chart=_TEXT,
    ref=_TEXT,
    name=_TEXT,
    helm=_OPEN,
    kustomize=_OPEN,
    directory=_map(recurse=_FLAG, include=_TEXT, exclude=_TEXT, jsonnet=_OPEN),
    plugin=_OPEN,
) | {"required": ["repoURL"]}

_BACKOFF = _map(duration=_TEXT, factor=_COUNT, maxDuration=_TEXT)
_RETRY = _map(limit=_COUNT, backoff=_BACKOFF, refresh=_FLAG)

_SYNC_POLICY = _map(
    automated=_map(enabled=_FLAG, prune=_FLAG, selfHeal=_FLAG, allowEmpty=_FLAG),
    syncOptions=_TEXTS,
    retry=_RETRY,
    managedNamespaceMetadata=_map(labels=_TEXT_MAP, annotations=_TEXT_MAP),
)

_IGNORED = _map(
    group=_TEXT,
    kind=_TEXT,
    name=_TEXT,
    namespace=_TEXT,
    jsonPointers=_TEXTS,
    jqPathExpressions=_TEXTS,
    managedFieldsManagers=_TEXTS,
) | {"required": ["kind"]}

_DESTINATION = _map(server=_TEXT, namespace=_TEXT, name=_TEXT)

_APPLICATION_SPEC = _map(
    project=_TEXT,
    source=_SOURCE,
    sources=_list(_SOURCE),
    sourceHydrator=_OPEN,
    destination=_DESTINATION,
    syncPolicy=_SYNC_POLICY,
    ignoreDifferences=_list(_IGNORED),
    info=_PAIRS,
    revisionHistoryLimit=_COUNT,
) | {"required": ["destination", "project"]}

_OPERATION = _map(
    initiatedBy=_map(username=_TEXT, automated=_FLAG),
    info=_PAIRS,
    retry=_RETRY,
    sync=_OPEN,
)

_APPLICATION = _map(spec=_APPLICATION_SPEC, operation=_OPERATION, status=_OPEN) | {"required": ["spec"]}

_PROJECT_SPEC = _map(
    description=_TEXT,
    sourceRepos=_TEXTS,
    sourceNamespaces=_TEXTS,
    destinations=_list(_DESTINATION),
    clusterResourceWhitelist=_GROUP_KINDS,
    clusterResourceBlacklist=_GROUP_KINDS,
    namespaceResourceWhitelist=_GROUP_KINDS,
    namespaceResourceBlacklist=_GROUP_KINDS,
    orphanedResources=_OPEN,
    permitOnlyProjectScopedClusters=_FLAG,
    roles=_list(_OPEN),
    signatureKeys=_list(_OPEN),
    syncWindows=_list(_OPEN),
    destinationServiceAccounts=_list(_OPEN),
)

BODIES: dict[str, dict[str, Any]] = {
    "argoproj.io/v1alpha1/Application": _APPLICATION,
    "argoproj.io/v1alpha1/AppProject": _map(spec=_PROJECT_SPEC, status=_OPEN) | {"required": ["spec"]},
}
"""Schema of each kind by ``apiVersion/Kind``."""
