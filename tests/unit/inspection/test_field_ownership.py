"""Who manages a field: every field a manager wrote is his, and no other; checked on generated objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.rules import ownership
from platform_lib.rules.ownership import Item, Path

NAMES = st.sampled_from(["a", "b", "image", "x.y/z", "name~1"])
LEAVES = st.one_of(st.integers(0, 9), st.booleans(), st.text("abc", max_size=3))


def keyed(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.dictionaries(
        st.sampled_from(["web", "db", "x"]), st.dictionaries(NAMES, children, max_size=2), max_size=3
    )
    return items.map(lambda found: [{**value, "name": name} for name, value in found.items()])


VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), keyed(inner)), max_leaves=12
)
OBJECTS = st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)


def leaves(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place of a value that has no parts."""
    if isinstance(value, dict) and value:
        for name, item in value.items():
            yield from leaves(item, (*path, name))
    elif isinstance(value, list) and value:
        for position, item in enumerate(value):
            yield from leaves(item, (*path, Item(position, (("name", item["name"]),))))
    else:
        yield path


def fields_of(paths: list[Path]) -> dict[str, Any]:
    """The fieldsV1 that names these places, written the way the API server does."""
    found: dict[str, Any] = {}
    for path in paths:
        node = found
        for step in path:
            element = f"f:{step}" if isinstance(step, str) else f"k:{json.dumps(dict(step.key))}"
            node = node.setdefault(element, {})
    return found


def managed(obj: dict[str, Any], **sets: list[Path]) -> dict[str, Any]:
    entries = [{"manager": name, "operation": "Update", "fieldsV1": fields_of(paths)} for name, paths in sets.items()]
    return {**obj, "metadata": {"managedFields": entries}}


@given(OBJECTS, st.data())
def test_each_field_belongs_to_exactly_those_who_wrote_it(value: dict[str, Any], data: st.DataObject) -> None:
    obj = {"spec": value}
    places = list(leaves(obj))
    mine = [path for path in places if data.draw(st.booleans())]
    theirs = [path for path in places if path not in mine or data.draw(st.booleans())]
    live = managed(obj, me=mine, them=theirs)
    for path in places:
        owners = {owner.manager for owner in ownership.owners_of(live, path)}
        assert owners == {name for name, paths in (("me", mine), ("them", theirs)) if path in paths}


@given(OBJECTS)
def test_what_a_set_names_is_what_was_put_into_it(value: dict[str, Any]) -> None:
    places = list(leaves({"spec": value}))
    named = set(ownership.managed_paths(fields_of(places)))
    assert len(named) == len(set(places))
    assert {len(path) for path in named} == {len(path) for path in places}


@given(OBJECTS)
def test_nobody_owns_a_field_beside_the_ones_he_wrote(value: dict[str, Any]) -> None:
    obj = managed({"spec": value}, me=list(leaves({"spec": value})))
    assert ownership.owners_of(obj, ("spec", "never-written")) == ()
    assert ownership.owners_of(obj, ("status", "replicas")) == ()


def owner(manager: str, fields: dict[str, Any], time: str = "2026-01-01T00:00:00Z", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


SCALER = "kube-controller-manager"
PORTS = [{"containerPort": 80}, {"containerPort": 81, "protocol": "UDP"}]
DEPLOYMENT = {
    "spec": {"replicas": 3, "args": ["a", "b"], "ports": PORTS},
    "metadata": {
        "finalizers": ["keep"],
        "managedFields": [
            owner("argocd-controller", {"f:spec": {"f:replicas": {}, "f:args": {}}}),
            owner(SCALER, {"f:spec": {"f:replicas": {}}}, "2026-01-02T00:00:00Z", subresource="scale"),
            owner("a", {"f:spec": {"f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}}}}}),
            owner("b", {"f:metadata": {"f:finalizers": {'v:"keep"': {}}}}),
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "managers"),
    [
        (("spec", "replicas"), ["kube-controller-manager", "argocd-controller"]),
        (("spec", "args", Item(1)), ["argocd-controller"]),
        (("spec", "ports", Item(0, (("containerPort", 80), ("protocol", "TCP")))), ["a"]),
        (("spec", "ports", Item(1, (("containerPort", 81), ("protocol", "UDP")))), []),
        (("metadata", "finalizers", Item(0)), ["b"]),
        (("spec",), ["kube-controller-manager", "argocd-controller", "a"]),
        ((), []),
    ],
    ids=["newest-first", "atomic-list", "defaulted-key", "other-item", "set-item", "part-of-it", "nothing"],
)
def test_the_spellings_of_a_place(path: Path, managers: list[str]) -> None:
    assert [found.manager for found in ownership.owners_of(DEPLOYMENT, path)] == managers


def test_an_owner_reads_as_a_sentence() -> None:
    first = ownership.owners_of(DEPLOYMENT, ("spec", "replicas"))[0]
    assert str(first) == "kube-controller-manager (Update through scale) since 2026-01-02 00:00:00Z"
    assert not first.person
    assert ownership.Owner("kubectl-edit", "Update", "", None).person


def test_paths_are_written_for_people_for_json_pointers_and_for_jq() -> None:
    path: Path = ("spec", "containers", Item(2, (("name", "web"),)), "env", Item(0), "a/b~c")
    assert ownership.shown(path) == '.spec.containers[name=web].env[0]["a/b~c"]'
    assert ownership.pointer(path) == "/spec/containers/2/env/0/a~1b~0c"
    assert ownership.jq_path(path) == '.spec.containers[] | select(.name == "web") | .env[0]["a/b~c"]'
