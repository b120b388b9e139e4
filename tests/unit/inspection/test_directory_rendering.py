"""Which objects a folder gives: files by Argo CD's rules, namespaces, tracking, hooks apart, other tools by name."""

from __future__ import annotations

from typing import Any

import pytest

from platform_lib.errors import InvalidInput, ManifestError
from platform_lib.model import Obj
from platform_lib.rules import manifests, rendering

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"


def namespaced(obj: Obj) -> bool | None:
    return {"Namespace": False, "Unicorn": None}.get(manifests.kind(obj), True)


def place(*objects: Obj) -> rendering.Rendered:
    return rendering.placed(objects, "shop", "shop-ns", namespaced)


def obj(kind: str = "ConfigMap", name: str = "a", **meta: Any) -> Obj:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **meta}}


@pytest.mark.parametrize(
    ("directory", "chosen"),
    [
        ({}, ["a.yaml", "b.yml", "c.json"]),
        ({"recurse": True}, ["a.yaml", "b.yml", "c.json", "deep/d.yaml"]),
        ({"recurse": True, "exclude": "*d.yaml"}, ["a.yaml", "b.yml", "c.json"]),
        ({"include": "{a,c}.*"}, ["a.yaml", "c.json"]),
        ({"include": "*.y*ml", "exclude": "b*"}, ["a.yaml"]),
    ],
)
def test_files_are_chosen_as_argo_cd_does(directory: dict[str, Any], chosen: list[str]) -> None:
    names = ["deep/d.yaml", "b.yml", "a.yaml", "c.json", "README.md", "notes.txt"]
    assert rendering.selected(names, directory) == chosen


def test_a_file_that_was_never_a_manifest_is_left_out_and_a_broken_manifest_is_named() -> None:
    good = {"a.yaml": MAP % "a", "values.yaml": "a: [", "skip.yaml": "# +argocd:skip-file-rendering\n" + MAP % "s"}
    assert [manifests.name(found) for found in rendering.objects_of(good)] == ["a"]
    with pytest.raises(ManifestError, match=r"bad\.yaml"):
        rendering.objects_of({"bad.yaml": MAP % "{"})


def test_objects_get_their_namespace_and_tracking() -> None:
    found = place(obj(), obj("Namespace", "shop-ns", namespace="wrong"), obj(name="b", namespace="other"))
    assert [manifests.namespace(one) for one in found.targets] == ["shop-ns", "", "other"]
    assert manifests.tracked_by(found.targets[0]) == "shop"
    assert manifests.tracking_of(found.targets[1]) is not None


def test_hooks_stand_apart_the_last_of_equal_objects_counts_and_excluded_kinds_are_said() -> None:
    hook = obj("Job", "migrate", annotations={manifests.HOOK_ANNOTATION: "PreSync"})
    found = place(hook, obj(labels={"v": "1"}), obj(labels={"v": "2"}), obj("Event", "e"))
    assert [manifests.name(one) for one in found.hooks] == ["migrate"]
    assert [manifests.labels(one) for one in found.targets] == [{"v": "2"}]
    assert len(found.warnings) == 2 and "more than once" in found.warnings[0] and "Event/e" in found.warnings[1]


def test_a_secret_is_compared_in_the_form_in_which_it_is_stored() -> None:
    found = rendering.stored({**obj("Secret"), "stringData": {"a": "b"}, "data": {"c": "ZA=="}})
    assert found["data"] == {"a": "Yg==", "c": "ZA=="} and "stringData" not in found


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"sources": [{}, {}]}, "2 sources"),
        ({"source": {"repoURL": "x", "chart": "redis"}}, "redis"),
        ({"source": {}}, "absent"),
        ({"source": {"repoURL": "x"}, "sourceHydrator": {}}, ""),
    ],
)
def test_sources_that_only_argo_cd_renders_are_refused(spec: dict[str, Any], said: str) -> None:
    application = {"metadata": {"name": "shop"}, "spec": spec}
    if not said:
        assert rendering.source_of(application) == {"repoURL": "x"}
        return
    with pytest.raises(InvalidInput, match=said) as refused:
        rendering.source_of(application)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("source", "names", "tool"),
    [
        ({}, ["a.yaml"], "directory"),
        ({}, ["Chart.yaml"], "helm"),
        ({}, ["kustomization.yaml", "a.yaml"], "kustomize"),
        ({"directory": {"recurse": True}}, ["kustomization.yaml"], "directory"),
        ({"kustomize": {"namePrefix": "x"}}, ["a.yaml"], "kustomize"),
        ({"plugin": {"name": "p"}}, ["a.yaml"], "plugin"),
    ],
)
def test_the_tool_is_found_as_argo_cd_finds_it(source: dict[str, Any], names: list[str], tool: str) -> None:
    assert rendering.tool_of(source, names) == tool
