"""Real engines for the images: Debian's dockerd on a socket of its own, buildah with a store of its own, a registry.

The base image is a stand-in (scripts/container_base.sh), because nothing can be pulled here. Everything lives in
one temporary folder and ends with the session. CONTAINER_BASE_TAR names a base made before, to save a minute.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engines import BASE, BASE_PYTHON, HARDENED, ROOT, Docker, Running, end, free_port, wait_for

from platform_lib import container, wheels


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Yield a short folder: socket paths end at 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="apqx-ct-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ingredients(scratch: Path) -> dict[str, Path]:
    """Make the base and fetch the wheels at the same time; most of both is waiting."""

    def base() -> Path:
        given = os.environ.get("CONTAINER_BASE_TAR")
        if given:
            return Path(given)
        out = scratch / "base.tar"
        made = subprocess.run([ROOT / "scripts" / "container_base.sh", out], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        return out

    def fetched(target: str) -> Path:
        folder = scratch / f"wheels-{target}"
        wheels.download(ROOT, folder, target=target, python_version=BASE_PYTHON)
        return folder

    with ThreadPoolExecutor() as pool:
        parts = {"base": pool.submit(base)} | {target: pool.submit(fetched, target) for target in wheels.LOCKS}
        return {name: part.result() for name, part in parts.items()}


@pytest.fixture(scope="session")
def docker(scratch: Path, ingredients: dict[str, Path]) -> Iterator[Docker]:
    """Start a dockerd without bridge and firewall, import the base, and point DOCKER_HOST at it."""
    socket_file, log = scratch / "d.sock", scratch / "dockerd.log"
    command = ["dockerd", "--data-root", scratch / "data", "--exec-root", scratch / "exec", "--host"]
    command += [f"unix://{socket_file}", "--pidfile", scratch / "dockerd.pid", "--bridge=none", "--iptables=false"]
    command += ["--exec-opt=native.cgroupdriver=cgroupfs"]
    with log.open("wb") as output:
        daemon = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output)
    patch = pytest.MonkeyPatch()
    patch.setenv("DOCKER_HOST", f"unix://{socket_file}")
    patch.setenv("DOCKER_CONFIG", str(scratch / "docker-config"))  # no login of this machine's user
    try:
        wait_for(lambda: daemon.poll() is not None or container.engine("docker"), "dockerd")
        if daemon.poll() is not None:
            pytest.skip(f"dockerd cannot run here: {log.read_text()[-600:]}")
        client = Docker(container.engine("docker").program)
        client("import", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin", str(ingredients["base"]), BASE)
        assert client("run", "--rm", "--network=none", BASE, "python", "-V").stdout.split()[1] == BASE_PYTHON
        yield client
        for name in client("ps", "--all", "--quiet").stdout.split():
            client("rm", "--force", name, check=False)
    finally:
        end(daemon)
        subprocess.run(["umount", scratch / "exec" / "netns" / "default"], capture_output=True)  # dockerd forgets it
        patch.undo()


@pytest.fixture(scope="session")
def buildah(scratch: Path, ingredients: dict[str, Path]) -> Iterator[container.Engine]:
    """Give buildah a store of its own with the base in it."""
    store = scratch / "buildah"
    store.mkdir()
    (store / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{store / "graph"}"\nrunroot = "{store / "run"}"\n'
    )
    (store / "auth.json").write_text("{}")  # no login of this machine's user
    patch = pytest.MonkeyPatch()
    patch.setenv("CONTAINERS_STORAGE_CONF", str(store / "storage.conf"))
    patch.setenv("REGISTRY_AUTH_FILE", str(store / "auth.json"))
    patch.setenv("BUILDAH_ISOLATION", "chroot")

    def call(*arguments: str) -> str:
        done = subprocess.run(["buildah", *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    work = call("from", "scratch")
    call("add", "--quiet", work, str(ingredients["base"]), "/")
    call("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", work)
    call("commit", "--quiet", "--rm", "--timestamp=0", work, BASE)
    yield container.engine("buildah")
    call("rm", "--all")
    call("rmi", "--all", "--force")
    patch.undo()


@pytest.fixture(scope="session")
def build(docker: Docker, ingredients: dict[str, Path]) -> Callable[..., container.Built]:
    """Return ``container.build`` for this machine: base and wheels from here, docker unless told otherwise."""

    def made(*, target: container.Target = "app", **changes: object) -> container.Built:
        given: dict = {"version": "1.2.3", "build_args": {"PYTHON_IMAGE": BASE, "REVISION": "0123abc"}}
        given |= {"wheels": ingredients[target], "network": "host", "engine": container.engine("docker")}
        return container.build(ROOT, target=target, **(given | changes))

    return made


@pytest.fixture(scope="session")
def app_image(build: Callable[..., container.Built]) -> container.Built:
    return build()


@pytest.fixture(scope="session")
def workbench_image(build: Callable[..., container.Built]) -> container.Built:
    return build(target="workbench")


@pytest.fixture(scope="session")
def start_registry(scratch: Path) -> Iterator[Callable[..., str]]:
    """Return a function that starts a registry on loopback and returns its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(auth: str = "") -> str:
        port = free_port()
        folder = scratch / f"registry-{port}"
        folder.mkdir()
        settings = f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\n"
        settings += f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        (folder / "config.yml").write_text(settings)
        # Its own settings are REGISTRY_* too, so buildah's REGISTRY_AUTH_FILE would be one of them.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
        with (folder / "log").open("wb") as log:
            program = ["docker-registry", "serve", str(folder / "config.yml")]
            started.append(subprocess.Popen(program, stdout=log, stderr=log, env=environment))
        wait_for(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, "registry")
        return f"127.0.0.1:{port}"

    yield start
    for process in started:
        end(process)


@pytest.fixture
def run_app(docker: Docker, app_image: container.Built) -> Iterator[Callable[..., Running]]:
    """Return a function that starts the application hardened, on a free port, and waits until it answers."""
    names: list[str] = []

    def start(*options: str) -> Running:
        port = free_port()
        command = ["run", "--detach", "--network=host", f"--env=PORT={port}", "--env=BIND_ADDRESS=127.0.0.1"]
        name = docker(*command, *HARDENED, *options, app_image.reference).stdout.strip()
        names.append(name)
        running = Running(name, port)
        wait_for(lambda: running.get("/health")[0] == 200, f"answer of {docker('logs', name).stdout}")
        return running

    yield start
    for name in names:
        docker("rm", "--force", name)
