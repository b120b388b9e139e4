"""What a host, another person or a typing mistake can do to a push, against real repositories and real hooks.

The texts of GitHub and GitLab are recorded ones; a hook prints them, so that git wraps them as it does in the field.
"""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from test_wire_git import other_push, release
from wire_tools import git

from platform_lib.errors import GitError, GuardRefused, InvalidInput
from platform_lib.wire import git_answers
from platform_lib.wire.git import Repository, repository

PROTECTED = """\
error: GH006: Protected branch update failed for refs/heads/main.

- Changes must be made through a pull request.

- 3 of 3 required status checks are expected."""
RULESET = """\
error: GH013: Repository rule violations found for refs/heads/main.

- Changes must be made through a pull request."""
GITLAB = "GitLab: You are not allowed to push code to protected branches on this project."
LARGE = """\
error: File gitops/dump.bin is 143.05 MB; this exceeds GitHub's file size limit of 100.00 MB
error: GH001: Large files detected. You may want to try Git Large File Storage - https://git-lfs.github.com."""
SECRET = """\
error: GH013: Repository rule violations found for refs/heads/main.

- GITHUB PUSH PROTECTION
    - Push cannot contain secrets"""


def declines(remote: Path, text: str, name: str = "pre-receive") -> None:
    hook = remote / "hooks" / name
    hook.write_text(f"#!/bin/sh\ncat >&2 <<'TEXT'\n{text}\nTEXT\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "kind", "observed", "step"),
    [
        (PROTECTED, "protected branch", "3 of 3 required status checks", "open a pull request"),
        (RULESET, "protected branch", "protected, a direct push is refused", "open a pull request"),
        (GITLAB, "protected branch", "protected, a direct push is refused", "open a pull request"),
        (LARGE, "large file", "dump.bin is 143.05 MB", "take the file out of gitops/"),
        (SECRET, "secret in push", "found a credential", "commit a reference"),
        ("policy: no deploys on Friday", "hook declined", "no deploys on Friday", "hooks, rights"),
    ],
    ids=["github", "github-ruleset", "gitlab", "large-file", "push-protection", "own-hook"],
)
def test_a_host_that_declines_is_explained_and_nothing_is_pushed(
    platform, app, remote, text: str, kind: str, observed: str, step: str
) -> None:
    declines(remote, text)
    before = git("rev-parse", "main", folder=remote)
    with pytest.raises(GitError) as caught:
        release(repository(platform), app)
    assert caught.value.kind == kind
    assert observed in caught.value.message and step in caught.value.hint
    assert git("rev-parse", "main", folder=remote) == before


def test_a_change_after_a_refusal_starts_from_the_remote_again(platform, app, remote) -> None:
    declines(remote, PROTECTED)
    with pytest.raises(GitError):
        release(repository(platform), app)
    (remote / "hooks" / "pre-receive").unlink()
    commit = release(repository(platform), app, "1.2.0")
    assert git("log", "--format=%s", "main", folder=remote).splitlines() == ["Deploy 1.2.0", "Start"]
    assert commit == git("rev-parse", "main", folder=remote)


def test_a_branch_that_is_absent_names_those_that_are_there(platform, remote, tmp_path) -> None:
    git("branch", "staging", "main", folder=remote)
    repo = Repository(str(remote), "producton", tmp_path / "clone")
    with pytest.raises(GitError, match=r"branch producton - absent.*main, staging") as caught:
        repo.change(lambda tree: "never")
    assert caught.value.kind == "branch missing"
    assert not (tmp_path / "clone" / ".git").exists()


def test_a_branch_deleted_since_the_clone_was_made_is_named(platform, remote, tmp_path) -> None:
    git("branch", "staging", "main", folder=remote)
    repo = Repository(str(remote), "staging", tmp_path / "clone")
    repo.change(lambda tree: None)
    git("branch", "-D", "staging", folder=remote)
    with pytest.raises(GitError, match=r"branch staging - absent.*branches there: main"):
        repo.change(lambda tree: "never")


@pytest.mark.parametrize("what", ["tag", "commit", "HEAD"])
def test_a_detached_name_is_refused_before_anything_is_made(remote, tmp_path, what: str) -> None:
    git("tag", "v1", "main", folder=remote)
    name = {"tag": "v1", "commit": git("rev-parse", "main", folder=remote), "HEAD": "HEAD"}[what]
    repo = Repository(str(remote), name, tmp_path / "clone")

    def edit(tree: Path) -> str:
        raise AssertionError("the edit must not run")

    with pytest.raises(
        GitError, match=r"expected a branch \(a detached HEAD cannot be pushed to\); name a branch: main"
    ):
        repo.change(edit)
    assert git("for-each-ref", "--format=%(refname)", folder=remote).split() == ["refs/heads/main", "refs/tags/v1"]


def test_a_remote_with_a_detached_head_still_takes_a_push_to_its_branch(platform, app, remote) -> None:
    git("update-ref", "--no-deref", "HEAD", "main", folder=remote)
    assert release(repository(platform), app) == git("rev-parse", "main", folder=remote)


def test_a_repository_with_a_work_tree_is_explained(app, remote, tmp_path) -> None:
    tree = tmp_path / "checkout"
    git("clone", "-q", str(remote), str(tree), folder=tmp_path)
    with pytest.raises(GitError, match=r"checked out in a repository with a work tree.*git clone --bare"):
        release(Repository(str(tree), "main", tmp_path / "clone"), app)


def test_a_change_of_other_lines_is_carried_over(platform, app, remote, tmp_path) -> None:
    repo, base = repository(platform), git("rev-parse", "main", folder=remote)
    other_push(remote, tmp_path)
    commit = repo.change(lambda tree: (tree / "README.md").write_text("mine\n") and "Mine", base=base)
    assert commit == git("rev-parse", "main", folder=remote)
    assert git("show", "main:other.txt", folder=remote) == "theirs"
    assert git("show", "main:README.md", folder=remote) == "mine"


def test_a_change_of_the_same_lines_is_a_conflict_named_by_file_and_nothing_is_pushed(
    platform, app, remote, tmp_path
) -> None:
    repo, base = repository(platform), git("rev-parse", "main", folder=remote)
    theirs = release(repo, app, "2.0.0", "ghcr.io/apqx/sample-app@sha256:" + "3" * 64)

    def edit(tree: Path) -> str:
        path = tree / app.deployment_file
        path.write_text(path.read_text().replace("1" * 64, "4" * 64))
        return "Mine"

    with pytest.raises(GitError) as caught:
        repo.change(edit, base=base)
    assert caught.value.kind == "conflict" and caught.value.files == (app.deployment_file,)
    assert f"{theirs[:7]} by apqx: Deploy 2.0.0" in caught.value.message
    assert git("rev-parse", "main", folder=remote) == theirs
    assert release(repo, app, "2.1.0"), "the clone is usable after a conflict"


def test_the_same_change_by_somebody_else_is_no_conflict(platform, app, remote) -> None:
    repo, base = repository(platform), git("rev-parse", "main", folder=remote)

    def edit(tree: Path) -> str:
        (tree / "README.md").write_text("same\n")
        return "Same"

    first = repo.change(edit, base=base)
    assert repo.change(edit, base=base) is None
    assert git("rev-parse", "main", folder=remote) == first


@pytest.mark.parametrize("related", [True, False], ids=["force-push", "unrelated"])
def test_a_branch_that_was_replaced_meanwhile_is_not_written_on(platform, app, remote, tmp_path, related: bool) -> None:
    repo, base = repository(platform), release(repository(platform), app)
    tree = tmp_path / "other"
    git("clone", "-q", str(remote), str(tree), folder=tmp_path)
    if related:
        git("reset", "-q", "--hard", "HEAD~1", folder=tree)
    else:
        git("checkout", "-q", "--orphan", "fresh", folder=tree)
    (tree / "theirs.txt").write_text("theirs\n")
    git("add", "-A", folder=tree)
    git("commit", "-q", "-m", "Replaced", folder=tree)
    git("push", "-q", "--force", "origin", "HEAD:main", folder=tree)
    newest = git("rev-parse", "main", folder=remote)
    with pytest.raises(GitError) as caught:
        repo.change(lambda tree: "never", base=base)
    assert caught.value.kind == ("rewritten" if related else "unrelated histories")
    assert base[:7] in caught.value.message and "nothing was pushed" in caught.value.hint
    assert git("rev-parse", "main", folder=remote) == newest


def test_a_guard_refuses_before_the_remote_is_asked(platform, app, remote) -> None:
    from dataclasses import replace

    with pytest.raises(GuardRefused):
        release(repository(replace(platform, context="production")), app)
    assert not (platform.home / "clones").exists()


def test_a_password_in_the_url_is_refused_without_repeating_it(tmp_path) -> None:
    with pytest.raises(InvalidInput) as caught:
        Repository("https://me:hunter2secret@github.com/you/repo", "main", tmp_path / "clone")
    assert "hunter2" not in str(caught.value) and "APQX_GIT_TOKEN" in caught.value.hint


class GitHost(BaseHTTPRequestHandler):
    """Answers like a git host: 401 without the right token, 403 to one that may not, 404 for what it hides."""

    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        code = {"/expired": 401, "/forbidden": 403, "/hidden": 404}[self.path.split("/info")[0]]
        self.send_response(code)
        if code == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="GitHub"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def host():
    server = HTTPServer(("127.0.0.1", 0), GitHost)
    GitHost.seen = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "kind", "step"),
    [
        ("expired", "not authorised", "issue a new token"),
        ("forbidden", "no write access", "contents: write"),
        ("hidden", "not found", "private repository also answers like this"),
    ],
)
def test_a_host_that_refuses_the_token_says_what_to_change(
    host: str, tmp_path, monkeypatch, path: str, kind: str, step: str
) -> None:
    monkeypatch.setenv("A_TOKEN", "ghs_thisisthetokenvalue")
    repo = Repository(f"{host}/{path}", "main", tmp_path / "clone", user="x-access-token", token="env:A_TOKEN")
    with pytest.raises(GitError) as caught:
        repo.change(lambda tree: "never")
    assert caught.value.kind == kind and step in caught.value.hint
    assert "thisisthetokenvalue" not in str(caught.value) + caught.value.stderr
    assert any(header.startswith("Basic eC1hY2Nlc3MtdG9rZW46") for header in GitHost.seen)


def test_a_token_goes_to_its_own_host_only(host: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("A_TOKEN", "ghs_thisisthetokenvalue")
    repo = Repository(f"{host}/hidden", "main", tmp_path / "clone", token="env:A_TOKEN")
    with pytest.raises(GitError):
        repo._git("ls-remote", f"{host.replace('127.0.0.1', 'localhost')}/hidden", folder=None)
    assert GitHost.seen and not any(GitHost.seen)


@pytest.mark.parametrize("reference", ["env:NOT_THERE", "file:/nonexistent/token", "ghp_aPlainTokenValue"])
def test_a_reference_that_leads_nowhere_is_named_and_a_plain_value_is_not_repeated(
    host: str, tmp_path, reference: str
) -> None:
    repo = Repository(f"{host}/hidden", "main", tmp_path / "clone", token=reference)
    with pytest.raises(InvalidInput, match="APQX_GIT_TOKEN") as caught:
        repo.head()
    assert "aPlainTokenValue" not in str(caught.value)
    assert not GitHost.seen


def test_a_host_that_does_not_answer_is_unreachable(tmp_path) -> None:
    with pytest.raises(GitError) as caught:
        Repository("http://127.0.0.1:9/you/repo", "main", tmp_path / "clone").head()
    assert caught.value.kind == "unreachable" and "network and proxy" in caught.value.hint


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found", "not found"),
        ("remote: Write access to repository not granted.\nfatal: unable to access: 403", "no write access"),
        ("ERROR: Permission to a/b.git denied to deploy key", "no write access"),
        ("remote: Invalid username or token. Password authentication is not supported", "not authorised"),
        ("git@github.com: Permission denied (publickey).", "not authorised"),
        ("fatal: could not read Username for 'https://github.com': terminal prompts disabled", "not authorised"),
        ("fatal: unable to access: Could not resolve host: github.com", "unreachable"),
        ("error: file write error: No space left on device", "disk full"),
        ("fatal: something nobody has seen", "other"),
    ],
)
def test_recorded_answers_are_understood(stderr: str, kind: str) -> None:
    error = git_answers.explain("push", stderr, remote="https://github.com/a/b", branch="main")
    assert error.kind == kind and error.hint


def test_credentials_of_a_url_leave_a_message(monkeypatch) -> None:
    error = git_answers.explain("fetch", "fatal: https://x:tok@github.com/a/b", remote="https://x@h/b", branch="main")
    assert "tok" not in str(error) and "x@" not in str(error) and os.linesep not in str(error)
