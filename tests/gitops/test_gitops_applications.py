"""Do the Applications lead from the bootstrap to every folder, within what their project allows?"""

from __future__ import annotations

import yaml

from platform_lib.providers.bootstrap import repourl

IN_CLUSTER = "https://kubernetes.default.svc"


def of_kind(documents, kind):
    return {d.name: d for d in documents if d.kind == kind}


def applications(documents):
    return {name: d.body["spec"] for name, d in of_kind(documents, "Application").items()}


def test_each_application_points_at_a_folder_with_manifests(project, documents):
    for name, spec in applications(documents).items():
        folder = project / spec["source"]["path"]
        assert list(folder.glob("*.yaml")), f"{name}: {folder} is empty"
        assert not [p for p in folder.iterdir() if p.is_dir()], "sub-folders would need directory.recurse"


def test_both_bootstraps_start_the_same_root(project):
    folder = project / "gitops" / "bootstrap"
    embedded, k3d = (yaml.safe_load((folder / name / "root.yaml").read_text()) for name in ("embedded", "k3d"))
    assert embedded == repourl.with_repo_url(k3d, *repourl.own(project)[:1], repourl.INTERNAL, "main")
    assert embedded["spec"]["source"]["path"] == "gitops/apps"


def test_every_folder_of_manifests_belongs_to_one_application(documents):
    paths = [spec["source"]["path"] for spec in applications(documents).values()]
    folders = {d.file.rpartition("/")[0] for d in documents if not d.file.startswith("gitops/bootstrap/")}
    assert sorted(paths) == sorted(folders)


def test_all_applications_read_the_repository_and_branch_of_the_root(project, documents):
    mine = [d for d in documents if not d.file.startswith("gitops/bootstrap/embedded/")]
    sources = {(s["source"]["repoURL"], s["source"]["targetRevision"]) for s in applications(mine).values()}
    assert sources == {repourl.own(project)}


def test_all_applications_sync_prune_and_heal_by_themselves(documents):
    for name, spec in applications(documents).items():
        assert spec["syncPolicy"]["automated"] == {"prune": True, "selfHeal": True}, name
        assert spec["syncPolicy"]["retry"]["refresh"] is True, "a fix must overtake the commit it repairs"


def test_the_replica_count_is_left_to_the_autoscaler(documents):
    spec = applications(documents)["sample-app"]
    assert spec["ignoreDifferences"] == [
        {"group": "apps", "kind": "Deployment", "name": "sample-app", "jsonPointers": ["/spec/replicas"]}
    ]
    assert "RespectIgnoreDifferences=true" in spec["syncPolicy"]["syncOptions"]


def test_deleting_root_keeps_the_workloads_and_removing_an_application_cleans_up(documents):
    for name, document in of_kind(documents, "Application").items():
        finalizers = document.body["metadata"].get("finalizers", [])
        assert bool(finalizers) is (name != "root"), name


def test_every_project_allows_exactly_what_its_applications_need(documents):
    projects = of_kind(documents, "AppProject")
    for project_name, project in projects.items():
        allowed = project.body["spec"]
        used = {n: s for n, s in applications(documents).items() if s["project"] == project_name}
        assert used, project_name
        assert set(allowed["sourceRepos"]) == {spec["source"]["repoURL"] for spec in used.values()}
        assert {d["server"] for d in allowed["destinations"]} == {IN_CLUSTER}
        assert {d["namespace"] for d in allowed["destinations"]} == {
            spec["destination"]["namespace"] for spec in used.values()
        }
        objects = [
            d.body for d in documents for spec in used.values() if d.file.rpartition("/")[0] == spec["source"]["path"]
        ]
        for scope, namespaced in (("namespaceResourceWhitelist", True), ("clusterResourceWhitelist", False)):
            listed = {(entry["group"], entry["kind"]) for entry in allowed[scope]}
            assert listed == {key(body) for body in objects if ("namespace" in body["metadata"]) is namespaced}


def key(body):
    group, _, version = body["apiVersion"].rpartition("/")
    assert version
    return group, body["kind"]


def test_no_application_but_root_is_in_the_default_project(documents):
    assert [n for n, s in applications(documents).items() if s["project"] == "default"] == ["root"]


def test_no_wave_slows_a_sync_down(documents):
    waves = [d.file for d in documents if "argocd.argoproj.io/sync-wave" in d.body["metadata"].get("annotations", {})]
    assert waves == [], "each wave costs a pause of 2 s; the order of kinds is enough here"
