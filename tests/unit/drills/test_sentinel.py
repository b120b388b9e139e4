"""Sentinels of a cluster-loss drill, against a real git repository."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from platform_lib.drills.sentinel import Sentinels
from platform_lib.model import App, Platform
from platform_lib.rules.manifests import parse_manifests
from platform_lib.wire.git import repository


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    remote, work = tmp_path / "gitops.git", tmp_path / "work"
    folder = work / App().path
    for command in (["init", "-q", "--bare", "-b", "main", str(remote)], ["clone", "-q", str(remote), str(work)]):
        subprocess.run(["git", *command], check=True, capture_output=True)
    folder.mkdir(parents=True)
    (folder / "service.yaml").write_text("kind: Service\n")
    who = ["-c", "user.name=t", "-c", "user.email=t@localhost"]
    for command in (["add", "-A"], [*who, "commit", "-qm", "first"], ["push", "-q", "origin", "HEAD:main"]):
        subprocess.run(["git", "-C", str(work), *command], check=True, capture_output=True)
    home = tmp_path / "home"
    return Platform("apqx", "embedded", home / "kubeconfig", "apqx", "", "", str(remote), home)


def test_every_sentinel_is_a_pushed_commit_with_its_number(platform: Platform) -> None:
    sentinels = Sentinels(platform, App())
    sentinels.push(2)
    repo = repository(platform)
    with repo.current() as tree:
        (manifest,) = parse_manifests((tree / sentinels.file).read_text(), sentinels.file)
    assert repo.head() == sentinels.commits[-1] and len(set(sentinels.commits)) == 2
    assert manifest["kind"] == "ConfigMap" and manifest["data"]["sequence"] == "2"
    assert manifest["metadata"]["namespace"] == "sample-app"


def test_removal_restores_the_folder_and_takes_the_commits_out_of_the_choice_of_a_rollback(platform: Platform) -> None:
    repo, app = repository(platform), App()
    before = repo.head()
    sentinels = Sentinels(platform, app)
    sentinels.push(2)
    assert sentinels.remove() is True
    assert repo.same_content(before, repo.head(), app.path)
    assert set(repo.reverted(app)) == set(sentinels.commits)
    assert sentinels.remove() is False


def test_the_rpo_is_the_age_of_the_newest_survivor(platform: Platform) -> None:
    sentinels = Sentinels(platform, App())
    fault = datetime(2026, 1, 1, tzinfo=UTC)
    sentinels.commits = ["a", "b", "c"]
    sentinels.survived, sentinels.survived_at = 2, fault - timedelta(seconds=0.75)
    assert sentinels.figures(fault) == {"rpo_s": 0.75, "sentinels_pushed": 3, "sentinels_lost": 1}


def test_without_a_survivor_the_rpo_is_unknown_and_not_zero(platform: Platform) -> None:
    sentinels = Sentinels(platform, App())
    sentinels.commits = ["a", "b"]
    found = sentinels.figures(datetime(2026, 1, 1, tzinfo=UTC))
    assert found == {"rpo_s": None, "sentinels_pushed": 2, "sentinels_lost": 2}
