"""Does the git server of a cluster serve git, and nothing else? The real program over a socket, with the real git."""

from __future__ import annotations

import base64
import http.client
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from platform_lib import gitserver
from platform_lib.errors import InvalidInput

TOKEN = "correct-horse-battery"


@dataclass
class Server:
    port: int
    root: Path
    token_file: Path
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/gitops.git"

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest(method, path, skip_host=False)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.headers)
        finally:
            connection.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = tmp_path_factory.mktemp("gitserver")
    token_file = home / "token"
    token_file.write_text(TOKEN + "\n")
    found = Server(free_port(), home / "data", token_file, home / "log")
    argv = [sys.executable, "-m", "platform_lib.gitserver", "--root", str(found.root), "--max-push-mib", "24"]
    argv += ["--token-file", str(token_file), "--bind", f"127.0.0.1:{found.port}"]
    with found.log.open("wb") as sink:
        process = subprocess.Popen(argv, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if found.ask("GET", "/healthz")[0] == 200:
                    break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError(found.log.read_text())
        yield found
    finally:
        process.terminate()
        assert process.wait(25) == 0


def header(token: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"apqx:{token}".encode()).decode()


def git(*arguments: str, token: str = "", cwd: Path | None = None, check: bool = True, **extra: str):
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C.UTF-8"}
    environment |= {"GIT_CONFIG_NOSYSTEM": "1", **extra}
    if token:
        environment |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "http.extraHeader"}
        environment["GIT_CONFIG_VALUE_0"] = header(token)
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def clone(server, tmp_path):
    """A clone with one commit more than the server."""
    folder = tmp_path / "clone"
    git("clone", "--quiet", server.url, str(folder))
    (folder / f"{tmp_path.name}.txt").write_text("desired state\n")
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "-m", tmp_path.name, cwd=folder)
    return folder


def remote_head(server) -> str:
    return git("ls-remote", server.url, "refs/heads/main").stdout.split("\t")[0]


def push(folder, token, check=True, **extra):
    return git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=folder, token=token, check=check, **extra)


def test_a_push_with_the_token_is_seen_by_the_next_clone(server, clone, tmp_path):
    push(clone, TOKEN)
    git("clone", "--quiet", "--branch", "main", server.url, str(tmp_path / "again"))
    assert (tmp_path / "again" / f"{tmp_path.name}.txt").read_text() == "desired state\n"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN + "x", TOKEN[:-1]])
def test_a_push_without_the_token_is_refused_and_changes_nothing(server, clone, token):
    before = remote_head(server)
    done = push(clone, token, check=False)
    assert done.returncode != 0
    assert "Authentication failed" in done.stderr or "could not read Username" in done.stderr
    assert remote_head(server) == before


def test_a_rotated_token_counts_at_once(server, clone):
    server.token_file.write_text("another-token-now")
    try:
        assert push(clone, TOKEN, check=False).returncode != 0
        push(clone, "another-token-now")
    finally:
        server.token_file.write_text(TOKEN)


def test_without_a_token_file_nobody_pushes_and_everybody_reads(server, clone):
    away = server.token_file.with_suffix(".away")
    server.token_file.rename(away)
    try:
        assert push(clone, "", check=False).returncode != 0
        assert push(clone, TOKEN, check=False).returncode != 0
        remote_head(server)
    finally:
        away.rename(server.token_file)


def test_of_parallel_pushes_one_wins_and_the_others_are_told(server, clone, tmp_path):
    push(clone, TOKEN)
    rivals = []
    for number in range(6):
        folder = tmp_path / f"rival-{number}"
        git("clone", "--quiet", server.url, str(folder))
        (folder / "who").write_text(str(number))
        git("add", "--all", cwd=folder)
        git("commit", "--quiet", "-m", f"rival {number}", cwd=folder)
        rivals.append(folder)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda folder: push(folder, TOKEN, check=False), rivals))
    winners = [folder for folder, done in zip(rivals, results, strict=True) if done.returncode == 0]
    assert len(winners) == 1
    assert git("rev-parse", "HEAD", cwd=winners[0]).stdout.strip() == remote_head(server)
    for done in results:
        assert done.returncode == 0 or any(
            word in done.stderr
            for word in ("fetch first", "non-fast-forward", "cannot lock ref", "failed to update ref")
        )


def test_a_pack_beyond_the_post_buffer_arrives_in_chunks_and_whole(server, clone, tmp_path):
    noise = random.Random(7).randbytes(8 * 1024 * 1024)
    (clone / "large.bin").write_bytes(noise)
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "-m", "8 MiB", cwd=clone)
    push(clone, TOKEN)
    git("clone", "--quiet", server.url, str(tmp_path / "again"))
    assert (tmp_path / "again" / "large.bin").read_bytes() == noise
    git("-c", "protocol.version=0", "clone", "--quiet", server.url, str(tmp_path / "old"))


def test_a_pack_over_the_limit_is_refused_and_leaves_no_trace(server, clone):
    (clone / "huge.bin").write_bytes(random.Random(8).randbytes(26 * 1024 * 1024))
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "-m", "26 MiB", cwd=clone)
    before = remote_head(server)
    assert push(clone, TOKEN, check=False).returncode != 0
    assert remote_head(server) == before
    used = sum(path.stat().st_size for path in server.root.rglob("*") if path.is_file())
    assert used < 24 * 1024 * 1024
    assert gone(lambda: list(server.root.rglob("tmp_objdir*")))


def test_history_is_neither_rewritten_nor_deleted(server, clone):
    push(clone, TOKEN)
    before = remote_head(server)
    git("commit", "--quiet", "--amend", "-m", "rewritten", cwd=clone)
    assert git("push", "--force", "origin", "HEAD:main", cwd=clone, token=TOKEN, check=False).returncode != 0
    assert git("push", "origin", ":refs/heads/main", cwd=clone, token=TOKEN, check=False).returncode != 0
    assert remote_head(server) == before


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/gitops.git",
        "/gitops.git/HEAD",
        "/gitops.git/config",
        "/gitops.git/objects/info/packs",
        "/other.git/info/refs?service=git-upload-pack",
        "/../token",
        "/gitops.git/../../token",
        "/gitops.git/..%2f..%2ftoken",
        "/%2e%2e/token",
        "//gitops.git/info/refs?service=git-upload-pack",
        "/gitops.git/info/refs/../../config",
        "/gitops.git/git-upload-archive",
    ],
)
def test_no_other_address_exists(server, path):
    status, body, _ = server.ask("GET", path)
    assert status in (400, 404)
    assert TOKEN.encode() not in body and b"[core]" not in body


@pytest.mark.parametrize("query", ["", "?service=git-upload-archive", "?service=git-upload-pack&x=1", "?service="])
def test_only_the_smart_protocol_is_served(server, query):
    assert server.ask("GET", f"/gitops.git/info/refs{query}")[0] == 403


def test_a_wrong_method_says_which_one_is_right(server):
    status, _, headers = server.ask("GET", "/gitops.git/git-upload-pack")
    assert (status, headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("value", ["Bearer " + TOKEN, "Basic", "Basic ???", "Basic " + base64.b64encode(b"x").decode()])
def test_another_kind_of_authorisation_is_none(server, value):
    status, _, headers = server.ask(
        "GET", "/gitops.git/info/refs?service=git-receive-pack", headers={"Authorization": value}
    )
    assert status == 401 and headers["WWW-Authenticate"].startswith("Basic")


def test_a_client_that_leaves_half_way_leaves_no_process_behind(server, clone):
    push(clone, TOKEN)
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.sendall(
            b"POST /gitops.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n"
            + header(TOKEN).encode()
            + b"\r\nContent-Type: application/x-git-receive-pack-request\r\nContent-Length: 100000\r\n\r\n0000"
        )
    assert gone(lambda: backends(server))
    assert server.ask("GET", "/healthz")[0] == 200


def gone(look) -> bool:
    """Whether what is looked for goes away within ten seconds and stays away: at first it may not be there yet."""
    deadline, since = time.monotonic() + 10, None
    while time.monotonic() < deadline:
        since = None if look() else since or time.monotonic()
        if since is not None and time.monotonic() - since > 1:
            return True
        time.sleep(0.05)
    return False


def backends(server) -> list[str]:
    """Command lines of git programs that work for this server."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if f"GIT_PROJECT_ROOT={server.root}".encode() in environment and b"http-backend" in command:
                found.append(command.decode())
    return found


def test_many_readers_are_served_at_the_same_time(server, clone, tmp_path):
    push(clone, TOKEN)
    errors = []

    def read(number):
        done = git("clone", "--quiet", "--depth", "1", server.url, str(tmp_path / f"r{number}"), check=False)
        errors.extend([done.stderr] if done.returncode else [])

    threads = [threading.Thread(target=read, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_the_token_is_in_no_log(server, clone):
    push(clone, TOKEN)
    text = server.log.read_text()
    assert "git-receive-pack" in text
    assert TOKEN not in text and base64.b64encode(f"apqx:{TOKEN}".encode()).decode() not in text


def test_a_second_start_keeps_what_is_there(tmp_path):
    program = shutil.which("git")
    repository = gitserver.ensure(tmp_path, "gitops.git", program)
    (repository / "description").write_text("mine")
    assert gitserver.ensure(tmp_path, "gitops.git", program) == repository
    assert (repository / "description").read_text() == "mine"
    assert not list(tmp_path.glob(".new-*"))


@pytest.mark.parametrize("name", ["../x.git", "gitops", ".git", "a b.git", "a/b.git", ""])
def test_a_repository_name_that_could_mean_another_place_is_refused(tmp_path, name):
    with pytest.raises(InvalidInput, match=r"expected a name like gitops\.git"):
        gitserver.ensure(tmp_path / "repositories", name, "git")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="expected a folder that can be written"):
        gitserver.ensure(tmp_path / "file", "gitops.git", shutil.which("git"))
