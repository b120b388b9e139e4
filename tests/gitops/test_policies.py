"""Do our own manifests pass our own policies, and would each rule really refuse what it is there for?

The expressions come from gitops/policies as Kyverno gets them; nothing of them is repeated here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.errors import ManifestError
from platform_lib.rules import policies

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "gitops" / "policies").glob("*.yaml"))
POLICIES = {path.stem: policies.parse(yaml.safe_load(path.read_text()), source=path.name) for path in FILES}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace"} | {
    "metadata": {"name": "sample-app", "labels": {"app.kubernetes.io/part-of": "apqx"}}
}
Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def good() -> dict[str, Any]:
    """The real Deployment: what a change is made on."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "gitops/workloads/sample-app/deployment.yaml").read_text())
    return found


def refused(obj: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one.policy, one.message) for one in policies.check(POLICIES.values(), [NAMESPACE, obj])[0]}


def changed(change: Change, kind: str = "Deployment") -> dict[str, Any]:
    """The real Deployment after one change to its pod (first argument) or container (second)."""
    obj = copy.deepcopy(good())
    template = obj["spec"]["template"]
    change(template, template["spec"]["containers"][0])
    if kind == "Pod":
        meta = {"name": "one", "namespace": "sample-app"} | template["metadata"]
        return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": {"template": template}}}
        return {"apiVersion": "batch/v1", "kind": kind, "metadata": obj["metadata"], "spec": spec}
    return obj


def sidecar(container: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A second container, good but for what is given."""
    return copy.deepcopy(container) | {"name": "second"} | more


BAD: list[tuple[str, str, Change]] = [
    ("require-image-digest", "by digest", lambda t, c: c.update(image="ghcr.io/apqx/sample-app:1.0.0")),
    ("require-image-digest", "by digest", lambda t, c: c.update(image="ghcr.io/apqx/sample-app@sha256:abc")),
    ("require-image-version", "other than latest", lambda t, c: c.update(image="ghcr.io/apqx/sample-app:latest")),
    ("require-image-version", "other than latest", lambda t, c: c.update(image="registry:5000/sample-app")),
    ("require-non-root", "or every container", lambda t, c: t["spec"]["securityContext"].pop("runAsNonRoot")),
    ("require-non-root", "take runAsNonRoot back", lambda t, c: c["securityContext"].update(runAsNonRoot=False)),
    ("require-non-root", "must not be 0", lambda t, c: t["spec"]["securityContext"].update(runAsUser=0)),
    ("require-non-root", "must not be 0", lambda t, c: c["securityContext"].update(runAsUser=0)),
    ("require-resources", "must request", lambda t, c: c["resources"].pop("requests")),
    ("require-resources", "must limit", lambda t, c: c["resources"]["limits"].pop("memory")),
    ("require-labels", "app.kubernetes.io/name", lambda t, c: t["metadata"]["labels"].pop("app.kubernetes.io/name")),
    ("require-labels", "part-of", lambda t, c: t["metadata"].pop("labels")),
    ("require-read-only-root", "readOnlyRoot", lambda t, c: c["securityContext"].pop("readOnlyRootFilesystem")),
    ("require-read-only-root", "readOnlyRoot", lambda t, c: c["securityContext"].update(readOnlyRootFilesystem=False)),
    ("require-drop-all", "drop ALL", lambda t, c: c["securityContext"]["capabilities"].update(drop=["NET_RAW"])),
    ("require-drop-all", "add a capability", lambda t, c: c["securityContext"]["capabilities"].update(add=["KILL"])),
    ("require-drop-all", "allowPrivilege", lambda t, c: c["securityContext"].update(allowPrivilegeEscalation=True)),
    ("require-drop-all", "may be privileged", lambda t, c: c["securityContext"].update(privileged=True)),
    ("forbid-default-service-account", "not default", lambda t, c: t["spec"].pop("serviceAccountName")),
    ("forbid-default-service-account", "not default", lambda t, c: t["spec"].update(serviceAccountName="default")),
    ("require-drop-all", "drop ALL", lambda t, c: t["spec"]["containers"].append(sidecar(c, securityContext={}))),
    ("require-image-digest", "by digest", lambda t, c: t["spec"].update(initContainers=[sidecar(c, image="a:1")])),
]


def test_every_manifest_of_the_desired_state_passes(documents, addon_documents):
    found, _ = policies.check(POLICIES.values(), [d.body for d in [*documents, *addon_documents]])
    assert found == [], "\n".join(map(str, found))


def test_the_check_sees_the_pods_of_the_desired_state(documents):
    """Without a digest somewhere the check must speak, or the test above proves nothing."""
    bodies = [copy.deepcopy(d.body) for d in documents]
    touched = [b for b in bodies if b["kind"] == "Deployment"]
    for body in touched:
        body["spec"]["template"]["spec"]["containers"][0]["image"] = "x:latest"
    found = {v.object for v in policies.check(POLICIES.values(), bodies)[0]}
    assert len(touched) >= 3 and found == {
        f"Deployment {b['metadata']['namespace']}/{b['metadata']['name']}" for b in touched
    }


@pytest.mark.parametrize(("policy", "words", "change"), BAD)
def test_a_bad_manifest_is_refused_in_the_policys_own_words(policy: str, words: str, change: Change):
    assert refused(good()) == set()
    found = refused(changed(change))
    assert any(name == policy and words in message for name, message in found), found


def test_every_rule_of_every_policy_has_a_manifest_that_it_refuses():
    rules = {(policy.name, rule.message) for policy in POLICIES.values() for rule in policy.rules}
    assert set().union(*(refused(changed(change)) for _, _, change in BAD)) == rules


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(BAD))), min_size=1, max_size=3, unique=True),
    st.sampled_from(["Deployment", "Pod", "CronJob"]),
)
def test_whatever_is_broken_together_each_break_is_caught_in_every_kind(picked: list[int], kind: str):
    """A second change may undo or mask the first only where both touch the same field of the same rule."""
    name, words, change = BAD[picked[0]]
    assert any(n == name and words in m for n, m in refused(changed(change, kind)))

    def all_of_them(template: dict[str, Any], container: dict[str, Any]) -> None:
        for index in picked:
            try:
                BAD[index][2](template, container)
            except KeyError:  # another change has removed the place already
                continue

    assert refused(changed(all_of_them, kind)) != set()


def test_namespaces_of_others_are_left_alone_and_ours_are_not():
    other = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "sample-app", "labels": {"team": "x"}}}
    bad = changed(lambda t, c: c.update(image="x:latest"))
    violations, unjudged = policies.check(POLICIES.values(), [other, bad])
    assert violations == [] and len(unjudged) == 1, "nobody judged it, and that is said"
    assert policies.check(POLICIES.values(), [NAMESPACE, bad])[0] != []
    assert policies.check(POLICIES.values(), [bad], namespaces=[NAMESPACE])[0] != []


def test_a_folder_without_its_namespace_is_held_to_the_projects_own(tmp_path: Path) -> None:
    """A pull request's folder names a namespace of ours and does not bring it along."""
    from platform_lib import admission

    pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: %s}\nspec: {containers: [{name: a, image: x}]}\n"
    (tmp_path / "a.yaml").write_text(pod % "sample-app")
    (tmp_path / "b.yaml").write_text(pod % "elsewhere")
    found = admission.check(tmp_path)
    assert {one.object.rsplit("/", 1)[-1] for one in found.violations} == {"a"} and len(found.violations) >= 3
    assert [name for name in found.unjudged if "elsewhere" in name] == list(found.unjudged) != []


@pytest.mark.parametrize(
    ("selector", "labels", "wanted"),
    [
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors_select_as_in_kubernetes(selector: dict, labels: dict, wanted: bool):
    assert policies.selects(selector, labels) is wanted


def test_every_policy_denies_and_fails_closed():
    assert len(FILES) == 8 and {path.stem for path in FILES} == {p.name for p in POLICIES.values()}
    for path in FILES:
        spec = yaml.safe_load(path.read_text())["spec"]
        assert spec["validationActions"] == ["Deny"] and spec["failurePolicy"] == "Fail", path.name
        assert POLICIES[path.stem].controllers == set(policies.CONTROLLERS.values()), path.name


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("matchConditions", [], "matchConditions"),
        ("validations", [], "spec.validations"),
        ("validations", [{"expression": "object.("}], "each with a message"),
        ("validations", [{"expression": "object.(", "message": "x"}], "no CEL"),
        ("matchConstraints", {"resourceRules": []}, "resourceRules"),
    ],
)
def test_a_policy_that_cannot_be_evaluated_whole_is_refused(field: str, value: Any, words: str):
    document = yaml.safe_load(FILES[0].read_text())
    document["spec"][field] = value
    with pytest.raises(ManifestError, match=words) as caught:
        policies.parse(document, source="some.yaml")
    assert "some.yaml" in str(caught.value) and document["metadata"]["name"] in str(caught.value)


def test_an_expression_that_cannot_be_decided_counts_as_broken():
    document = yaml.safe_load(FILES[0].read_text())
    document["spec"]["validations"] = [{"expression": "object.spec.nowhere == 1", "message": "must be one"}]
    (found,) = policies.broken(policies.parse(document), {"metadata": {}, "spec": {"containers": []}})
    assert found.startswith("must be one (not decidable")


def test_a_deprecated_cluster_policy_is_refused_by_name():
    with pytest.raises(ManifestError, match=r"old - kind: kyverno\.io/v1 ClusterPolicy"):
        policies.parse({"apiVersion": "kyverno.io/v1", "kind": "ClusterPolicy", "metadata": {"name": "old"}})
