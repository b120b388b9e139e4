from __future__ import annotations

import copy
from datetime import UTC, datetime

import pytest
from conftest import DEPLOYMENT, deployment
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.apply import ApplyConflict, record_update, server_side_apply
from platform_lib.embedded.defaults import apply_defaults
from platform_lib.embedded.fieldsets import field_set, paths, subtract, union
from platform_lib.errors import Conflict, Invalid

NOW = datetime(2025, 1, 1, tzinfo=UTC)
LATER = datetime(2025, 1, 2, tzinfo=UTC)


def apply(schemas, live, wanted, manager="argocd-controller", force=False, now=NOW):
    obj = server_side_apply(live, wanted, manager=manager, force=force, kind=DEPLOYMENT, schemas=schemas, now=now)
    schemas.prune(DEPLOYMENT, obj)
    apply_defaults(DEPLOYMENT, obj)
    return obj


def part(**spec):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def owners(obj):
    return {entry["manager"]: entry for entry in obj["metadata"]["managedFields"]}


def test_applying_what_is_not_there_creates_and_owns_it(schemas):
    obj = apply(schemas, None, deployment())
    entry = owners(obj)["argocd-controller"]
    assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == ("Apply", "apps/v1", "FieldsV1")
    assert entry["fieldsV1"]["f:spec"]["f:replicas"] == {}
    assert entry["fieldsV1"]["f:spec"]["f:selector"] == {}
    ports = entry["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"web"}']["f:ports"]
    assert list(ports) == ['k:{"containerPort":8080,"protocol":"TCP"}']
    assert "f:name" not in entry["fieldsV1"].get("f:metadata", {})


def test_applying_the_same_again_changes_nothing(schemas):
    obj = apply(schemas, None, deployment())
    assert apply(schemas, obj, deployment(), now=LATER) == obj


def test_a_field_that_is_no_longer_applied_disappears(schemas):
    obj = apply(schemas, None, deployment())
    wanted = deployment()
    del wanted["metadata"]["labels"]
    del wanted["spec"]["template"]["spec"]["containers"][0]["env"][0]
    result = apply(schemas, obj, wanted)
    assert "labels" not in result["metadata"]
    assert result["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "B", "value": "2"}]
    assert result["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"] == "File"


def test_a_field_that_another_manager_also_owns_stays(schemas):
    obj = apply(schemas, None, deployment())
    obj = apply(schemas, obj, part(replicas=2), manager="scaler")
    wanted = deployment()
    del wanted["spec"]["replicas"]
    result = apply(schemas, obj, wanted)
    assert result["spec"]["replicas"] == 2
    assert owners(result)["scaler"]["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_changing_a_field_of_another_manager_is_a_conflict(schemas):
    obj = apply(schemas, None, deployment())
    with pytest.raises(ApplyConflict) as caught:
        apply(schemas, obj, part(replicas=9), manager="scaler")
    assert isinstance(caught.value, Conflict)
    assert str(caught.value) == 'Apply failed with 1 conflict: conflict with "argocd-controller": .spec.replicas'
    assert caught.value.causes == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "argocd-controller"',
            "field": ".spec.replicas",
        }
    ]


def test_several_conflicts_are_listed_by_manager(schemas):
    obj = apply(schemas, None, deployment())
    containers = [{"name": "web", "image": "other"}]
    with pytest.raises(ApplyConflict) as caught:
        apply(schemas, obj, part(replicas=9, template={"spec": {"containers": containers}}), manager="me")
    assert str(caught.value) == (
        'Apply failed with 2 conflicts: conflicts with "argocd-controller":\n'
        "- .spec.replicas\n"
        '- .spec.template.spec.containers[name="web"].image'
    )


def test_force_takes_the_field(schemas):
    obj = apply(schemas, None, deployment())
    result = apply(schemas, obj, part(replicas=9), manager="scaler", force=True)
    assert result["spec"]["replicas"] == 9
    assert "f:replicas" not in owners(result)["argocd-controller"]["fieldsV1"]["f:spec"]


def test_what_was_written_before_anybody_applied_has_an_owner(schemas):
    with pytest.raises(ApplyConflict) as caught:
        apply(schemas, deployment(), part(replicas=9))
    assert str(caught.value).endswith('conflict with "before-first-apply" using apps/v1: .spec.replicas')
    kubectl = deployment()
    kubectl["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    with pytest.raises(ApplyConflict, match="kubectl-client-side-apply"):
        apply(schemas, kubectl, part(replicas=9))


def test_an_undeclared_field_is_refused(schemas):
    with pytest.raises(Invalid) as caught:
        apply(schemas, None, part(bogus=1))
    assert ".spec.bogus: field not declared in schema" in str(caught.value)


def test_a_plain_update_takes_what_it_changes(schemas):
    old = apply(schemas, None, deployment())
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 7
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    record_update(old, new, manager="kubectl-edit", now=LATER, kind=DEPLOYMENT, schemas=schemas)
    assert list(paths(owners(new)["kubectl-edit"]["fieldsV1"])) == [
        ".spec.replicas",
        '.spec.template.spec.containers[name="web"].image',
    ]
    with pytest.raises(ApplyConflict) as caught:
        apply(schemas, new, deployment())
    assert len(caught.value.causes) == 2


def test_a_write_through_scale_names_the_subresource(schemas):
    old = apply(schemas, None, deployment())
    new = copy.deepcopy(old)
    new["spec"]["replicas"] = 7
    record_update(old, new, manager="kubectl", now=LATER, sub="scale")
    with pytest.raises(ApplyConflict, match=r'"kubectl" with subresource "scale" using apps/v1: \.spec\.replicas'):
        apply(schemas, new, deployment())


def test_objects_that_nobody_applied_stay_untracked():
    old, new = deployment(), deployment(replicas=5)
    record_update(old, new, manager="me", now=NOW)
    assert "managedFields" not in new["metadata"]


def test_status_writes_are_not_tracked_where_nobody_owns_status(schemas):
    old = apply(schemas, None, deployment())
    new = copy.deepcopy(old)
    new["status"] = {"replicas": 1}
    record_update(old, new, manager="controller", now=LATER, sub="status", kind=DEPLOYMENT, schemas=schemas)
    assert new["metadata"]["managedFields"] == old["metadata"]["managedFields"]


NAMES = st.lists(st.sampled_from("ABCD"), unique=True, max_size=4)
CONFIGS = st.tuples(
    st.integers(0, 3), NAMES, st.dictionaries(st.sampled_from("xyz"), st.sampled_from("12"), max_size=3)
)


def config(values):
    replicas, names, labels = values
    obj = deployment(replicas=replicas)
    obj["metadata"]["labels"] = dict(labels)
    obj["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": n, "value": n} for n in names]
    return obj


def essence(obj):
    container = obj["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item["value"] for item in container.get("env") or ()}
    return obj["spec"]["replicas"], env, obj["metadata"].get("labels") or {}


@given(CONFIGS, CONFIGS)
def test_a_single_manager_always_gets_what_it_applies(schemas, first, second):
    obj = apply(schemas, apply(schemas, None, config(first)), config(second))
    assert essence(obj) == essence(config(second))
    assert apply(schemas, obj, config(second), now=LATER) == obj


@given(CONFIGS, CONFIGS)
def test_sets_of_fields_obey_set_arithmetic(schemas, first, second):
    node = schemas.node(DEPLOYMENT)
    left, right = field_set(node, config(first)), field_set(node, config(second))
    assert subtract(left, left) == {}
    assert union(left, left) == left
    assert set(paths(union(left, right))) == set(paths(left)) | set(paths(right))
    assert set(paths(subtract(left, right))) == set(paths(left)) - set(paths(right))
