# ruff: noqa: E501
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.errors import ManifestError
from platform_lib.rules import manifests as m


def obj(kind="ConfigMap", name="a", *, api="v1", ns="", **annotations):
    meta = {"name": name, **({"namespace": ns} if ns else {})}
    if annotations:
        meta["annotations"] = {k.replace("__", "/"): v for k, v in annotations.items()}
    return {"apiVersion": api, "kind": kind, "metadata": meta}


def test_many_documents_are_read_and_empty_ones_dropped():
    text = "---\n# only a comment\n---\napiVersion: v1\nkind: A\nmetadata: {name: x}\n---\n\n---\napiVersion: v1\nkind: B\nmetadata: {name: y}\n"
    assert [m.key(o) for o in m.parse_manifests(text, "f.yaml")] == [("", "A", "", "x"), ("", "B", "", "y")]


def test_lists_are_expanded():
    text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: A, metadata: {name: x}}\n- {apiVersion: v1, kind: B, metadata: {name: y}}\n"
    assert [m.kind(o) for o in m.parse_manifests(text, "f.yaml")] == ["A", "B"]


def test_json_files_hold_one_object():
    assert m.name(m.parse_manifests('{"apiVersion":"v1","kind":"A","metadata":{"name":"x"}}', "f.json")[0]) == "x"


def test_scalars_are_read_as_kubernetes_reads_them():
    text = "apiVersion: v1\nkind: A\nmetadata: {name: x}\nv: [2024-01-01, 12:30, 0644, yes, 1.5, 1e3, 007, 10]\nm: {80: web}\n"
    (read,) = m.parse_manifests(text, "f.yaml")
    assert read["v"][:5] == ["2024-01-01", "12:30", 420, True, 1.5]
    assert read["v"][6:] == [7, 10]
    assert read["m"] == {"80": "web"}


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        ("a: [1", "", "yaml: line 2"),
        ("just text", "", "found str"),
        ("apiVersion: v1\nkind: A\nmetadata: {name: x}\nv: 99999999999999999999\n", "", "does not fit into 64 bits"),
        ("kind: A\nmetadata: {name: x}\n", "apiVersion", "Object 'ApiVersion' is missing"),
        ("apiVersion: v1\nmetadata: {name: x}\n", "kind", "Object 'Kind' is missing"),
        ("apiVersion: v1\nkind: A\n", "metadata.name", "has no metadata.name"),
    ],
)
def test_a_broken_document_is_named_with_its_file(text, field, said):
    with pytest.raises(ManifestError) as caught:
        m.parse_manifests(text, "deploy/web.yaml")
    assert said in caught.value.message
    assert caught.value.message.startswith('Failed to unmarshal "deploy/web.yaml": ')
    assert caught.value.field == field
    assert "commit again" in caught.value.hint


def test_tracking_id_round_trips_and_refers_to_itself():
    tracked = m.with_tracking(obj("Service", "web", ns="default"), "guestbook")
    assert m.annotations(tracked)[m.TRACKING_ANNOTATION] == "guestbook:/Service:default/web"
    assert m.tracked_by(tracked) == "guestbook"


def test_cluster_wide_objects_carry_the_destination_namespace():
    tracked = m.with_tracking(obj("ClusterRole", "r", api="rbac.authorization.k8s.io/v1"), "app", "demo")
    assert m.annotations(tracked)[m.TRACKING_ANNOTATION] == "app:rbac.authorization.k8s.io/ClusterRole:demo/r"
    assert m.tracked_by(tracked) == "app"


def test_a_copy_or_an_owned_object_is_not_tracked():
    tracked = m.with_tracking(obj("Service", "web", ns="default"), "app")
    copy = {**tracked, "metadata": {**tracked["metadata"], "name": "web-2"}}
    owned = {**tracked, "metadata": {**tracked["metadata"], "ownerReferences": [{"uid": "u"}]}}
    assert m.tracked_by(copy) == "" == m.tracked_by(owned)


def test_definitions_are_never_tracked():
    crd = obj("CustomResourceDefinition", "x.y", api="apiextensions.k8s.io/v1")
    assert m.tracked_by(m.with_tracking(crd, "app")) == ""


@pytest.mark.parametrize("text", ["", "a", "a:b", "a:/K:n", "a:b/K:", ":/K:n/x"])
def test_malformed_tracking_ids_are_ignored(text):
    assert (
        m.tracking_of(
            obj(argocd_argoproj_io__x="1") | {"metadata": {"name": "a", "annotations": {m.TRACKING_ANNOTATION: text}}}
        )
        is None
    )


@pytest.mark.parametrize(("value", "wave"), [("3", 3), ("-2", -2), ("x", 0), ("", 0)])
def test_wave_is_a_number_or_zero(value, wave):
    assert m.sync_wave(obj(argocd__x="") | {"metadata": {"annotations": {m.SYNC_WAVE_ANNOTATION: value}}}) == wave


def test_hook_weight_serves_where_no_wave_is_given():
    assert m.sync_wave({"metadata": {"annotations": {"helm.sh/hook-weight": "-5"}}}) == -5


def test_helm_hooks_become_sync_hooks():
    assert m.hooks({"metadata": {"annotations": {"helm.sh/hook": "pre-install,pre-upgrade,crd-install"}}}) == [
        "PreSync"
    ]


def test_images_of_template_and_pod():
    workload = {
        "kind": "Deployment",
        "spec": {
            "template": {
                "metadata": {"labels": {m.VERSION_LABEL: "v2"}},
                "spec": {
                    "initContainers": [{"name": "i", "image": "init@sha256:1"}],
                    "containers": [{"name": "a", "image": "app@sha256:2"}, {"name": "b", "image": "b"}],
                },
            }
        },
    }
    assert m.images(workload) == ["init@sha256:1", "app@sha256:2", "b"]
    assert (m.image_of(workload), m.image_of(workload, "b"), m.image_of(workload, "c")) == (
        "app@sha256:2",
        "b",
        "",
    )
    assert m.version_of(workload) == "v2"


@given(st.permutations([*m.KIND_ORDER, "Zebra"]))
def test_kinds_sort_into_the_order_of_applying(kinds):
    ordered = sorted((obj(kind) for kind in kinds), key=m.apply_order)
    assert [m.kind(o) for o in ordered] == [*m.KIND_ORDER, "Zebra"]


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from(m.KIND_ORDER), st.text("abc", min_size=1)), max_size=20))
def test_waves_never_go_backwards_in_the_order(items):
    objs = [{"kind": k, "metadata": {"name": n, "annotations": {m.SYNC_WAVE_ANNOTATION: str(w)}}} for w, k, n in items]
    waves = [m.sync_wave(o) for o in sorted(objs, key=m.apply_order)]
    assert waves == sorted(waves)
