"""Projects, windows, ignored differences and rendering, as tables."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from platform_lib.embedded.argocd.ignore import ignored_paths, respecting, without
from platform_lib.embedded.argocd.project import destination_permitted, kind_permitted, source_permitted, spec_errors
from platform_lib.embedded.argocd.render import glob_matches, place, read_objects, refuse_other_tools, select_files
from platform_lib.embedded.argocd.windows import duration_s, is_active, sync_allowed
from platform_lib.errors import ManifestError
from platform_lib.rules import manifests as m

TUESDAY_NOON = datetime(2026, 6, 2, 12, 0, 30, tzinfo=UTC)
ABOUT = {"name": "web", "namespace": "prod", "cluster": "https://kubernetes.default.svc"}


def window(kind="allow", schedule="0 12 * * *", duration="1h", **more):
    return {"kind": kind, "schedule": schedule, "duration": duration, "applications": ["*"], **more}


CLOSED = "0 3 * * *"


@pytest.mark.parametrize(
    ("windows", "automated", "manual"),
    [
        ([], True, True),
        ([window()], True, True),
        ([window(schedule=CLOSED)], False, False),
        ([window(schedule=CLOSED, manualSync=True)], False, True),
        ([window("deny")], False, False),
        ([window("deny", manualSync=True)], False, True),
        ([window("deny", schedule=CLOSED)], True, True),
        ([window(), window("deny")], False, False),
        ([window(), window(schedule=CLOSED)], True, True),
        ([window("deny", applications=["other"])], True, True),
        ([window("deny", applications=["other"], namespaces=["pr*"])], False, False),
        ([window("deny", applications=["other"], namespaces=["pr*"], andOperator=True)], True, True),
    ],
)
def test_windows_decide(windows, automated, manual):
    assert sync_allowed(windows, ABOUT, TUESDAY_NOON, manual=False) is automated
    assert sync_allowed(windows, ABOUT, TUESDAY_NOON, manual=True) is manual


@pytest.mark.parametrize(
    ("schedule", "duration", "active"),
    [
        ("* * * * *", "1m", True),
        ("0 12 * * *", "30s", False),
        ("0 12 * * *", "31s", True),
        ("*/15 11-12 * * mon-fri", "5m", True),
        ("0 22 * * *", "14h", False),
        ("0 22 * * *", "14h1m", True),
        ("0 12 * * 0", "1h", False),
        ("0 12 1 * 2", "1h", True),
        ("@daily", "13h", True),
        ("nonsense", "1h", False),
        ("99 * * * *", "1h", False),
    ],
)
def test_schedules(schedule, duration, active):
    assert is_active({"schedule": schedule, "duration": duration}, TUESDAY_NOON) is active


def test_schedules_follow_their_time_zone():
    found = {"schedule": "0 14 * * *", "duration": "1h", "timeZone": "Europe/Berlin"}
    assert is_active(found, TUESDAY_NOON)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("1h30m", 5400), ("7", 7), ("100ms", 0.1), ("x", 9), (None, 9)]
)
def test_durations(text, seconds):
    assert duration_s(text, 9.0) == seconds


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("*", "a/b", True),
        ("*.yaml", "x/y.yaml", True),
        ("{a,b}.yaml", "b.yaml", True),
        ("{a,b}.yaml", "c.yaml", False),
        ("x[0-9]", "x5", True),
        ("x[!0-9]", "x5", False),
        ("a?c", "abc", True),
        ("a.c", "abc", False),
    ],
)
def test_globs(pattern, text, matches):
    assert glob_matches(pattern, text) is matches


def project(**spec):
    return {"metadata": {"name": "p"}, "spec": spec}


def test_sources_are_permitted_by_glob_and_denied_by_exclamation():
    found = project(sourceRepos=["https://git/*", "!https://git/secret"])
    assert source_permitted(found, "https://git/web")
    assert not source_permitted(found, "https://git/secret")
    assert not source_permitted(project(), "https://git/web")


def test_destinations():
    found = project(destinations=[{"server": "*", "namespace": "team-*"}, {"server": "*", "namespace": "!team-x"}])
    here = {"server": "https://kubernetes.default.svc"}
    assert destination_permitted(found, here, "team-a")
    assert not destination_permitted(found, here, "team-x")
    assert not destination_permitted(found, here, "other")


@pytest.mark.parametrize(
    ("spec", "group", "kind", "namespaced", "permitted"),
    [
        ({}, "", "ConfigMap", True, True),
        ({}, "", "Namespace", False, False),
        ({"clusterResourceWhitelist": [{"group": "", "kind": "Namespace"}]}, "", "Namespace", False, True),
        ({"clusterResourceWhitelist": [{"group": "*", "kind": "*"}]}, "x.io", "Y", False, True),
        ({"namespaceResourceWhitelist": []}, "", "ConfigMap", True, False),
        ({"namespaceResourceBlacklist": [{"group": "", "kind": "Secret"}]}, "", "Secret", True, False),
    ],
)
def test_kinds(spec, group, kind, namespaced, permitted):
    assert kind_permitted(project(**spec), group, kind, namespaced=namespaced) is permitted


def application(destination, **spec):
    return {"metadata": {"name": "a"}, "spec": {"source": {"repoURL": "u"}, "destination": destination, **spec}}


OPEN = project(sourceRepos=["*"], destinations=[{"server": "*", "namespace": "*"}])
HERE = {"server": "https://kubernetes.default.svc", "namespace": "n"}


@pytest.mark.parametrize(
    ("app", "of", "said"),
    [
        (application(HERE), OPEN, ""),
        (application({"name": "in-cluster", "namespace": "n"}), OPEN, ""),
        (application({**HERE, "name": "in-cluster"}), OPEN, "can't have both name and server"),
        (application({"namespace": "n"}), OPEN, "Destination server missing"),
        (application({"server": "https://far"}), OPEN, "unable to find destination server"),
        (application(HERE), None, "referencing project default which does not exist"),
        (
            application(HERE),
            project(destinations=[{"server": "*", "namespace": "*"}]),
            "application repo u is not permitted",
        ),
        (application(HERE), project(sourceRepos=["*"]), "do not match any of the allowed destinations"),
        (application(HERE, sources=[{}, {}]), OPEN, "multiple sources are not served"),
        (application(HERE, source={}), OPEN, "spec.source.repoURL"),
    ],
)
def test_specification_errors(app, of, said):
    found = "; ".join(spec_errors(app, of))
    assert said in found
    assert bool(said) == bool(found)


POD = {
    "metadata": {"name": "x"},
    "spec": {"replicas": 1, "list": [{"name": "a", "v": 1}, {"name": "b", "v": 2}, {"name": "c", "v": 3}]},
}


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"jsonPointers": ["/spec/replicas"]}, [1, 2, 3]),
        ({"jsonPointers": ["/spec/list/0", "/spec/list/1"]}, [3]),
        ({"jqPathExpressions": [".spec.list[1]"]}, [1, 3]),
        ({"jqPathExpressions": ['.spec.list[] | select(.name == "b")']}, [1, 3]),
        ({"jqPathExpressions": ['.spec.list[] | select(.name == "b") | .v']}, [1, None, 3]),
        ({"jqPathExpressions": [".spec.list[].v"]}, [None, None, None]),
        ({"jsonPointers": ["/spec/nothing/here"]}, [1, 2, 3]),
    ],
)
def test_ignored_paths_are_removed(rule, left):
    result = without(POD, ignored_paths(POD, POD, [rule]))
    assert [item.get("v") for item in result["spec"]["list"]] == left
    assert POD["spec"]["replicas"] == 1


def test_fields_of_other_managers_can_be_ignored():
    live = {**POD, "metadata": {"managedFields": [{"manager": "hpa", "fieldsV1": {"f:spec": {
        "f:replicas": {}, "f:list": {'k:{"name":"b"}': {".": {}, "f:v": {}}}}}}]}}  # fmt: skip
    result = without(POD, ignored_paths(POD, live, [{"managedFieldsManagers": ["hpa"]}]))
    assert "replicas" not in result["spec"]
    assert result["spec"]["list"][1] == {"name": "b"}


def test_an_expression_that_is_not_served_says_so():
    with pytest.raises(ManifestError, match="not served"):
        ignored_paths(POD, POD, [{"jqPathExpressions": [".spec | keys"]}])


def test_respected_differences_keep_the_live_value():
    live = {**POD, "spec": {"replicas": 7}}
    rule = {"jsonPointers": ["/spec/replicas", "/spec/list"]}
    assert respecting(POD, live, [rule])["spec"] == {"replicas": 7}
    assert respecting(POD, None, [rule]) == POD


def manifest(name, **more):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more}}


def test_files_are_chosen_by_name_pattern_and_marker():
    files = {
        "a.yaml": "x", "b.yml": "x", "c.json": "{}", "README.md": "x", "sub/d.yaml": "x",
        "skip.yaml": "# +argocd:skip-file-rendering",
    }  # fmt: skip
    assert list(select_files(files, {})) == ["a.yaml", "b.yml", "c.json", "sub/d.yaml"]
    assert list(select_files(files, {"include": "{a,b}.*"})) == ["a.yaml", "b.yml"]
    assert list(select_files(files, {"exclude": "*/d.yaml", "include": "*.yaml"})) == ["a.yaml"]


def test_other_yaml_is_skipped_and_broken_manifests_are_named():
    assert read_objects({"values.yaml": "a: 1\n", "list.yaml": "[1, 2\n"}) == []
    with pytest.raises(ManifestError, match=r'Failed to unmarshal "web.yaml"'):
        read_objects({"web.yaml": "apiVersion: v1\nkind: X\nmetadata: [\n"})


def test_objects_are_placed_tracked_and_made_unique():
    cluster_wide = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "namespace": "wrong"}}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}
    objects = [manifest("a", labels={"v": "1"}), cluster_wide, lease, manifest("a", labels={"v": "2"})]
    rendered = place(objects, "app", "dest", lambda o: m.kind(o) != "Namespace")
    assert [m.key(o)[1:] for o in rendered.targets] == [("Namespace", "", "n"), ("ConfigMap", "dest", "a")]
    assert m.labels(rendered.targets[1]) == {"v": "2"}
    assert all(m.tracked_by(o) == "app" for o in rendered.targets)
    assert [type_ for type_, _ in rendered.warnings] == ["ExcludedResourceWarning", "RepeatedResourceWarning"]
    assert "namespace" not in m.metadata(objects[0])


@pytest.mark.parametrize(
    ("source", "names"),
    [({}, ["kustomization.yaml"]), ({}, ["Chart.yaml"]), ({"helm": {"x": 1}}, []), ({"plugin": {"name": "p"}}, [])],
)
def test_other_tools_are_refused_by_name(source, names):
    with pytest.raises(ManifestError, match="is not served by the embedded platform"):
        refuse_other_tools(source, names)
    refuse_other_tools({"directory": {"recurse": True}}, ["kustomization.yaml"])
