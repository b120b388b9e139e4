from __future__ import annotations

import os
from pathlib import Path

import pytest
from wire_tools import git

from platform_lib.errors import GitError, InvalidInput, ManifestError
from platform_lib.wire import manifest_edit
from platform_lib.wire.git import Repository, repository

IMAGE = "ghcr.io/apqx/sample-app@sha256:" + "2" * 64


def release(repo: Repository, app, version: str = "1.1.0", image: str = IMAGE, env=None) -> str | None:
    def edit(tree: Path) -> str | None:
        changed = manifest_edit.write_release(tree / app.deployment_file, image=image, version=version, env=env)
        return f"Deploy {version}" if changed else None

    return repo.change(edit)


def other_push(remote: Path, tmp_path: Path, name: str = "other.txt") -> None:
    """Somebody else pushes a commit."""
    tree = tmp_path / f"clone-{name}"
    git("clone", "-q", str(remote), str(tree), folder=tmp_path)
    (tree / name).write_text("theirs\n")
    git("add", "-A", folder=tree)
    git("commit", "-q", "-m", f"Add {name}", folder=tree)
    git("push", "-q", "origin", "main", folder=tree)


def test_a_release_changes_image_version_and_digest_and_keeps_comments(platform, app, remote) -> None:
    commit = release(repository(platform), app)
    text = git("show", f"main:{app.deployment_file}", folder=remote)
    assert commit == git("rev-parse", "main", folder=remote)
    assert text.count("2" * 64) == 2 and "1" * 64 not in text
    assert "version: 1.1.0  # rewritten by a deploy" in text and text.startswith("# Why this file")
    assert git("log", "-1", "--format=%an %s", folder=remote) == "apqx Deploy 1.1.0"


def test_only_the_lines_of_the_release_change(platform, app, remote) -> None:
    release(repository(platform), app)
    stat = git("diff", "--numstat", "main~1", "main", folder=remote)
    assert stat.split()[:2] == ["3", "3"]


def test_the_same_release_again_makes_no_commit(platform, app) -> None:
    repo = repository(platform)
    assert release(repo, app) is not None
    assert release(repo, app) is None


def test_variables_are_set_and_removed(platform, app, remote) -> None:
    repo = repository(platform)
    before = git("show", f"main:{app.deployment_file}", folder=remote)
    release(repo, app, "1.0.0", before.split("image: ")[1].split()[0], env={"FAULT_ERROR_RATIO": "0.3"})
    assert 'value: "0.3"' in git("show", f"main:{app.deployment_file}", folder=remote)
    release(repo, app, "1.0.0", before.split("image: ")[1].split()[0], env={"FAULT_ERROR_RATIO": None})
    assert git("show", f"main:{app.deployment_file}", folder=remote) == before


def test_a_push_that_was_overtaken_is_applied_again_on_top(platform, app, remote, tmp_path) -> None:
    repo, calls = repository(platform), []

    def edit(tree: Path) -> str:
        calls.append(1)
        if len(calls) == 1:
            other_push(remote, tmp_path)
        manifest_edit.write_release(tree / app.deployment_file, image=IMAGE, version="1.1.0")
        return "Deploy 1.1.0"

    assert repo.change(edit) == git("rev-parse", "main", folder=remote)
    assert len(calls) == 2
    assert git("show", "main:other.txt", folder=remote) == "theirs"


def test_a_refused_push_says_what_and_what_next(platform, app, remote) -> None:
    hook = remote / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho 'branch is frozen' >&2\nexit 1\n")
    hook.chmod(0o755)
    before = git("rev-parse", "main", folder=remote)
    with pytest.raises(GitError, match=r"branch main.*refused by a hook.*branch is frozen.*check that the repository"):
        release(repository(platform), app)
    assert git("rev-parse", "main", folder=remote) == before


def test_an_unreachable_repository_is_named_as_such(platform, app, remote) -> None:
    remote.rename(remote.with_name("moved.git"))
    with pytest.raises(GitError, match=r"no repository there.*check the address"):
        repository(platform).log(app)


def test_a_damaged_clone_is_made_anew(platform, app) -> None:
    repo = repository(platform)
    repo.log(app)
    (repo.clone / ".git" / "HEAD").write_text("nonsense")
    assert len(repo.log(app)) == 1


def test_the_callers_git_environment_has_no_influence(platform, app, remote, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_AUTHOR_NAME", "intruder")
    commit = release(repository(platform, author="Robot <robot@example.org>"), app)
    monkeypatch.delenv("GIT_DIR")
    assert commit and "Robot robot@example.org" in git("log", "-1", "--format=%an %ae", folder=remote)
    assert os.environ["GIT_AUTHOR_NAME"] == "intruder"


def test_the_log_tells_image_and_version_at_each_commit(platform, app, remote, tmp_path) -> None:
    repo = repository(platform)
    release(repo, app)
    other_push(remote, tmp_path)
    log = repo.log(app)
    assert [(revision.version, revision.image[-4:]) for revision in log] == [("1.1.0", "2222"), ("1.0.0", "1111")]
    assert log[0].committed_at.utcoffset() is not None


def test_a_broken_manifest_in_history_does_not_break_the_log(platform, app, remote, tmp_path) -> None:
    tree = tmp_path / "bad"
    git("clone", "-q", str(remote), str(tree), folder=tmp_path)
    (tree / app.deployment_file).write_text("kind: [unclosed\n")
    git("commit", "-qam", "Break it", folder=tree)
    git("push", "-q", "origin", "main", folder=tree)
    assert [revision.version for revision in repository(platform).log(app)] == ["", "1.0.0"]


def test_restore_brings_a_folder_back_with_deleted_and_without_added_files(platform, app, remote, tmp_path) -> None:
    repo, first = repository(platform), git("rev-parse", "main", folder=remote)

    def worse(tree: Path) -> str:
        (tree / app.path / "extra.yaml").write_text("a: 1\n")
        (tree / app.deployment_file).unlink()
        (tree / "README.md").write_text("changed too\n")
        return "Worse"

    repo.change(worse)
    bad = repo.head()

    def back(tree: Path) -> str:
        repo.restore(tree, first, app.path)
        return f"Back\n\nThis reverts commit {bad}, as far as it goes."

    commit = repo.change(back)
    assert repo.same_content(first, commit or "", app.path)
    assert git("show", "main:README.md", folder=remote) == "changed too"
    assert repo.reverted(app) == {bad: commit}


def test_ancestry_is_answered(platform, app) -> None:
    repo = repository(platform)
    first = repo.head()
    second = release(repo, app) or ""
    assert repo.is_ancestor(first, second)
    assert not repo.is_ancestor(second, first) and not repo.is_ancestor(first, first)


@pytest.mark.parametrize("image", ["web:latest", "web@sha256:123", "web", "", "two words@sha256:" + "a" * 64])
def test_an_image_that_is_not_named_by_digest_is_refused(image: str) -> None:
    with pytest.raises(InvalidInput, match="a tag can move"):
        manifest_edit.check_release(image, "1.0.0")


@pytest.mark.parametrize("version", ["", "-1", "a b", "x" * 64, "1.0/2"])
def test_a_version_that_cannot_be_a_label_is_refused(version: str) -> None:
    with pytest.raises(InvalidInput, match="expected 1 to 63"):
        manifest_edit.check_release(IMAGE, version)


@pytest.mark.parametrize("text", ["", "kind: Service\n", "kind: [unclosed\n"])
def test_a_text_without_a_deployment_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        manifest_edit.set_release(text, image=IMAGE, version="1.0.0")


def test_a_version_that_looks_like_a_number_stays_text() -> None:
    text = "kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - image: x\n"
    changed = manifest_edit.set_release(text, image=IMAGE, version="1.10")
    assert "'1.10'" in changed or '"1.10"' in changed
    assert "      - image:" in changed
