"""What the bootstrap decides without a cluster: versions, settings, addresses, credentials, plans."""

from __future__ import annotations

import base64
import copy
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.errors import InvalidInput, ManifestError
from platform_lib.model import Platform
from platform_lib.providers.bootstrap import argocd, gitserver, gitsource, localsettings, release, repourl, rootapp
from platform_lib.providers.bootstrap.apply import Change, in_namespace
from platform_lib.settings import settings

ROOT = Path(__file__).resolve().parents[3]
URL = "https://github.com/you/apqx.git"


@pytest.fixture
def platform(tmp_path):
    return Platform(
        name="apqx",
        provider="k3d",
        kubeconfig=tmp_path / "kubeconfig",
        context="k3d-apqx",
        prometheus_url="http://127.0.0.1:9090",
        ingress_url="http://127.0.0.1:18080",
        gitops_repo="",
        home=tmp_path,
    )


# -- release -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1.33.0", "v1.36.9", "v1.34.1+k3s1", "v1.33.4-gke.100", "v1.40.0"])
def test_tested_and_newer_kubernetes_versions_are_taken(version):
    assert release.unsupported(version) == ""


@pytest.mark.parametrize("version", ["v1.32.9", "v1.9.0", "v0.36.0"])
def test_an_older_kubernetes_is_named_with_what_is_wanted(version):
    text = release.unsupported(version)
    assert version in text and "v1.33 to v1.36" in text


@pytest.mark.parametrize("version", ["", "latest", "v1", "1.x"])
def test_what_is_no_version_is_not_taken_for_one(version):
    assert "not a version" in release.unsupported(version)


def test_the_pinned_files_are_those_of_the_tag():
    for flavor, name in (("full", "install.yaml"), ("core", "core-install.yaml")):
        pinned = release.PINNED[flavor]
        assert pinned.url == f"https://raw.githubusercontent.com/argoproj/argo-cd/{release.VERSION}/manifests/{name}"
        assert len(pinned.sha256) == 64 and pinned.flavor == flavor and pinned.version == release.VERSION


# -- plan --------------------------------------------------------------------------------------------------------


def seen(installed=None, changes=(), default_project=True):
    return argocd.Look("v1.34.0", installed, tuple(changes), release.PINNED["full"], default_project)


def ours(version):
    return argocd.Installed(version, "argocd", core=False, ours=True)


@pytest.mark.parametrize(
    ("installed", "action"),
    [(None, "install"), (ours("v3.4.0"), "upgrade"), (ours("v3.5.1"), "complete")],
)
def test_the_plan_says_what_kind_of_change_it_is(installed, action):
    plan = argocd.decide(seen(installed, [Change("create", "Deployment/x")]))
    assert [step.action for step in plan.steps] == [action, "create"]


@pytest.mark.parametrize("version", ["v3.5.2", "v4.0.0", "unknown", "latest"])
def test_what_is_newer_or_no_release_is_left_alone(version):
    plan = argocd.decide(seen(ours(version), [Change("update", "Deployment/x")]))
    assert plan.steps == () and plan.title.endswith("it is left alone")


def test_a_plan_without_changes_has_no_steps_and_names_many_objects_shortly():
    assert argocd.decide(seen(ours("v3.5.1"))).steps == ()
    many = [Change("create", f"Role/r{number}") for number in range(9)]
    plan = argocd.decide(seen(None, many, default_project=False))
    assert plan.steps[1].target == "Role/r0, Role/r1, Role/r2 and 6 more"
    assert plan.steps[-1].target == "AppProject/default"


def test_the_namespace_is_filled_in_where_it_is_open_and_nowhere_else():
    objects = [
        {"kind": "Deployment", "metadata": {"name": "a"}},
        {"kind": "ClusterRole", "metadata": {"name": "b"}},
        {"kind": "Secret", "metadata": {"name": "c", "namespace": "theirs"}},
    ]
    before = copy.deepcopy(objects)
    assert [o["metadata"].get("namespace") for o in in_namespace(objects, "argocd")] == ["argocd", None, "theirs"]
    assert objects == before


# -- settings of Argo CD -------------------------------------------------------------------------------------------


def reader(name, config_map):
    env = [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": config_map, "key": "k"}}}]
    spec = {"template": {"spec": {"containers": [{"name": "c", "env": env}]}}}
    return {"kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def annotations(obj):
    return obj["spec"]["template"].get("metadata", {}).get("annotations", {})


def test_only_readers_of_a_changed_map_get_the_mark_and_it_follows_the_values():
    objects = [reader("reads", "argocd-cm"), reader("other", "another-map")]
    thirty, sixty = (localsettings.applied_to(objects, localsettings.values(s)) for s in (30, 60))
    assert annotations(thirty[1]) == {}
    assert annotations(thirty[0]) == annotations(localsettings.applied_to(objects, localsettings.values(30))[0])
    assert annotations(thirty[0]) != annotations(sixty[0]) != {}
    assert annotations(objects[0]) == {}, "the given objects stay as they are"


def test_the_release_keeps_its_own_entries_beside_the_local_ones():
    (cm,) = localsettings.applied_to(
        [{"kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"resource.exclusions": "x"}}],
        localsettings.values(30),
    )
    assert cm["data"]["resource.exclusions"] == "x" and cm["data"]["timeout.reconciliation"] == "30s"


def test_sign_on_and_notifications_rest():
    objects = [reader(name, "x") for name in (*localsettings.IDLE, "argocd-server")]
    found = localsettings.applied_to(objects, localsettings.values(30))
    assert [obj["spec"].get("replicas") for obj in found] == [0, 0, None]


# -- the repository's address --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://gitlab.example.com:8443/group/sub/x.git",
        "git@github.com:you/apqx.git",
        "ssh://git@github.com/you/apqx.git",
        "http://git.apqx-system.svc/gitops.git",
    ],
)
def test_addresses_that_a_cluster_can_read(url):
    assert repourl.check_url(url) == url


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("", "expected an https, http or ssh address"),
        ("/srv/git/x.git", "expected an https, http or ssh address"),
        ("file:///srv/x.git", "expected an https, http or ssh address"),
        ("ftp://github.com/x", "expected an https, http or ssh address"),
        ("https://github.com", "expected an https, http or ssh address"),
        ("https://github.com/x?token=abc", "expected an https, http or ssh address"),
        ("http://[you:S3cret@github.com/x", "expected an https, http or ssh address"),
        ("https://github.com:port/x", "expected an https, http or ssh address"),
        ("https://you:S3cret@github.com/x.git", "carries a credential"),
        ("https://S3cret@github.com/x.git", "carries a credential"),
        ("ssh://git:S3cret@github.com/x.git", "carries a credential"),
        ("https://localhost/x.git", "unknown inside a cluster"),
        ("http://127.0.0.1:8080/x.git", "unknown inside a cluster"),
        ("http://[::1]/x.git", "unknown inside a cluster"),
        ("https://mybox/x.git", "unknown inside a cluster"),
    ],
)
def test_addresses_that_are_refused_without_repeating_a_secret(url, match):
    with pytest.raises(InvalidInput, match=match) as caught:
        repourl.check_url(url)
    assert "S3cret" not in str(caught.value) and "APQX_GIT_TOKEN" in caught.value.hint


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text):
    try:
        assert repourl.check_url(text) == text
    except InvalidInput as error:
        assert error.hint


@pytest.fixture
def tree(tmp_path):
    shutil.copytree(ROOT / "gitops", tmp_path / "tree" / "gitops")
    if repourl.own(tmp_path / "tree") != (repourl.INTERNAL, "main"):  # a fork that names itself already
        repourl.rewrite_repo_url(tmp_path / "tree", repourl.INTERNAL)
    return tmp_path / "tree"


def texts(tree):
    return {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*.yaml")}


def test_only_addresses_change_and_a_second_time_nothing(tree):
    before = texts(tree)
    changed = repourl.rewrite_repo_url(tree, URL)
    after = texts(tree)
    assert {name for name in after if after[name] != before[name]} == set(changed)
    assert {"gitops/apps/project.yaml", "gitops/bootstrap/k3d/root.yaml"} <= set(changed)
    for name in changed:
        assert after[name].replace(URL, repourl.INTERNAL) == before[name], "comments and layout stay"
    assert repourl.rewrite_repo_url(tree, URL) == []
    assert repourl.mismatches(tree, URL) == []


def test_there_and_back_is_the_same_text(tree):
    before = texts(tree)
    repourl.rewrite_repo_url(tree, URL, branch="production")
    assert "targetRevision: production" in (tree / "gitops/apps/sample-app.yaml").read_text()
    repourl.rewrite_repo_url(tree, repourl.INTERNAL, branch="main")
    assert texts(tree) == before


def test_root_applications_and_projects_agree_afterwards(tree):
    repourl.rewrite_repo_url(tree, URL)
    named = set()
    for path in [*(tree / "gitops/apps").glob("*.yaml"), *(tree / "gitops/bootstrap/k3d").glob("*.yaml")]:
        for obj in yaml.safe_load_all(path.read_text()):
            if obj["kind"] in ("Application", "AppProject"):
                spec = obj["spec"]
                named |= set(spec.get("sourceRepos") or [spec["source"]["repoURL"]])
    assert named == {URL}


def test_charts_and_the_embedded_root_are_left_alone(tree):
    chart = tree / "gitops/apps/chart.yaml"
    chart.write_text(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: c}\nspec:\n  source:\n"
        "    repoURL: https://charts.example.com\n    chart: c\n    targetRevision: main\n"
    )
    before = chart.read_text(), (tree / "gitops/bootstrap/embedded/root.yaml").read_text()
    repourl.rewrite_repo_url(tree, URL, branch="production")
    assert (chart.read_text(), (tree / "gitops/bootstrap/embedded/root.yaml").read_text()) == before


def test_a_spelling_that_is_no_plain_line_is_named_instead_of_forgotten(tree):
    odd = tree / "gitops/apps/odd.yaml"
    odd.write_text(
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: odd}\n"
        f"spec: {{source: {{repoURL: '{repourl.INTERNAL}', path: x, targetRevision: main}}}}\n"
    )
    with pytest.raises(ManifestError, match=r"gitops/apps/odd\.yaml - repoURL is http://git\.apqx-system"):
        repourl.rewrite_repo_url(tree, URL)


def test_a_tree_without_a_root_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="absent in the repository"):
        repourl.rewrite_repo_url(tmp_path, URL)


def test_what_is_applied_by_hand_names_the_platforms_repository(platform):
    from dataclasses import replace

    named = replace(platform, gitops_url=URL, gitops_branch="production")
    objects = rootapp.objects(ROOT, named)
    assert [obj["kind"] for obj in objects] == ["AppProject", "Application", "Application"]
    sources = {(o["spec"]["source"]["repoURL"], o["spec"]["source"]["targetRevision"]) for o in objects[1:]}
    assert sources == {(URL, "production")}
    assert objects[0]["spec"]["sourceRepos"] == [URL]


# -- git source ----------------------------------------------------------------------------------------------------


def test_without_a_url_the_server_in_the_cluster_is_used(platform, tmp_path):
    found = gitsource.of(platform, settings(home=tmp_path))
    assert found.gitops_repo == "http://git.127.0.0.1.sslip.io:18080/gitops.git"
    assert (found.gitops_url, found.gitops_branch) == (repourl.INTERNAL, "main")


def test_the_token_is_made_once_is_private_and_long(platform):
    first = gitserver.token(platform)
    assert first == gitserver.token(platform) and len(first) >= 40
    assert gitserver.token_file(platform).stat().st_mode & 0o777 == 0o600


def test_a_public_repository_needs_no_secret(platform, tmp_path):
    current = settings(home=tmp_path, git_url=URL)
    assert gitsource.credential(gitsource.of(platform, current), current) is None


def test_a_deploy_key_goes_to_argo_cd_with_its_last_line_end(platform, tmp_path):
    key = tmp_path / "key"
    key.write_text("-----BEGIN KEY-----\nabc\n-----END KEY-----\n")
    current = settings(home=tmp_path, git_url="git@github.com:you/apqx.git", git_ssh_key=f"file:{key}")
    secret = gitsource.credential(gitsource.of(platform, current), current)
    assert base64.b64decode(secret["data"]["sshPrivateKey"]).decode() == key.read_text()
    assert "password" not in secret["data"]


def test_an_ssh_address_without_a_key_says_what_argo_cd_lacks(platform, tmp_path):
    current = settings(home=tmp_path, git_url="git@github.com:you/apqx.git")
    with pytest.raises(InvalidInput, match="expected a key for Argo CD") as caught:
        gitsource.credential(gitsource.of(platform, current), current)
    assert "APQX_GIT_SSH_KEY" in caught.value.hint


def test_the_git_servers_pod_gets_the_image_it_was_given():
    image = f"registry:5000/workbench@sha256:{'e' * 64}"
    objects = gitserver.objects(ROOT, image)
    (deployment,) = [obj for obj in objects if obj["kind"] == "Deployment"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image
    assert objects[0]["kind"] == "Namespace", "everything else is inside it"


def test_a_checkout_that_names_its_own_repository_still_begins_the_internal_one(tree, tmp_path):
    import subprocess

    from platform_lib.providers import seed

    repourl.rewrite_repo_url(tree, URL, branch="production")
    release = gitserver_release()
    with seed.first_commit(settings(project_dir=tree), shutil.which("git"), tmp_path, release) as bare:
        subprocess.run(["git", "clone", "--quiet", str(bare), str(tmp_path / "clone")], check=True)
    assert repourl.own(tmp_path / "clone") == (repourl.INTERNAL, "main")
    assert repourl.mismatches(tmp_path / "clone", repourl.INTERNAL, known=(URL,)) == []
    assert release.reference in (tmp_path / "clone/gitops/workloads/sample-app/deployment.yaml").read_text()
    assert not list(tmp_path.glob(".seed-*")), "the scratch folder is gone"


def gitserver_release():
    from collections import namedtuple

    return namedtuple("Release", "reference version")(f"registry:5000/sample-app@sha256:{'f' * 64}", "1.0.0")
