"""Waits of the bootstrap on a busy API, and which private clone a lost git server is filled from."""

import subprocess
from pathlib import Path

import pytest

from platform_lib.errors import ApiError, Forbidden, Unreachable
from platform_lib.model import Platform
from platform_lib.providers.bootstrap import gitserver, workloads
from platform_lib.wire.git_program import Git, Identity


def probe(*answers: object):
    left = list(answers)

    def look() -> tuple[bool | None, str]:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return True, str(answer)

    return workloads.forgiving(look)


@pytest.mark.parametrize(
    "error",
    [Unreachable("GET /pods - no answer"), ApiError("GET /pods - answered 503", status=503)],
    ids=["silent", "503"],
)
def test_an_api_without_time_for_a_moment_is_waited_for(error: Exception) -> None:
    look = probe(error, "ready")
    assert look() == (None, error.message)  # type: ignore[attr-defined]
    assert look() == (True, "ready")


def test_a_refusal_ends_the_wait_at_once() -> None:
    with pytest.raises(Forbidden):
        probe(Forbidden("GET /pods - answered 403", status=403))()


@pytest.mark.parametrize(
    ("origin", "known"),
    [
        ("http://git.127.0.0.1.sslip.io:8080/gitops.git", True),
        ("http://git.127.0.0.1.sslip.io:18080/gitops.git", True),
        ("https://github.com/you/apqx.git", False),
        ("/home/you/.local/state/apqx/git/gitops.git", False),
    ],
)
def test_a_clone_is_known_whatever_port_the_ingress_had(tmp_path: Path, origin: str, known: bool) -> None:
    platform = gitserver.of(Platform("lab", "k3d", tmp_path, "k3d-lab", "", "http://127.0.0.1:8080", "", tmp_path))
    remote, clone = Git(platform.gitops_repo, "main", Identity("apqx", "apqx@localhost")), tmp_path / "clone"
    subprocess.run(["git", "init", "-q", str(clone)], check=True)
    remote.run(["remote", "add", "origin", origin], folder=clone)
    assert not gitserver._known(remote, clone, platform), "nothing was ever committed there"
    remote.run(["commit", "-q", "--allow-empty", "-m", "one"], folder=clone)
    assert gitserver._known(remote, clone, platform) is known
