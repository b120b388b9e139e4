from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.patch import json_patch, merge_patch, same
from platform_lib.errors import Invalid

SCALARS = st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=4)
NO_NULL = st.booleans() | st.integers(-1000, 1000) | st.text(max_size=4)


def values(leaves):
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    )


OBJECTS = st.dictionaries(st.text(max_size=3), values(NO_NULL), max_size=4)
PATCHES = st.dictionaries(st.text(max_size=3), values(SCALARS), max_size=4)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # the examples of RFC 7396, appendix A, whose result is an object
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_follows_the_rfc(target, patch, result):
    assert merge_patch(target, patch) == result


@given(OBJECTS)
def test_an_empty_merge_patch_changes_nothing(obj):
    assert merge_patch(obj, {}) == obj


@given(OBJECTS, PATCHES)
def test_a_merge_patch_applied_twice_is_the_same_as_once(obj, patch):
    once = merge_patch(obj, patch)
    assert merge_patch(once, patch) == once


@given(OBJECTS, PATCHES)
def test_a_merge_patch_leaves_its_inputs_alone(obj, patch):
    before = copy.deepcopy((obj, patch))
    result = merge_patch(obj, patch)
    _scribble(result)
    assert (obj, patch) == before


def _scribble(value):
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _scribble(item)
    if isinstance(value, dict):
        value["scribble"] = 1
    elif isinstance(value, list):
        value.append("scribble")


def test_a_merge_patch_must_be_an_object():
    with pytest.raises(Invalid) as caught:
        merge_patch({}, [1])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("obj", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
        ({"a": {"b": 1}}, [{"op": "move", "from": "/a/b", "path": "/c"}], {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a/b": 1, "~": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/~0"}], {}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 1}}], {"b": 1}),
    ],
)
def test_json_patch_follows_the_rfc(obj, operations, result):
    assert json_patch(obj, operations) == result


@pytest.mark.parametrize(
    ("operations", "status"),
    [
        ([{"op": "remove", "path": "/missing"}], 422),
        ([{"op": "replace", "path": "/missing", "value": 1}], 422),
        ([{"op": "add", "path": "/l/9", "value": 1}], 422),
        ([{"op": "add", "path": "/l/01", "value": 1}], 422),
        ([{"op": "add", "path": "/l/-1", "value": 1}], 422),
        ([{"op": "test", "path": "/a", "value": True}], 422),
        ([{"op": "test", "path": "/a", "value": 2}], 422),
        ([{"op": "explode", "path": "/a"}], 400),
        ([{"op": "add", "path": "/a"}], 400),
        ([{"op": "add", "path": "a", "value": 1}], 400),
        ([{"op": "move", "from": "/o", "path": "/o/p"}], 400),
        ([7], 400),
        ({"op": "add"}, 400),
        ([{"op": "test", "path": "/a", "value": 1}] * 10_001, 413),
    ],
)
def test_json_patch_refuses_and_leaves_the_object_alone(operations, status):
    obj = {"a": 1, "l": [0], "o": {"p": 1}}
    with pytest.raises(Invalid) as caught:
        json_patch(obj, operations)
    assert caught.value.status == status
    assert obj == {"a": 1, "l": [0], "o": {"p": 1}}


@given(OBJECTS, st.text(max_size=3), values(NO_NULL))
def test_adding_and_removing_a_field_is_a_round_trip(obj, key, value):
    obj.pop(key, None)
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch(obj, [{"op": "add", "path": path, "value": value}])
    assert same(added[key], value)
    assert json_patch(added, [{"op": "remove", "path": path}]) == obj


@given(OBJECTS)
def test_a_json_patch_of_tests_changes_nothing(obj):
    operations = [
        {"op": "test", "path": "/" + key.replace("~", "~0").replace("/", "~1"), "value": value}
        for key, value in obj.items()
    ]
    assert json_patch(obj, operations) == obj
