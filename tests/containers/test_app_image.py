"""The application's image, really built and run: what an operator and a security reviewer would look at."""

from __future__ import annotations

import io
import json
import re
import tarfile
import threading
import time

import pytest
from engines import BASE, needs_engines, wait_for

pytestmark = [needs_engines, pytest.mark.slow, pytest.mark.timeout(1500)]

MAX_ADDED_BYTES = 40_000_000
"""Libraries with their byte code are 18 MB; twice that means that something came along that was not asked for."""


def of_process_1(docker, name: str) -> dict[str, str]:
    text = docker("exec", name, "python", "-c", "print(open('/proc/1/status').read())").stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_it_runs_without_any_privilege(docker, run_app):
    running = run_app()
    status = of_process_1(docker, running.name)
    assert status["Uid"].split() == ["1000"] * 4 and status["Gid"].split() == ["1000"] * 4
    assert {status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert running.get("/ready")[0] == 200 and json.loads(running.get("/")[1])["version"] == "1.2.3"


def test_nothing_of_it_can_be_written_and_its_memory_is_limited(docker, run_app):
    running = run_app()
    for path in ("/x", "/app/x", "/app/sample_app/x.py", "/tmp/x", "/etc/x"):
        done = docker("exec", running.name, "python", "-c", f"open('{path}', 'w')", check=False)
        assert done.returncode == 1 and re.search("Read-only file system", done.stderr), (path, done.stderr)
    limits = "import pathlib as p; print([f.read_text() for f in (p.Path('/sys/fs/cgroup/memory.max'), "
    limits += "p.Path('/sys/fs/cgroup/memory/memory.limit_in_bytes')) if f.exists()])"
    assert "134217728" in docker("exec", running.name, "python", "-c", limits).stdout


def test_it_is_not_root_s_to_write_even_on_a_writable_root(docker, app_image):
    """The user of the program owns nothing of the program."""
    code = "import os; print([p for d, _, f in os.walk('/app') for p in [d, *(f'{d}/{n}' for n in f)]"
    code += " if os.access(p, os.W_OK)])"
    done = docker("run", "--rm", "--network=none", "--entrypoint=python", app_image.reference, "-c", code)
    assert done.stdout.strip() == "[]"


def test_the_health_check_says_healthy_and_after_the_server_hangs_unhealthy(docker, run_app, app_image):
    running = run_app("--health-interval=1s", "--health-retries=1")

    def health() -> str:
        return docker.inspect(running.name)["State"]["Health"]["Status"]

    wait_for(lambda: health() == "healthy", "state healthy")
    command = docker.inspect(app_image.reference)["Config"]["Healthcheck"]["Test"][1:]
    assert docker("exec", running.name, *command).returncode == 0
    # Signals to every process but number 1 stop the worker: it hangs, and still has the socket.
    stop = "import os, signal; [os.kill(int(p), signal.SIGSTOP) for p in os.listdir('/proc')"
    stop += " if p.isdigit() and p != '1' and int(p) != os.getpid()]"
    docker("exec", running.name, "python", "-c", stop)
    assert docker("exec", running.name, *command, check=False).returncode != 0
    wait_for(lambda: health() == "unhealthy", "state unhealthy")


def test_sigterm_lets_the_request_in_flight_finish_and_ends_with_0(docker, run_app):
    running = run_app("--env=DRAIN_S=0.1")
    answers: list[tuple[int, str]] = []
    request = threading.Thread(target=lambda: answers.append(running.get("/work?ms=3000", timeout_s=30)))
    request.start()
    time.sleep(0.5)  # the request is in the server: it takes 3 s of CPU time
    assert answers == []
    started = time.monotonic()
    docker("stop", "--time=20", running.name)
    stopped_s = time.monotonic() - started
    request.join(30)
    assert [status for status, _ in answers] == [200]
    state = docker.inspect(running.name)["State"]
    assert state["ExitCode"] == 0 and not state["OOMKilled"]
    assert 1 < stopped_s < 19, f"{stopped_s:.1f} s: not killed at the end of the grace period, not cut off at once"


def test_an_unusable_setting_is_said_and_ends_with_2(docker, app_image):
    done = docker("run", "--rm", "--network=none", "--env=PORT=http", app_image.reference, check=False)
    assert done.returncode == 2 and "PORT is 'http'" in done.stderr


def added_files(docker, reference: str) -> dict[str, tarfile.TarInfo]:
    """Return what the image has on top of the base, by path."""
    import subprocess

    packed = subprocess.run([docker.program, "save", reference], capture_output=True, check=True).stdout
    found: dict[str, tarfile.TarInfo] = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        names = json.load(archive.extractfile("manifest.json"))[0]["Layers"]
        for name in names[len(docker.layers(BASE)) :]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                found |= {f"/{member.name}": member for member in layer}
    return found


SECRETS = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|ghp_[A-Za-z0-9]{36}")
UNWANTED = re.compile(r"/\.git(/|$)|/tests?(/|$)|\.env$|\.pem$|/\.wheels|Dockerfile|\.cache|pip/|\.tar$|\.log$")


def test_the_application_s_image_holds_the_application_and_little_else(docker, app_image):
    files = added_files(docker, app_image.reference)
    assert {path.split("/")[1] for path in files} == {"app"}
    assert {"/app/sample_app/__main__.py", "/app/lib/flask/__init__.py"} <= files.keys()
    # certifi's list of public authorities is a .pem that has to be there
    assert [p for p in files if UNWANTED.search(p) and not p.endswith("/certifi/cacert.pem")] == []
    assert {member.mtime for member in files.values()} == {0}
    assert {member.uid for member in files.values()} == {0}
    assert not [p for p, member in files.items() if member.mode & 0o022 and not member.issym()]
    assert sum(member.size for member in files.values()) < MAX_ADDED_BYTES


def test_no_secret_is_in_the_image_or_its_history(docker, app_image, workbench_image):
    for reference in (app_image.reference, workbench_image.reference):
        history = docker("history", "--no-trunc", "--format={{.CreatedBy}}", reference).stdout
        assert not re.search(r"TOKEN|PASSWORD|index-url|https?://(?!127\.0\.0\.1)", history), history
        assert not SECRETS.search(json.dumps(docker.inspect(reference)).encode())


def test_it_starts_with_byte_code_that_is_already_there(docker, app_image):
    """A read-only root caches nothing: without byte code each start would compile everything again."""
    code = "import sys; sys.path[:0] = ['/app/lib', '/app']; import flask, sample_app; print(flask.__cached__)"
    done = docker("run", "--rm", "--network=none", "--entrypoint=python", app_image.reference, "-v", "-c", code)
    assert "matches /app/lib/flask/__init__.py" in done.stderr, done.stderr[-400:]
