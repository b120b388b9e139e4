"""Which fields differ, which rule leaves one out, and why two values that differ may mean the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from platform_lib.rules import diffing, falsediff, ownership
from platform_lib.rules.diffing import ABSENT, Difference
from platform_lib.rules.manifests import ObjectKey
from platform_lib.rules.ownership import Item, Owner

KEY = ObjectKey("apps", "Deployment", "shop", "web")
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("ab", max_size=2)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "name"]), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from(["spec", "a.b/c", "x"])
ITEMS = st.sampled_from([Item(1, (("name", "w"),)), Item(0), Item(2, (("containerPort", 80), ("protocol", "TCP")))])
PLACES = st.lists(st.tuples(FIELDS) | st.tuples(FIELDS, ITEMS), min_size=1, max_size=4)
"""Fields and items of lists; a list in a list does not occur in Kubernetes."""


def shown(live: Any, wanted: Any) -> list[tuple[str, Any, Any]]:
    return [(ownership.shown(one.path), one.live, one.wanted) for one in diffing.differences(live, wanted)]


@given(JSON)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert list(diffing.differences(value, value)) == []


@given(JSON, JSON)
def test_differences_are_there_exactly_when_values_are_not_equal(one: Any, other: Any) -> None:
    there, back = list(diffing.differences(one, other)), list(diffing.differences(other, one))
    # Items that something identifies are compared whatever their order: that order means nothing to Kubernetes.
    assert bool(there) == bool(back)
    assert bool(there) >= (falsediff.spelling(one, other) == "" and not diffing.equal(one, other) and not _lists(one))


def _lists(value: Any) -> bool:
    if isinstance(value, list):
        return True
    return isinstance(value, dict) and any(map(_lists, value.values()))


def test_items_are_paired_by_name_whatever_their_order() -> None:
    live = {"containers": [{"name": "side", "image": "s:1"}, {"name": "web", "image": "w:1"}]}
    wanted = {"containers": [{"name": "web", "image": "w:2"}, {"name": "side", "image": "s:1"}, {"name": "new"}]}
    assert shown(live, wanted) == [
        (".containers[name=web].image", "w:1", "w:2"),
        (".containers[name=new]", ABSENT, {"name": "new"}),
    ]


def test_ports_are_paired_with_the_protocol_that_the_api_fills_in() -> None:
    live = {"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]}
    assert (
        list(diffing.declared(live, {"ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]})) == []
    )


def test_a_list_of_plain_values_differs_as_a_whole_and_truth_is_no_number() -> None:
    assert shown({"args": ["a", "b"]}, {"args": ["a"]}) == [(".args", ["a", "b"], ["a"])]
    assert shown({"on": True}, {"on": 1}) == [(".on", True, 1)]


def test_bookkeeping_tracking_and_status_do_not_count() -> None:
    meta = {
        "name": "a",
        "uid": "1",
        "managedFields": [{}],
        "annotations": {"argocd.argoproj.io/tracking-id": "x:/A:n/a"},
    }
    assert diffing.normalised({"metadata": meta, "status": {"x": 1}, "rules": []}) == {"metadata": {"name": "a"}}


IMAGE = ("spec", "template", "spec", "containers", Item(0, (("name", "web"),)), "image")
SCALER = Owner("kube-controller-manager", "Update", "scale", None)
KUBECTL = Owner("kubectl-edit", "Update", "", None)
ARGOCD = Owner("argocd-controller", "Apply", "", None)


@pytest.mark.parametrize(
    ("rule", "path", "hit"),
    [
        ({"jsonPointers": ["/spec/replicas"]}, ("spec", "replicas"), True),
        ({"jsonPointers": ["/spec"]}, ("spec", "replicas"), True),
        ({"jsonPointers": ["/spec/rep"]}, ("spec", "replicas"), False),
        ({"jsonPointers": ["/metadata/annotations/a.b~1c"]}, ("metadata", "annotations", "a.b/c"), True),
        ({"jqPathExpressions": ['.spec.template.spec.containers[] | select(.name == "web") | .image']}, IMAGE, True),
        ({"jqPathExpressions": ['.spec.template.spec.containers[]|select(.name=="db")|.image']}, IMAGE, False),
        ({"jqPathExpressions": [".spec.template.spec.containers[].image"]}, IMAGE, True),
        ({"jqPathExpressions": [".spec.template.spec.containers[0].image"]}, IMAGE, True),
        ({"jqPathExpressions": [".spec.template.spec.containers[1].image"]}, IMAGE, False),
        ({"jqPathExpressions": ['.metadata.annotations["a.b/c"]']}, ("metadata", "annotations", "a.b/c"), True),
        ({"managedFieldsManagers": ["kube-controller-manager"]}, ("spec", "replicas"), True),
        ({"managedFieldsManagers": ["somebody"]}, ("spec", "replicas"), False),
    ],
)
def test_rules_of_the_application_leave_fields_out(rule: dict[str, Any], path: ownership.Path, hit: bool) -> None:
    assert bool(diffing.ignored_by(Difference(path, 1, 2), [rule], [SCALER])) is hit


@given(PLACES)
def test_the_offered_rule_ignores_the_field_it_was_offered_for(places: list[tuple[Any, ...]]) -> None:
    path = tuple(step for place in places for step in place)
    rule = diffing.entry(KEY, path)
    application = {"spec": {"ignoreDifferences": [rule]}}
    assert diffing.rules_for(application, KEY) == [rule]
    assert diffing.ignored_by(Difference(path, 1, 2), [rule], []) != ""
    assert diffing.unread([rule]) == []


def test_rules_are_about_objects_by_glob_and_what_jq_computes_is_admitted() -> None:
    rules = [
        {"group": "*", "kind": "Dep*"},
        {"group": "apps", "kind": "Deployment", "name": "other"},
        {"kind": "Service"},
    ]
    assert diffing.rules_for({"spec": {"ignoreDifferences": rules}}, KEY) == rules[:1]
    computed = '.spec.a | with_entries(select(.key | startswith("x")))'
    assert diffing.unread([{"jqPathExpressions": [".spec.a", computed]}]) == [computed]


@pytest.mark.parametrize(
    ("live", "wanted", "said"),
    [
        ("500m", "0.5", "quantity"),
        ("1Gi", "1024Mi", "quantity"),
        ("2e3", 2000, "quantity"),
        (ABSENT, [], "null, empty and absent"),
        ("8080", "8081", ""),
        ("true", True, "another type"),
        (["a", "b"], ["b", "a"], "another order"),
        ("a\n", "a", "white space"),
        (ABSENT, "x", ""),
        (0, ABSENT, ""),
        (False, None, ""),
    ],
)
def test_spellings_of_the_same_value(live: Any, wanted: Any, said: str) -> None:
    found = falsediff.spelling(live, wanted)
    assert (said in found) if said else found == ""


@given(st.integers(1, 10**6), st.sampled_from(["m", "", "k", "M", "G", "Ki", "Mi", "Gi", "u", "n"]))
def test_quantities_are_read_as_the_official_client_reads_them(number: int, suffix: str) -> None:
    assert falsediff.quantity(f"{number}{suffix}") == parse_quantity(f"{number}{suffix}")


@pytest.mark.parametrize("text", ["", "1.2.3", "abc", "1Zi", "m", "1 Gi x", True, None, [1]])
def test_what_is_no_quantity_is_none(text: Any) -> None:
    assert falsediff.quantity(text) is None


@pytest.mark.parametrize(
    ("owners", "live", "changes", "kind", "offer"),
    [
        ([SCALER, ARGOCD], 3, True, "controller", {"jsonPointers": ["/spec/replicas"]}),
        ([KUBECTL, ARGOCD], 3, True, "drift", None),
        ([ARGOCD], 3, True, "change", None),
        ([], 3, True, "change", None),
        ([], ABSENT, True, "change", None),
        ([Owner("vpa", "Apply", "", None)], 3, True, "controller", {"jsonPointers": ["/spec/replicas"]}),
        ([ARGOCD], 3, False, "false", {"jsonPointers": ["/spec/replicas"]}),
    ],
    ids=["autoscaler", "by-hand", "git-changed", "nobody", "added", "other-controller", "without-effect"],
)
def test_the_cause_follows_from_the_manager(
    owners: list[Owner], live: Any, changes: bool, kind: str, offer: dict[str, Any] | None
) -> None:
    path = ("spec", "replicas")
    cause = falsediff.cause_of(KEY, Difference(path, live, 2), owners, changes=changes)
    assert cause.kind == kind
    if owners[:1] == [Owner("vpa", "Apply", "", None)]:
        offer = {"managedFieldsManagers": ["vpa"]}
    expected = offer and {"group": "apps", "kind": "Deployment", "name": "web", **offer}
    assert cause.ignore == expected
