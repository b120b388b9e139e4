"""A registry on loopback, the real one: push, look, pull by digest, and every way it can refuse."""

from __future__ import annotations

import json
import subprocess

import pytest
from engines import free_port, needs_engines

from platform_lib import container
from platform_lib.errors import ImageError, Unreachable

pytestmark = [needs_engines, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def registry(start_registry):
    return start_registry()


@pytest.fixture(scope="module")
def pushed(docker, build, app_image, registry):
    """Return repository and digest of the application's image in the registry."""
    built = build(repository=f"{registry}/apqx/sample-app")
    digest = container.push(built.reference, engine=container.engine("docker"))
    return f"{registry}/apqx/sample-app", digest


def test_the_digest_that_push_returns_is_the_registry_s(pushed, docker):
    repository, digest = pushed
    told = json.loads(skopeo("inspect", f"docker://{repository}:1.2.3"))
    assert told["Digest"] == digest
    assert container.digest_of(f"{repository}:1.2.3", engine=container.engine("docker")) == digest


def skopeo(*arguments: str) -> str:
    done = subprocess.run(
        ["skopeo", arguments[0], "--tls-verify=false", *arguments[1:]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_labels_architecture_and_user_are_told_without_pulling(pushed):
    repository, digest = pushed
    told = json.loads(skopeo("inspect", f"docker://{repository}@{digest}"))
    assert told["Architecture"] in {"amd64", "arm64"} and told["Os"] == "linux"
    labels = {key.removeprefix("org.opencontainers.image."): value for key, value in told["Labels"].items()}
    assert labels["title"] == "sample-app" and labels["licenses"] == "Apache-2.0"
    assert labels["version"] == "1.2.3" and labels["revision"] == "0123abc"
    config = json.loads(skopeo("inspect", "--config", f"docker://{repository}@{digest}"))["config"]
    assert config["User"] == "1000:1000" and config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]


def test_it_is_pulled_by_digest_and_runs(pushed, docker):
    repository, digest = pushed
    docker("rmi", "--force", f"{repository}:1.2.3")
    docker("pull", f"{repository}@{digest}")
    code = "import sample_app, pathlib as p; print(p.Path(sample_app.__file__).with_name('VERSION').read_text())"
    entry = ["--entrypoint=python", f"{repository}@{digest}", "-c", code]
    assert docker("run", "--rm", "--network=none", "--read-only", *entry).stdout.strip() == "1.2.3"


def test_a_digest_that_is_not_there_is_refused(pushed, docker):
    repository, digest = pushed
    wrong = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    done = docker("pull", f"{repository}@{wrong}", check=False)
    assert done.returncode != 0 and "manifest unknown" in done.stderr


def test_a_registry_that_wants_a_login_is_named_with_the_command_to_log_in(build, start_registry, scratch):
    (scratch / "htpasswd").write_text("nobody:!\n")  # a user who can never log in
    address = start_registry(f"auth: {{htpasswd: {{realm: test, path: {scratch / 'htpasswd'}}}}}\n")
    built = build(repository=f"{address}/apqx/sample-app")
    with pytest.raises(ImageError, match="expected a login that may push there") as caught:
        container.push(built.reference, engine=container.engine("docker"))
    assert "docker login" in caught.value.hint and address in caught.value.message


def test_a_registry_that_is_away_is_unreachable(build):
    built = build(repository=f"127.0.0.1:{free_port()}/apqx/sample-app")
    with pytest.raises(Unreachable, match="did not answer"):
        container.push(built.reference, engine=container.engine("docker"))


def test_an_image_that_was_never_built_cannot_be_pushed(docker, registry):
    with pytest.raises(ImageError, match="never-built"):
        container.push(f"{registry}/apqx/never-built:1.0.0", engine=container.engine("docker"))


def test_an_image_that_was_never_pushed_has_no_digest_to_deploy(app_image):
    with pytest.raises(ImageError, match="push it first"):
        container.digest_of(app_image.reference, engine=container.engine("docker"))
