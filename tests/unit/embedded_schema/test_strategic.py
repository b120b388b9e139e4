from __future__ import annotations

import copy

import pytest
from conftest import DEPLOYMENT, deployment
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.kinds import by_kind
from platform_lib.embedded.strategic import strategic_merge
from platform_lib.errors import Invalid

APPLICATION = by_kind("argoproj.io/v1alpha1", "Application")


def template(**spec):
    return {"spec": {"template": {"spec": spec}}}


def containers(obj):
    return obj["spec"]["template"]["spec"]["containers"]


def test_list_items_merge_by_their_key(schemas):
    patch = template(containers=[{"name": "web", "image": "new"}])
    result = strategic_merge(deployment(), patch, schemas, DEPLOYMENT)
    assert containers(result)[0]["image"] == "new"
    assert containers(result)[0]["env"][1] == {"name": "B", "value": "2"}


def test_a_new_item_stands_before_the_stored_ones(schemas):
    patch = template(containers=[{"name": "side", "image": "x"}])
    result = strategic_merge(deployment(), patch, schemas, DEPLOYMENT)
    assert [c["name"] for c in containers(result)] == ["side", "web"]


def test_set_element_order_decides_the_order(schemas):
    patch = template(
        **{
            "$setElementOrder/containers": [{"name": "web"}, {"name": "side"}],
            "containers": [{"name": "side", "image": "x"}],
        }
    )
    result = strategic_merge(deployment(), patch, schemas, DEPLOYMENT)
    assert [c["name"] for c in containers(result)] == ["web", "side"]


def test_set_element_order_alone_sorts_the_stored_list(schemas):
    item = {"name": "web", "$setElementOrder/env": [{"name": "B"}, {"name": "A"}]}
    result = strategic_merge(deployment(), template(containers=[item]), schemas, DEPLOYMENT)
    assert [e["name"] for e in containers(result)[0]["env"]] == ["B", "A"]


def test_an_item_is_deleted_by_directive(schemas):
    item = {"name": "web", "env": [{"$patch": "delete", "name": "A"}]}
    result = strategic_merge(deployment(), template(containers=[item]), schemas, DEPLOYMENT)
    assert containers(result)[0]["env"] == [{"name": "B", "value": "2"}]


def test_a_list_is_replaced_by_directive(schemas):
    item = {"name": "web", "env": [{"$patch": "replace"}, {"name": "C", "value": "3"}]}
    result = strategic_merge(deployment(), template(containers=[item]), schemas, DEPLOYMENT)
    assert containers(result)[0]["env"] == [{"name": "C", "value": "3"}]


def test_a_map_is_replaced_or_deleted_by_directive(schemas):
    replaced = strategic_merge(
        deployment(), {"metadata": {"labels": {"$patch": "replace", "x": "y"}}}, schemas, DEPLOYMENT
    )
    assert replaced["metadata"]["labels"] == {"x": "y"}
    deleted = strategic_merge(deployment(), {"metadata": {"labels": {"$patch": "delete"}}}, schemas, DEPLOYMENT)
    assert deleted["metadata"]["labels"] == {}


def test_retain_keys_drops_what_the_new_strategy_may_not_have(schemas):
    obj = deployment(strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}})
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(obj, patch, schemas, DEPLOYMENT)["spec"]["strategy"] == {"type": "Recreate"}


def test_primitive_lists_are_united_and_reduced(schemas):
    pod = {"metadata": {"finalizers": ["a/x", "b/x"]}}
    kind = by_kind("v1", "Pod")
    added = strategic_merge(pod, {"metadata": {"finalizers": ["c/x", "a/x"]}}, schemas, kind)
    assert sorted(added["metadata"]["finalizers"]) == ["a/x", "b/x", "c/x"]
    reduced = strategic_merge(pod, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a/x"]}}, schemas, kind)
    assert reduced["metadata"]["finalizers"] == ["b/x"]


def test_lists_without_a_merge_key_are_replaced(schemas):
    node = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    patch = {"spec": {"taints": [{"key": "b", "effect": "NoExecute"}]}}
    result = strategic_merge(node, patch, schemas, by_kind("v1", "Node"))
    assert [taint["key"] for taint in result["spec"]["taints"]] == ["b"]


def test_conditions_of_a_pod_merge_by_type(schemas):
    pod = {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Initialized", "status": "True"}]}}
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    result = strategic_merge(pod, patch, schemas, by_kind("v1", "Pod"))
    assert {c["type"]: c["status"] for c in result["status"]["conditions"]} == {"Ready": "True", "Initialized": "True"}


def test_null_deletes_and_is_never_stored(schemas):
    patch = {"metadata": {"labels": None, "annotations": {"a": "b", "c": None}}}
    result = strategic_merge(deployment(), patch, schemas, DEPLOYMENT)
    assert "labels" not in result["metadata"]
    assert result["metadata"]["annotations"] == {"a": "b"}


def test_custom_resources_have_no_strategic_merge(schemas):
    with pytest.raises(Invalid) as caught:
        strategic_merge({}, {}, schemas, APPLICATION)
    assert (caught.value.status, caught.value.reason) == (415, "UnsupportedMediaType")


@pytest.mark.parametrize(
    "patch",
    [
        [],
        {"metadata": {"$patch": "explode"}},
        template(containers=[{"image": "no key"}]),
        template(containers=["text"]),
        {"spec": {"strategy": {"$retainKeys": ["rollingUpdate"], "type": "Recreate"}}},
        {"spec": {"strategy": {"$retainKeys": 7}}},
        {"metadata": {"finalizers": [{}]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": 7}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": [{}]}},
        template(containers=[{"name": {}}]),
        template(containers=[{"name": "web"}], **{"$setElementOrder/containers": 7}),
        template(**{"$setElementOrder/containers": [[]]}),
    ],
)
def test_malformed_patches_are_refused(schemas, patch):
    obj = deployment(strategy={"type": "RollingUpdate"})
    obj["metadata"]["finalizers"] = ["a/b"]
    with pytest.raises(Invalid) as caught:
        strategic_merge(obj, patch, schemas, DEPLOYMENT)
    assert caught.value.status == 400


ENV = st.lists(st.sampled_from("ABCDE"), unique=True, max_size=5).map(
    lambda names: [{"name": name, "value": name.lower()} for name in names]
)


@given(ENV, ENV)
def test_merging_lists_is_idempotent_and_keeps_both(schemas, stored, patched):
    obj = deployment()
    containers(obj)[0]["env"] = stored
    before = copy.deepcopy(obj)
    patch = template(containers=[{"name": "web", "env": patched}])
    once = strategic_merge(obj, patch, schemas, DEPLOYMENT)
    assert obj == before
    names = [e["name"] for e in containers(once)[0]["env"]]
    assert sorted(names) == sorted({e["name"] for e in stored + patched})
    assert strategic_merge(once, patch, schemas, DEPLOYMENT) == once


@given(ENV)
def test_an_empty_patch_is_the_identity(schemas, stored):
    obj = deployment()
    containers(obj)[0]["env"] = stored
    assert strategic_merge(obj, {}, schemas, DEPLOYMENT) == obj


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "web", "delete", "replace", "merge"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "$patch", "$retainKeys", "$setElementOrder/env", "env", "value"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["containers", "$setElementOrder/containers", "volumes", "tolerations"]))
def test_any_patch_ends_in_an_object_or_a_refusal(schemas, value, field):
    try:
        assert isinstance(strategic_merge(deployment(), template(**{field: value}), schemas, DEPLOYMENT), dict)
    except Invalid as error:
        assert error.status == 400
