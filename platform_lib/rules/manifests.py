"""What does a Kubernetes object say about itself? Accessors, parsing, tracking and order of manifests.

Pure functions over decoded JSON. Whether an object is healthy belongs to ``rules.health``; reading files and
talking to an API belong elsewhere.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from platform_lib.errors import ManifestError
from platform_lib.model import Obj

TRACKING_ANNOTATION = "argocd.argoproj.io/tracking-id"
SYNC_WAVE_ANNOTATION = "argocd.argoproj.io/sync-wave"
SYNC_OPTIONS_ANNOTATION = "argocd.argoproj.io/sync-options"
COMPARE_OPTIONS_ANNOTATION = "argocd.argoproj.io/compare-options"
HOOK_ANNOTATION = "argocd.argoproj.io/hook"
HOOK_DELETE_ANNOTATION = "argocd.argoproj.io/hook-delete-policy"
VERSION_LABEL = "app.kubernetes.io/version"

HELM_HOOKS = {
    "pre-install": "PreSync",
    "pre-upgrade": "PreSync",
    "post-install": "PostSync",
    "post-upgrade": "PostSync",
    "pre-delete": "PreDelete",
    "post-delete": "PostDelete",
}

KIND_ORDER = (
    "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodSecurityPolicy", "PodDisruptionBudget",
    "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume",
    "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleList",
    "ClusterRoleBinding", "ClusterRoleBindingList", "Role", "RoleList", "RoleBinding", "RoleBindingList",
    "Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment",
    "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
)  # fmt: skip
"""Order in which kinds are applied; kinds that are not named come last."""

_RANK = {kind: rank for rank, kind in enumerate(KIND_ORDER)}


class ObjectKey(NamedTuple):
    """What identifies an object in a cluster, whatever version it is read in."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}/{self.kind}/{self.name}"


class Tracking(NamedTuple):
    """The parts of a tracking id: which application, and which object it was written for."""

    app: str
    key: ObjectKey


def metadata(obj: Obj) -> dict[str, Any]:
    """Return ``metadata``, or an empty dict."""
    found: dict[str, Any] = obj.get("metadata") or {}
    return found


def name(obj: Obj) -> str:
    """Return the object's name, or an empty text."""
    return str(metadata(obj).get("name") or "")


def namespace(obj: Obj) -> str:
    """Return the object's namespace; empty for a cluster-wide object."""
    return str(metadata(obj).get("namespace") or "")


def kind(obj: Obj) -> str:
    """Return the kind."""
    return str(obj.get("kind") or "")


def labels(obj: Obj) -> dict[str, str]:
    """Return the labels; do not change the answer."""
    found: dict[str, str] = metadata(obj).get("labels") or {}
    return found


def annotations(obj: Obj) -> dict[str, str]:
    """Return the annotations; do not change the answer."""
    found: dict[str, str] = metadata(obj).get("annotations") or {}
    return found


def uid(obj: Obj) -> str:
    """Return the uid the API gave the object, or an empty text."""
    return str(metadata(obj).get("uid") or "")


def resource_version(obj: Obj) -> str:
    """Return the version of this reading of the object."""
    return str(metadata(obj).get("resourceVersion") or "")


def generation(obj: Obj) -> int:
    """Return how often the specification changed; 0 where the API does not count."""
    return int(metadata(obj).get("generation") or 0)


def finalizers(obj: Obj) -> list[str]:
    """Return the finalizers."""
    return list(metadata(obj).get("finalizers") or [])


def deleting(obj: Obj) -> bool:
    """Tell whether the object is marked for deletion."""
    return bool(metadata(obj).get("deletionTimestamp"))


def spec(obj: Obj) -> dict[str, Any]:
    """Return ``spec``, or an empty dict."""
    found: dict[str, Any] = obj.get("spec") or {}
    return found


def status(obj: Obj) -> dict[str, Any]:
    """Return ``status``, or an empty dict."""
    found: dict[str, Any] = obj.get("status") or {}
    return found


def gvk(obj: Obj) -> tuple[str, str, str]:
    """Return (group, version, kind); the core group is empty."""
    group, _, version = str(obj.get("apiVersion") or "").rpartition("/")
    return group, version, kind(obj)


def key(obj: Obj) -> ObjectKey:
    """Return the key of the object."""
    group, _, of_kind = gvk(obj)
    return ObjectKey(group, of_kind, namespace(obj), name(obj))


def pod_template(obj: Obj) -> Obj:
    """Return what pods of this object look like: the pod itself, or the template of a workload."""
    if kind(obj) == "Pod":
        return obj
    inner = spec(obj)
    if kind(obj) == "CronJob":
        inner = (inner.get("jobTemplate") or {}).get("spec") or {}
    template: Obj = inner.get("template") or {}
    return template


def containers(obj: Obj) -> list[dict[str, Any]]:
    """Return the containers of a pod or of a workload's template, without init containers."""
    return list(spec(pod_template(obj)).get("containers") or [])


def images(obj: Obj) -> list[str]:
    """Return the image references of a pod or workload, init containers included, in order."""
    inner = spec(pod_template(obj))
    found = [*(inner.get("initContainers") or []), *(inner.get("containers") or [])]
    return [item["image"] for item in found if item.get("image")]


def image_of(obj: Obj, container: str | None = None) -> str:
    """Return the image of a named container, or of the first one; empty where there is none."""
    for item in containers(obj):
        if container in (None, item.get("name")):
            return str(item.get("image") or "")
    return ""


def version_of(obj: Obj) -> str:
    """Return the version label of the pods this object describes; empty where there is none."""
    return labels(pod_template(obj)).get(VERSION_LABEL, "")


def replicas(obj: Obj, default: int = 1) -> int:
    """Return how many replicas are wanted (``default`` where the field is absent, as Kubernetes does)."""
    wanted = spec(obj).get("replicas")
    return default if wanted is None else int(wanted)


def conditions(obj: Obj) -> dict[str, dict[str, Any]]:
    """Return ``status.conditions`` by type; the last one of a type wins."""
    return {item["type"]: item for item in status(obj).get("conditions") or [] if "type" in item}


def condition_true(obj: Obj, type_: str) -> bool:
    """Tell whether a condition is present with status True."""
    return conditions(obj).get(type_, {}).get("status") == "True"


def owner(obj: Obj) -> dict[str, Any] | None:
    """Return the owner reference that controls the object, or None."""
    for reference in metadata(obj).get("ownerReferences") or []:
        if reference.get("controller"):
            found: dict[str, Any] = reference
            return found
    return None


def parse_manifests(text: str, path: str) -> list[Obj]:
    """Read every object of a YAML or JSON file; lists are expanded, empty documents dropped.

    Args:
        text: Content of the file.
        path: Name for error messages; ``.json`` is read as one JSON value.

    Raises:
        ManifestError: Not YAML, or a document is not a Kubernetes object (``path``, ``document``, ``field``).
    """
    found = []
    for index, document in enumerate(_documents(text, path)):
        if document is not None and document != {}:
            found += list(_objects(document, path, index))
    return found


def _documents(text: str, path: str) -> list[Any]:
    """Decode a file into plain documents."""
    if path.endswith(".json"):
        try:
            decoded = _plain_json(json.loads(text))
        except ValueError as error:
            raise _broken(path, 0, str(error)) from error
        return decoded if isinstance(decoded, list) else [decoded]
    import yaml

    documents: list[Any] = []
    try:
        documents.extend(_plain_json(document) for document in yaml.load_all(text, Loader=_loader()))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise _broken(path, len(documents), f"yaml: {where}{problem}") from error
    except ValueError as error:
        raise _broken(path, len(documents), str(error)) from error
    return documents


def _loader() -> Any:
    """Build the YAML reader: the C one, with dates and ``1:30`` left as text, as Kubernetes reads them."""
    global _cached_loader
    if _cached_loader is None:
        import yaml

        base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        loader: Any = type("ManifestLoader", (base,), {})
        dropped = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"}
        loader.yaml_implicit_resolvers = {
            first: [(tag, pattern) for tag, pattern in found if tag not in dropped]
            for first, found in base.yaml_implicit_resolvers.items()
        }
        loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
        loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
        _cached_loader = loader
    return _cached_loader


_cached_loader: Any = None
_INT = re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$")
_FLOAT = re.compile(r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?)$")


def _plain_json(value: Any) -> Any:
    """Turn keys into text, as JSON needs, and refuse numbers that no Kubernetes field can hold."""
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"the number {value} does not fit into 64 bits")
    if isinstance(value, dict):
        return {k if isinstance(k, str) else json.dumps(k): _plain_json(item) for k, item in value.items()}
    if isinstance(value, list):
        return [_plain_json(item) for item in value]
    return value


def _objects(document: Any, path: str, index: int) -> Iterator[Obj]:
    """Check one document and expand it when it is a list."""
    if not isinstance(document, dict):
        raise _broken(path, index, f"an object is wanted, found {type(document).__name__}")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            raise _broken(path, index, f"Object '{field[0].upper()}{field[1:]}' is missing", field=field)
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(item, path, index)
        return
    meta = document.get("metadata")
    if not isinstance(meta, dict) or not (meta.get("name") or meta.get("generateName")):
        raise _broken(path, index, f"{document['kind']} has no metadata.name", field="metadata.name")
    yield document


def _broken(path: str, index: int, problem: str, field: str = "") -> ManifestError:
    """Build the error for one document of a file."""
    return ManifestError(
        f'Failed to unmarshal "{path}": {problem}',
        hint=f"correct document {index + 1} of {path} and commit again",
        path=path,
        document=index,
        field=field,
    )


def looks_like_manifest(text: str) -> bool:
    """Tell whether a text that is not YAML was meant to be a manifest (Argo CD skips other files)."""
    return all(word in text for word in ("apiVersion:", "kind:", "metadata:"))


def tracking_id(app: str, obj: Obj, destination_namespace: str = "") -> str:
    """Build the tracking id ``<app>:<group>/<kind>:<ns>/<name>`` of a manifest.

    Args:
        app: Name of the application.
        obj: The manifest.
        destination_namespace: Stands for the namespace of a cluster-wide object.
    """
    group, _, of_kind = gvk(obj)
    return f"{app}:{group}/{of_kind}:{namespace(obj) or destination_namespace}/{name(obj)}"


def tracking_of(obj: Obj) -> Tracking | None:
    """Read the tracking id of an object; None when there is none or it is malformed."""
    app, _, rest = annotations(obj).get(TRACKING_ANNOTATION, "").partition(":")
    group_kind, _, place = rest.partition(":")
    group, slash, of_kind = group_kind.partition("/")
    in_namespace, second_slash, of_name = place.partition("/")
    if not (app and slash and second_slash and of_kind and of_name):
        return None
    return Tracking(app, ObjectKey(group, of_kind, in_namespace, of_name))


def tracked_by(obj: Obj) -> str:
    """Return the application that manages an object; empty when none does.

    A copy of a managed object carries the id of its original: it does not refer to itself, so nobody
    manages it. Neither is an object managed that has an owner.

    Source: Argo CD v3.5.1, annotation tracking.
    """
    tracking = tracking_of(obj)
    if tracking is None or metadata(obj).get("ownerReferences"):
        return ""
    own = key(obj)
    same_place = own.namespace in ("", tracking.key.namespace)
    same = (own.group, own.kind, own.name) == (tracking.key.group, tracking.key.kind, tracking.key.name)
    return tracking.app if same and same_place else ""


def with_tracking(obj: Obj, app: str, destination_namespace: str = "") -> Obj:
    """Return a copy of a manifest that carries its tracking id."""
    if kind(obj) == "CustomResourceDefinition":  # never pruned, never deleted with the application
        return obj
    marked = {**annotations(obj), TRACKING_ANNOTATION: tracking_id(app, obj, destination_namespace)}
    return {**obj, "metadata": {**metadata(obj), "annotations": marked}}


def sync_wave(obj: Obj) -> int:
    """Return the wave an object belongs to; 0 where none is given or it is not a number."""
    found = annotations(obj)
    for annotation in (SYNC_WAVE_ANNOTATION, "helm.sh/hook-weight"):
        if annotation in found:
            try:
                return int(found[annotation])
            except (TypeError, ValueError):
                return 0
    return 0


def kind_rank(of_kind: str) -> int:
    """Return the place of a kind in the order of applying."""
    return _RANK.get(of_kind, len(KIND_ORDER))


def apply_order(obj: Obj) -> tuple[int, int, str]:
    """Return the sort key for applying manifests: wave, kind, name; the reverse serves for deleting."""
    return sync_wave(obj), kind_rank(kind(obj)), name(obj)


def csv_annotation(obj: Obj, annotation: str) -> list[str]:
    """Read an annotation that holds comma-separated values."""
    return [part.strip() for part in annotations(obj).get(annotation, "").split(",") if part.strip()]


def hooks(obj: Obj) -> list[str]:
    """Return the hook names of a manifest (``PreSync``, ``Skip``, ...); empty for an ordinary object."""
    named = csv_annotation(obj, HOOK_ANNOTATION)
    if named:
        return named
    helm = csv_annotation(obj, "helm.sh/hook")
    return list(dict.fromkeys(HELM_HOOKS[part] for part in helm if part in HELM_HOOKS))


def has_option(obj: Obj, option: str) -> bool:
    """Tell whether an object carries a sync option such as ``Prune=false`` (literal match)."""
    return option in csv_annotation(obj, SYNC_OPTIONS_ANNOTATION)
