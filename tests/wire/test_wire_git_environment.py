"""What git gets of the user's environment: how a host is reached, never what would redirect git itself."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest

from platform_lib.errors import GitError
from platform_lib.wire.git_program import Git, Identity

SHOW = ["-c", "alias.told=!env", "told"]


def seen_by_git(remote: str) -> dict[str, str]:
    lines = Git(remote, "main", Identity("apqx", "apqx@localhost")).run(SHOW, folder=None).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture
def port() -> Iterator[int]:
    """A host that is there and has no repository."""

    class Nothing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("remote", ["ssh://git@git.example.com/x.git", "deploy@git.example.com:x.git"])
def test_a_key_agent_and_a_proxy_reach_git(remote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    seen = seen_by_git(remote)
    assert (seen["SSH_AUTH_SOCK"], seen["HTTPS_PROXY"]) == ("/run/agent", "http://proxy.example.com:3128")
    assert seen.get("GIT_DIR") != "/elsewhere" and "GIT_CONFIG_GLOBAL" not in seen


def test_a_repository_on_this_machine_needs_nothing_of_it(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    seen = seen_by_git(str(tmp_path / "gitops.git"))
    assert "SSH_AUTH_SOCK" not in seen and seen["GIT_CONFIG_GLOBAL"] == "/dev/null"


@pytest.mark.parametrize("host", ["git.127.0.0.1.sslip.io", "127.0.0.1"])
def test_a_server_on_this_machine_is_not_asked_through_the_proxy(
    host: str, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    remote = f"http://{host}:{port}/x.git"
    with pytest.raises(GitError) as caught:
        Git(remote, "main", Identity("apqx", "apqx@localhost")).run(["ls-remote", remote], folder=None)
    assert caught.value.context["kind"] == "not found", "it was reached"
