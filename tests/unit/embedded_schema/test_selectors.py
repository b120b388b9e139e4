from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.embedded.selectors import (
    field_value,
    match_labels,
    match_map,
    parse_field_selector,
    parse_label_selector,
)
from platform_lib.errors import Invalid


@pytest.mark.parametrize(
    ("text", "labels", "chosen"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c)", {}, False),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a=", {"a": ""}, True),
        ("a in (,b)", {"a": ""}, True),
        ("n>3", {"n": "4"}, True),
        ("n<3", {"n": "4"}, False),
        ("owner!=helm", {"owner": "me"}, True),
        ("app.kubernetes.io/name=x,tier in (a),!old", {"app.kubernetes.io/name": "x", "tier": "a"}, True),
    ],
)
def test_label_selectors(text, labels, chosen):
    assert parse_label_selector(text)(labels) is chosen


@pytest.mark.parametrize("text", ["a in b", "a in (b", "=b", "a=b,", "a ~ b", "a b", "!,", "-x=1", "n>x"])
def test_unreadable_label_selectors_are_a_bad_request(text):
    with pytest.raises(Invalid) as caught:
        parse_label_selector(text)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_an_empty_selector_object_matches_all_and_none_matches_nothing():
    assert match_labels({}, {"a": "b"})
    assert match_labels({}, None)
    assert not match_labels(None, {"a": "b"})
    assert not match_map({}, {"a": "b"})
    assert match_map({"a": "b"}, {"a": "b", "c": "d"})


LABELS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y", ""]), max_size=3)


@given(LABELS, LABELS)
def test_text_and_object_form_agree(wanted, labels):
    text = ",".join(f"{key}={value}" for key, value in wanted.items())
    assert parse_label_selector(text)(labels) is match_labels({"matchLabels": wanted}, labels)


@given(LABELS)
def test_a_selector_made_of_the_labels_chooses_them(labels):
    assert match_labels({"matchLabels": labels}, labels)


@given(LABELS, st.sampled_from(["a", "b", "c"]), st.lists(st.sampled_from(["x", "y"]), min_size=1))
def test_notin_is_the_opposite_of_in(labels, key, values):
    listed = ",".join(values)
    assert parse_label_selector(f"{key} in ({listed})")(labels) is not parse_label_selector(f"{key} notin ({listed})")(
        labels
    )


POD = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "node"}, "status": {"phase": "Running"}}


@pytest.mark.parametrize(
    ("text", "gvr", "obj", "chosen"),
    [
        ("metadata.name=p,status.phase!=Failed", "v1/pods", POD, True),
        ("spec.nodeName=other", "v1/pods", POD, False),
        ("spec.unschedulable=false", "v1/nodes", {"spec": {}}, True),
        ("spec.unschedulable=true", "v1/nodes", {"spec": {"unschedulable": True}}, True),
        ("involvedObject.namespace=", "v1/events", {"involvedObject": {"kind": "Node"}}, True),
        ("involvedObject.name==x", "v1/events", {"involvedObject": {"name": "x"}}, True),
    ],
)
def test_field_selectors(text, gvr, obj, chosen):
    assert parse_field_selector(text, gvr)(obj) is chosen


def test_an_unsupported_field_is_named():
    with pytest.raises(Invalid, match=r"field label not supported: spec\.replicas"):
        parse_field_selector("spec.replicas=1", "apps/v1/deployments")


def test_the_value_of_one_field_can_be_asked_for():
    assert field_value("a=b,metadata.name=x", "metadata.name") == "x"
    assert field_value("metadata.name!=x", "metadata.name") is None
    assert field_value(None, "metadata.name") is None
