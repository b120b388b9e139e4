"""Would our admission policies take these manifests? The policies' own CEL expressions, evaluated without a cluster.

A policy is a Kyverno ``ValidatingPolicy`` of ``gitops/policies``; what is evaluated here is the expression that
Kyverno evaluates, never a second copy of the rule. Policies speak of pods; for a controller the expression is asked
about its pod template, which is what Kyverno's generated rules do. Only what our policies use is understood
(namespace selector, variables, validations, message); a policy that uses more is refused, not half evaluated.

Source: kyverno v1.19.0, pkg/cel/autogen (rewriting for controllers); Kubernetes, CEL in admission control.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from platform_lib.errors import ManifestError, ToolMissing
from platform_lib.model import Obj, joined
from platform_lib.rules import manifests

API_VERSION, KIND = "policies.kyverno.io/v1", "ValidatingPolicy"
CONTROLLERS: Mapping[str, str] = {
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "Job": "jobs",
    "CronJob": "cronjobs",
}
"""Kind to the name by which a policy asks for its templates to be looked at."""
_SPEC = {"validationActions", "failurePolicy", "autogen", "matchConstraints", "variables", "validations"}
_MATCH = {"namespaceSelector", "resourceRules"}
_PODS = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition and what a person is told who breaks it."""

    expression: str
    message: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, as far as it can be asked without a cluster.

    Attributes:
        name: Its name.
        selector: Namespace selector; empty for every namespace.
        variables: (name, expression) in order; later ones may use earlier ones.
        rules: All must hold.
        controllers: Resources whose pod templates are looked at too.
    """

    name: str
    selector: Mapping[str, Any]
    variables: tuple[tuple[str, str], ...]
    rules: tuple[Rule, ...]
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: which object breaks it, and the policy's own words."""

    policy: str
    object: str
    message: str

    def __str__(self) -> str:
        return f"{self.object}: {self.message} ({self.policy})"


def parse(document: Obj, *, source: str = "policy") -> Policy:
    """Read a policy.

    Raises:
        ManifestError: It is no ``ValidatingPolicy`` of the pinned version, uses what is not understood here, or has
            an expression that is no CEL; names the field.
    """
    name = manifests.name(document) or "without a name"
    if (document.get("apiVersion"), manifests.kind(document)) != (API_VERSION, KIND):
        raise _wrong(source, name, "kind", f"{document.get('apiVersion')} {manifests.kind(document)}")
    spec = manifests.spec(document)
    match = spec.get("matchConstraints") or {}
    for given, known, where in ((spec, _SPEC, "spec"), (match, _MATCH, "spec.matchConstraints")):
        if not given.keys() <= known:
            raise _wrong(source, name, f"{where}.{joined(sorted(given.keys() - known))}", "not understood offline")
    if match.get("resourceRules") != _PODS:
        raise _wrong(source, name, "spec.matchConstraints.resourceRules", "expected pods on CREATE and UPDATE")
    found = Policy(
        name,
        match.get("namespaceSelector") or {},
        tuple((item["name"], item["expression"]) for item in spec.get("variables") or []),
        tuple(Rule(item["expression"], item.get("message") or "") for item in spec.get("validations") or []),
        frozenset(((spec.get("autogen") or {}).get("podControllers") or {}).get("controllers") or []),
    )
    if not found.rules or not all(rule.message for rule in found.rules):
        raise _wrong(source, name, "spec.validations", "expected at least one, each with a message")
    for expression in (*(text for _, text in found.variables), *(rule.expression for rule in found.rules)):
        _compiled(expression, source, name)
    return found


def _wrong(source: str, name: str, field: str, seen: str) -> ManifestError:
    """Build the error of a policy that cannot be used."""
    return ManifestError(
        f"{source} policy {name} - {field}: {seen}",
        hint="see the docstring of rules/policies.py for what is understood",
        path=source,
        field=field,
    )


def check(
    policies: Iterable[Policy], documents: Iterable[Obj], *, namespaces: Iterable[Obj] = ()
) -> tuple[list[Violation], list[str]]:
    """Ask every policy about every object.

    Args:
        policies: What is asked.
        documents: Manifests; the Namespaces among them say which labels a namespace has.
        namespaces: Further Namespaces, of those that ``documents`` do not hold.

    Returns:
        Every broken rule in the order of the objects, and the objects with pods that no policy looked at: they are
        not approved, nobody judged them.
    """
    objects, known = list(documents), list(policies)
    spaces = [one for one in (*namespaces, *objects) if one.get("kind") == "Namespace"]
    labels = {manifests.name(obj): dict(manifests.labels(obj)) for obj in spaces}
    found: list[Violation] = []
    unjudged = []
    for obj in objects:
        pod = pod_of(obj)
        if pod is None:
            continue
        namespace = manifests.namespace(obj)
        here = {"kubernetes.io/metadata.name": namespace} | labels.get(namespace, {})
        judges = [policy for policy in known if selects(policy.selector, here) and asked(policy, obj)]
        for policy in judges:
            found += [Violation(policy.name, _label(obj), text) for text in broken(policy, pod)]
        unjudged += [] if judges else [_label(obj)]
    return found, unjudged


def pod_of(obj: Obj) -> Obj | None:
    """Return the pod that an object is or makes, None when it makes none."""
    kind = manifests.kind(obj)
    if kind == "Pod":
        return obj
    if kind not in CONTROLLERS:
        return None
    spec = manifests.spec(obj)
    if kind == "CronJob":
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    template = spec.get("template") or {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": template.get("metadata") or {}, "spec": template["spec"]}


def asked(policy: Policy, obj: Obj) -> bool:
    """Tell whether a policy looks at objects of this kind."""
    kind = manifests.kind(obj)
    return kind == "Pod" or CONTROLLERS.get(kind) in policy.controllers


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Apply a label selector.

    Source: Kubernetes, labels and selectors; ``NotIn`` and ``DoesNotExist`` also match an absent label.
    """
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_expression(item, labels) for item in selector.get("matchExpressions") or [])


def _expression(item: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Apply one requirement of a selector."""
    value, values = labels.get(item["key"]), item.get("values") or []
    answers = {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }
    return answers[item["operator"]]


def broken(policy: Policy, pod: Obj) -> list[str]:
    """Return the messages of the rules that a pod breaks; an expression that fails to evaluate counts as broken.

    Source: failurePolicy Fail, which a house test requires of every policy.
    """
    from celpy import CELEvalError, celtypes, json_to_cel

    variables = celtypes.MapType()
    context = {"object": json_to_cel(pod), "variables": variables}
    found = []
    try:
        for name, expression in policy.variables:
            variables[celtypes.StringType(name)] = _compiled(expression, "policy", policy.name).evaluate(context)
    except CELEvalError as error:
        return [f"{policy.rules[0].message} (not decidable: {error.args[0]})"]
    for rule in policy.rules:
        try:
            if not _compiled(rule.expression, "policy", policy.name).evaluate(context):
                found.append(rule.message)
        except CELEvalError as error:
            found.append(f"{rule.message} (not decidable: {error.args[0]})")
    return found


@lru_cache(maxsize=256)
def _compiled(expression: str, source: str, name: str) -> Any:
    """Compile an expression once."""
    try:
        import celpy
    except ImportError as error:
        raise ToolMissing(
            "cel-python - not installed, it is needed to evaluate policies without a cluster",
            hint="pip install cel-python, or pip install 'apqx[dev]'",
        ) from error
    environment = celpy.Environment()
    try:
        return environment.program(environment.compile(expression))
    except celpy.CELParseError as error:
        raise _wrong(source, name, f"expression {expression[:60]!r}", f"no CEL: {error.args[0]}") from error


def _label(obj: Obj) -> str:
    """Name an object for a person."""
    namespace = manifests.namespace(obj)
    return f"{manifests.kind(obj)} {namespace + '/' if namespace else ''}{manifests.name(obj)}"
