# ruff: noqa: E501 - tables of messages read best one case a line
from __future__ import annotations

import copy

import pytest
from conftest import DEPLOYMENT, deployment

from platform_lib.embedded.defaults import apply_defaults
from platform_lib.embedded.kinds import by_kind
from platform_lib.embedded.validate import causes, invalid_message


def texts(schemas, kind, obj, old=None):
    apply_defaults(kind, obj)
    return [str(error) for error in schemas.errors(kind, obj, old)]


def meta(name="x"):
    return {"metadata": {"name": name}}


def test_a_good_deployment_passes(schemas):
    assert texts(schemas, DEPLOYMENT, deployment()) == []


def test_the_selector_must_match_the_template(schemas):
    obj = deployment(selector={"matchLabels": {"app": "other"}})
    apply_defaults(DEPLOYMENT, obj)
    errors = schemas.errors(DEPLOYMENT, obj)
    assert invalid_message(DEPLOYMENT, "web", errors) == (
        'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: '
        "`selector` does not match template `labels`"
    )
    assert causes(errors)[0]["reason"] == "FieldValueInvalid"


def test_the_selector_is_immutable(schemas):
    old, new = deployment(), deployment(selector={"matchLabels": {"app": "new"}})
    new["spec"]["template"]["metadata"]["labels"] = {"app": "new"}
    assert texts(schemas, DEPLOYMENT, new, old) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"new"}}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"selector": {}}, "spec.selector: Invalid value: {}: empty selector is invalid for deployment"),
        ({"strategy": {"type": "Big"}}, 'spec.strategy.type: Unsupported value: "Big": supported values: "Recreate", "RollingUpdate"'),
        ({"strategy": {"type": "Recreate", "rollingUpdate": {}}}, "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"),
        ({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}, "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"),
        ({"progressDeadlineSeconds": 5, "minReadySeconds": 5}, "spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"),
    ],
)  # fmt: skip
def test_rules_of_a_deployment(schemas, change, wanted):
    assert wanted in texts(schemas, DEPLOYMENT, deployment(**change))


def test_a_missing_selector_and_template_are_required(schemas):
    obj = deployment()
    del obj["spec"]["selector"], obj["spec"]["template"]
    found = texts(schemas, DEPLOYMENT, obj)
    assert "spec.selector: Required value" in found
    assert "spec.template: Required value" in found


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"name": ""}, "containers[0].name: Required value"),
        ({"image": ""}, "containers[0].image: Required value"),
        ({"ports": [{"containerPort": 70000}]}, "containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"),
        ({"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}, 'containers[0].volumeMounts[0].name: Not found: "tmp"'),
        ({"livenessProbe": {}}, "containers[0].livenessProbe: Required value: must specify a handler type"),
        ({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}}, 'containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'),
        ({"env": [{"name": "A=B"}]}, 'containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name must consist only of printable ASCII characters other than \'=\''),
        ({"imagePullPolicy": "Often"}, 'containers[0].imagePullPolicy: Unsupported value: "Often": supported values: "Always", "IfNotPresent", "Never"'),
    ],
)  # fmt: skip
def test_rules_of_a_container(schemas, change, wanted):
    obj = deployment()
    obj["spec"]["template"]["spec"]["containers"][0].update(change)
    assert f"spec.template.spec.{wanted}" in texts(schemas, DEPLOYMENT, obj)


@pytest.mark.parametrize(
    ("kind", "name", "part"),
    [
        ("v1/ConfigMap", "Upper", "a lowercase RFC 1123 subdomain must consist of"),
        ("v1/Namespace", "a.b", "a lowercase RFC 1123 label must consist of"),
        ("v1/Service", "1st", "a DNS-1035 label must consist of"),
        ("rbac.authorization.k8s.io/v1/Role", "a/b", "may not contain '/'"),
        ("v1/ConfigMap", "a" * 254, "must be no more than 253 bytes"),
        ("v1/ConfigMap", "", "name or generateName is required"),
    ],
)
def test_names(schemas, kind, name, part):
    found = texts(schemas, by_kind(*kind.rsplit("/", 1)), meta(name))
    assert any(text.startswith("metadata.name: ") and part in text for text in found)


def test_role_names_may_have_colons(schemas):
    kind = by_kind("rbac.authorization.k8s.io/v1", "ClusterRole")
    assert texts(schemas, kind, meta("system:node") | {"rules": []}) == []


def test_labels_are_checked(schemas):
    obj = {"metadata": {"name": "x", "labels": {"a b": "c", "d": "e f"}}}
    found = texts(schemas, by_kind("v1", "ConfigMap"), obj)
    assert [text.split(":")[0] for text in found] == ["metadata.labels", "metadata.labels"]


@pytest.mark.parametrize(
    ("gvk", "body", "wanted"),
    [
        ("v1/Service", {"spec": {"ports": [{"port": 80}, {"port": 81}]}}, "spec.ports[0].name: Required value"),
        ("v1/Service", {"spec": {}}, "spec.ports: Required value"),
        ("v1/Service", {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive"),
        ("networking.k8s.io/v1/Ingress", {"spec": {}}, "spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"),
        ("policy/v1/PodDisruptionBudget", {"spec": {"minAvailable": "x%"}}, "spec.minAvailable: Invalid value: \"x%\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"),
        ("autoscaling/v2/HorizontalPodAutoscaler", {"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "D", "name": "x"}}}, "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"),
        ("rbac.authorization.k8s.io/v1/Role", {"rules": [{"resources": ["pods"], "apiGroups": [""]}]}, "rules[0].verbs: Required value: verbs must contain at least one value"),
        ("discovery.k8s.io/v1/EndpointSlice", {"addressType": "X", "endpoints": []}, 'addressType: Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6"'),
        ("v1/ConfigMap", {"data": {"a b": ""}}, "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"),
    ],
)  # fmt: skip
def test_rules_of_other_kinds(schemas, gvk, body, wanted):
    assert wanted in texts(schemas, by_kind(*gvk.rsplit("/", 1)), meta() | body)


@pytest.mark.parametrize(
    ("gvk", "old", "new", "part"),
    [
        ("v1/Service", {"spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 1}]}}, {"spec": {"clusterIP": "10.0.0.2", "ports": [{"port": 1}]}}, "may not change once set"),
        ("v1/Secret", {"type": "a"}, {"type": "b"}, 'type: Invalid value: "b": field is immutable'),
        ("v1/ConfigMap", {"immutable": True, "data": {"a": "b"}}, {"immutable": True, "data": {"a": "c"}}, "data: Forbidden: field is immutable when `immutable` is set"),
        ("rbac.authorization.k8s.io/v1/RoleBinding", {"roleRef": {"kind": "Role", "name": "a"}}, {"roleRef": {"kind": "Role", "name": "b"}}, "cannot change roleRef"),
    ],
)  # fmt: skip
def test_fields_that_may_not_change(schemas, gvk, old, new, part):
    kind = by_kind(*gvk.rsplit("/", 1))
    before = meta() | old
    apply_defaults(kind, before)
    assert any(part in text for text in texts(schemas, kind, meta() | new, before))


def test_a_running_pod_changes_image_and_labels_only(schemas):
    kind = by_kind("v1", "Pod")
    old = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a"}]}}
    apply_defaults(kind, old)
    new = copy.deepcopy(old)
    new["spec"]["containers"][0]["image"] = "b"
    new["spec"]["nodeName"] = "node"
    assert texts(schemas, kind, new, old) == []
    moved = copy.deepcopy(new)
    moved["spec"]["nodeName"] = "other"
    assert any("pod updates may not change fields" in text for text in texts(schemas, kind, moved, new))
