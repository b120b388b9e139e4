# ruff: noqa: E501 - tables of messages read best one case a line
from __future__ import annotations

import time

import pytest
from conftest import DEPLOYMENT, deployment
from hypothesis import given, settings
from hypothesis import strategies as st

from platform_lib.embedded.defaults import apply_defaults
from platform_lib.embedded.kinds import KINDS, by_gvr, by_kind, kind_from_crd
from platform_lib.embedded.quantity import canonical_quantity, parse_quantity
from platform_lib.embedded.schema import Schemas
from platform_lib.embedded.validate import decoding_message, strict_message, strict_warnings

CRD = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "properties": {
                                    "size": {"type": "integer", "default": 3},
                                    "colour": {"type": "string", "enum": ["red", "blue"]},
                                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                },
                            }
                        },
                    }
                },
            },
            {"name": "v0", "served": False, "storage": False},
        ],
    },
}


def test_the_cache_loads_fast(schemas, cache_file):
    started = time.perf_counter()
    Schemas.load(cache_file)
    assert time.perf_counter() - started < 0.06
    assert cache_file.stat().st_size < 200_000


def test_every_stored_kind_has_a_schema(schemas):
    unknown = [kind.kind for kind in KINDS if kind.stored and schemas.node(kind).type == "any"]
    assert unknown == []


def test_resource_keys_are_unique():
    assert len({kind.gvr for kind in KINDS}) == len(KINDS)
    assert by_gvr("v1/pods") is by_kind("v1", "Pod")


def test_an_unknown_field_reads_as_in_kubernetes(schemas):
    obj = deployment(bogus=1)
    obj["spec"]["template"]["spec"]["containers"][0]["imaeg"] = "x"
    unknown = schemas.unknown_fields(DEPLOYMENT, obj)
    assert strict_message(DEPLOYMENT, unknown) == (
        'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: '
        'unknown field "spec.template.spec.containers[0].imaeg", unknown field "spec.bogus"'
    )
    assert strict_warnings(unknown)[1] == '299 - "unknown field \\"spec.bogus\\""'


def test_a_known_body_has_no_unknown_field(schemas):
    assert schemas.unknown_fields(DEPLOYMENT, deployment()) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"replicas": "two"}, "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        ({"template": []}, "json: cannot unmarshal array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec"),
        ({"paused": 1}, "json: cannot unmarshal number into Go struct field DeploymentSpec.spec.paused of type bool"),
        ({"replicas": 2**40}, f"json: cannot unmarshal number {2**40} into Go struct field DeploymentSpec.spec.replicas of type int32"),
    ],
)  # fmt: skip
def test_a_wrong_type_reads_as_in_kubernetes(schemas, change, text):
    wrong = schemas.type_error(DEPLOYMENT, deployment(**change))
    assert wrong is not None
    assert wrong.message == text
    assert decoding_message(DEPLOYMENT, wrong).startswith('Deployment in version "v1" cannot be handled')


def test_a_wrong_type_inside_a_list_has_no_position_in_its_path(schemas):
    obj = deployment()
    obj["spec"]["template"]["spec"]["containers"][0]["env"][1]["value"] = 7
    wrong = schemas.type_error(DEPLOYMENT, obj)
    assert wrong.message.endswith("EnvVar.spec.template.spec.containers.env.value of type string")
    assert wrong.path == "spec.template.spec.containers[0].env[1].value"


def test_pruning_makes_templates_of_go_and_of_people_equal(schemas):
    plain, go = deployment(), deployment()
    go["status"] = {}
    go["spec"]["template"]["metadata"]["creationTimestamp"] = None
    go["spec"]["template"]["metadata"]["annotations"] = {}
    go["spec"]["template"]["spec"]["volumes"] = []
    go["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = None
    go["spec"]["unheard"] = 1
    schemas.prune(DEPLOYMENT, plain)
    schemas.prune(DEPLOYMENT, go)
    assert go["spec"] == plain["spec"]


def test_pruning_keeps_empty_objects_that_say_something(schemas):
    pod = {"spec": {"volumes": [{"name": "tmp", "emptyDir": {}}], "containers": []}}
    schemas.prune(by_kind("v1", "Pod"), pod)
    assert pod["spec"]["volumes"] == [{"name": "tmp", "emptyDir": {}}]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.5", "500m"), (1, "1"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("0", "0"),
        ("100k", "100k"), ("1e3", "1e3"), ("128974848", "128974848"), ("0.1m", "100u"), ("garbage", "garbage"),
    ],
)  # fmt: skip
def test_quantities_are_written_as_kubernetes_does(value, text):
    assert canonical_quantity(value) == text
    if text != "garbage":
        assert parse_quantity(text) == parse_quantity(value)


def test_a_definition_becomes_a_kind_with_its_schema(schemas):
    kinds = kind_from_crd(CRD)
    assert [(kind.gvr, kind.status, kind.columns) for kind in kinds] == [
        ("example.com/v1/widgets", True, (("Size", "integer", ".spec.size", 0),))
    ]
    schemas.add_crd(CRD)
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}}
    body = widget | {"spec": {"bogus": 1, "free": {"x": 1}, "colour": "green"}}
    assert schemas.unknown_fields(kinds[0], body) == ['unknown field "spec.bogus"']
    assert [str(error) for error in schemas.errors(kinds[0], body)] == [
        "spec.size: Required value",
        'spec.colour: Unsupported value: "green": supported values: "blue", "red"',
    ]
    schemas.remove_crd(CRD)
    assert schemas.unknown_fields(kinds[0], body) == []


def test_a_typing_error_in_an_application_is_found(schemas):
    kind = by_kind("argoproj.io/v1alpha1", "Application")
    spec = {"project": "p", "destination": {}, "source": {"repoURL": "x", "helm": {"any": 1}}, "sycnPolicy": {}}
    obj = {"apiVersion": kind.api_version, "kind": "Application", "metadata": {"name": "a"}, "spec": spec}
    assert schemas.unknown_fields(kind, obj) == ['unknown field "spec.sycnPolicy"']


FIELDS = st.sampled_from(
    ["metadata", "spec", "name", "labels", "selector", "matchLabels", "template", "containers", "ports", "port",
     "env", "rules", "http", "paths", "backend", "service", "strategy", "rollingUpdate", "maxSurge", "resources",
     "limits", "requests", "cpu", "livenessProbe", "httpGet", "volumes", "tolerations", "roleRef", "subjects",
     "metrics", "behavior", "scaleUp", "endpoints", "addresses", "versions", "names", "data", "annotations",
     "ownerReferences", "finalizers", "minAvailable", "topologySpreadConstraints", "matchExpressions"]
)  # fmt: skip
BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 70000) | st.sampled_from(["", "a", "10%", "A B", "1", "In"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=400)
@given(st.sampled_from([kind for kind in KINDS if kind.stored]), st.dictionaries(FIELDS, BODIES, max_size=5))
def test_any_body_ends_in_a_verdict(schemas, kind, body):
    body.setdefault("metadata", {"name": "x"})
    schemas.unknown_fields(kind, body)
    if schemas.type_error(kind, body) is None:
        schemas.prune(kind, body)
        apply_defaults(kind, body, schemas)
        assert isinstance(schemas.errors(kind, body), list)


@settings(max_examples=400)
@given(st.data())
def test_a_body_with_one_thing_wrong_ends_in_a_verdict(schemas, data):
    obj = deployment()
    place = obj["spec"]
    while data.draw(st.booleans()) and (inner := [v for v in _parts(place) if isinstance(v, (dict, list)) and v]):
        place = data.draw(st.sampled_from(inner))
    key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
    place[key] = data.draw(BODIES)
    if schemas.type_error(DEPLOYMENT, obj) is None:
        schemas.prune(DEPLOYMENT, obj)
        apply_defaults(DEPLOYMENT, obj, schemas)
        assert isinstance(schemas.errors(DEPLOYMENT, obj), list)


def _parts(value):
    return list(value.values()) if isinstance(value, dict) else value
