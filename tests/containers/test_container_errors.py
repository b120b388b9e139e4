"""What a person reads when an engine cannot do it; real where this machine can make it fail, recorded elsewhere."""

from __future__ import annotations

import shutil
import sys

import pytest
from engines import BASE, ROOT, needs_engines

from platform_lib import buildcontext, container, wheels
from platform_lib.enginerun import explained, run
from platform_lib.errors import ImageError, InvalidInput, ToolMissing, Unreachable, WaitTimeout

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)"

# --- before anything is started ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "1.0 beta"}, "image version - '1.0 beta', expected at most 63"),
        ({"version": "latest/../x"}, "image version"),
        ({"repository": "Ghcr.io/apqx/x"}, "image repository - 'Ghcr.io/apqx/x', expected host/name"),
        ({"repository": "ghcr.io/apqx/x:1"}, "image repository"),
        ({"repository": "--privileged"}, "image repository"),
        ({"target": "release"}, "image target - 'release', expected app or workbench"),
        ({"platform": "windows/amd64"}, "image platform - 'windows/amd64', expected linux/amd64 or linux/arm64"),
        ({"build_args": {"PIP_TOKEN": "x"}}, "that is no secret"),
        ({"build_args": {"a b": "x"}}, "build argument 'a b'"),
    ],
)
def test_an_argument_that_cannot_work_is_refused_before_an_engine_is_asked(changes, said, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")  # an engine that was asked would be missed
    with pytest.raises(InvalidInput) as caught:
        container.build(ROOT, **({"version": "1.0.0"} | changes))
    assert said in caught.value.message and caught.value.hint


def test_a_folder_that_is_not_the_checkout_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"has no Dockerfile, expected the checkout"):
        container.build(tmp_path, version="1.0.0")


def test_no_engine_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissing, match="container engine - none on PATH, expected docker or podman or buildah"):
        container.engine()
    with pytest.raises(InvalidInput, match="'rocket', expected one of docker, podman, buildah"):
        container.engine("rocket")


def test_links_and_unwanted_files_do_not_reach_a_build(tmp_path):
    project = tmp_path / "project"
    for item in ("Dockerfile", *buildcontext.CONTEXT):
        source, copy = ROOT / item, project / item
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            copy.mkdir()
            (copy / "a.py").write_text("")
        else:
            shutil.copy(source, copy)
    (project / ".env").write_text("TOKEN=x")
    (project / "gitops" / "__pycache__").mkdir()
    with buildcontext.made(project, None) as folder:
        names = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert "gitops/a.py" in names and not any(".env" in name or "__pycache__" in name for name in names)
    assert not folder.exists()
    (project / "gitops" / "b.py").symlink_to("/etc/shadow")
    with pytest.raises(InvalidInput, match="symbolic link"), buildcontext.made(project, None):
        raise AssertionError("a link was followed")


def test_a_folder_without_wheels_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="holds no wheel"), buildcontext.made(ROOT, tmp_path):
        raise AssertionError("no wheels were taken for wheels")


def test_a_lock_is_read_for_the_image_s_python_and_not_for_this_one():
    lock = 'a==1 ; python_full_version < "3.11.5" \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n'
    lock += 'a==2 ; python_full_version >= "3.11.5" \\\n    --hash=sha256:cc\nb==3 ; sys_platform == "win32" \\\n'
    lock += "    --hash=sha256:dd\n# via x\nc==4 \\\n    --hash=sha256:ee\n"
    assert list(wheels._wanted(lock, "3.11.2", "x86_64")) == [
        "a==1 --hash=sha256:aa --hash=sha256:bb",
        "c==4 --hash=sha256:ee",
    ]
    assert [entry.split()[0] for entry in wheels._wanted(lock, "3.11.16", "x86_64")] == ["a==2", "c==4"]


def test_the_base_s_python_is_the_one_wheels_are_chosen_for():
    assert f"Python {wheels.PYTHON_VERSION} on Debian" in (ROOT / "Dockerfile").read_text()


# --- what engines say -------------------------------------------------------------------------------

RECORDED = [
    (
        "Got permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
        'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.24/version": dial unix: connect: permission denied',
        Unreachable,
        "group docker",
    ),
    ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", Unreachable, "systemctl start"),
    ("ERROR: BuildKit is enabled but the buildx component is missing or broken.", ToolMissing, "docker-buildx-plugin"),
    ("the --mount option requires BuildKit. Refer to https://docs.docker.com/", ToolMissing, "docker-buildx-plugin"),
    ("#9 1.2 OSError: [Errno 28] No space left on device", ImageError, "prune"),
    ("write /var/lib/docker/tmp/x: no space left on device", ImageError, "prune"),
    ("denied: requested access to the resource is denied", ImageError, "docker login"),
    (
        "unauthorized: unauthenticated: User cannot be authenticated with the token provided.",
        ImageError,
        "docker login",
    ),
    ("denied: permission_denied: write_package", ImageError, "docker login"),
    ("no matching manifest for linux/arm64/v8 in the manifest list entries", ImageError, "linux/amd64"),
    ("manifest for python@sha256:00 not found: manifest unknown: manifest unknown", ImageError, "digest"),
    ("dial tcp: lookup ghcr.io on 10.0.0.1:53: no such host", Unreachable, "network"),
    ("http: server gave HTTP response to HTTPS client", Unreachable, "--insecure"),
    ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", ImageError, "lock.sh"),
]


@pytest.mark.parametrize(("output", "error", "hint"), RECORDED, ids=[text[:30] for text, _, _ in RECORDED])
def test_what_an_engine_said_becomes_an_error_with_a_next_step(output, error, hint):
    told = explained("image x:1 - build with docker", f"step 1\n{output}\nstep 2")
    assert type(told) is error and hint in told.hint
    assert told.message.startswith("image x:1 - build with docker: ") and "expected" in told.message
    assert output.split(":")[0][:20] in told.message and told.log_tail.endswith("step 2")


def test_what_nobody_knows_is_shown_by_its_last_lines():
    told = explained("image x:1 - build", "\n".join(f"line {n}" for n in range(50)))
    assert type(told) is ImageError and "line 49" in told.message and "line 12" not in told.message


def test_a_build_step_without_permission_is_no_registry_that_refuses():
    told = explained("image x:1 - build", "#9 3.1 PermissionError: [Errno 13] Permission denied: '/out/app'")
    assert "registry" not in told.message and "Permission denied: '/out/app'" in told.message


def test_a_command_that_hangs_is_ended_at_the_deadline():
    with pytest.raises(WaitTimeout, match=r"not done after 0.5 s, last line seen: begun"):
        run(["sh", "-c", "echo begun; exec sleep 60"], timeout_s=0.5, doing="image x - build")


def test_an_engine_that_does_not_listen_ends_at_the_deadline_too(monkeypatch):
    monkeypatch.setattr("platform_lib.enginerun._END_GRACE_S", 0.3)
    with pytest.raises(WaitTimeout, match="not done after"):
        run([sys.executable, "-S", "-c", DEAF], timeout_s=1.0, doing="image x - build")


def test_progress_sees_every_line():
    seen: list[str] = []
    assert run(["sh", "-c", "echo a; echo b >&2"], timeout_s=10, doing="x", progress=seen.append) == "a\nb"
    assert seen == ["a", "b"]


# --- real engines that fail -------------------------------------------------------------------------


@needs_engines
def test_a_daemon_that_is_down_is_told_with_its_address(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/d.sock")
    with pytest.raises(Unreachable, match="does not answer") as caught:
        container.engine("docker")
    assert "/nonexistent/d.sock" in caught.value.message and "DOCKER_HOST" in caught.value.hint


@needs_engines
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_package_that_is_not_the_locked_one_stops_the_build(build, ingredients, tmp_path):
    for wheel in ingredients["app"].glob("*.whl"):
        shutil.copy(wheel, tmp_path)
    changed = next(tmp_path.glob("flask-*.whl"))
    changed.write_bytes(changed.read_bytes() + b"x")
    with pytest.raises(ImageError, match="not the one that was locked"):
        build(wheels=tmp_path, repository="ghcr.io/apqx/tampered")


@needs_engines
@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_base_that_is_not_there_is_named(build, docker):
    wrong = BASE.replace("3.11", "3.99")
    with pytest.raises((ImageError, Unreachable)) as caught:
        build(build_args={"PYTHON_IMAGE": f"127.0.0.1:1/{wrong}"}, repository="ghcr.io/apqx/no-base")
    assert "expected" in caught.value.message and "3.99" in caught.value.log_tail
