from __future__ import annotations

import json
import re

import pytest
from sample_app.config import load

from platform_lib.image import build_image


@pytest.fixture
def dockerfile(project):
    return (project / "Dockerfile").read_text()


@pytest.fixture
def last_stage(dockerfile):
    return dockerfile[dockerfile.rindex("\nFROM ") :]


def test_the_base_is_one_argument_for_both_stages(dockerfile):
    assert re.findall(r"^FROM (\S+)", dockerfile, re.M) == ["${PYTHON_IMAGE}"] * 2
    assert "ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim\n" in dockerfile


def test_the_last_stage_runs_nothing_and_needs_no_shell(last_stage):
    assert not re.search(r"^RUN", last_stage, re.M)
    for instruction in ("ENTRYPOINT", "CMD"):
        for argument in re.findall(rf"^\s*{instruction} (.+)$", last_stage, re.M):
            assert isinstance(json.loads(argument), list), f"{instruction} must be in exec form"


def test_user_and_port_agree_with_the_application(last_stage):
    assert re.findall(r"^USER (\S+)", last_stage, re.M) == ["1000:1000"]
    assert re.findall(r"^EXPOSE (\d+)", last_stage, re.M) == [str(load({}).port)]


def test_docker_and_the_python_build_start_the_application_alike(project, last_stage, tmp_path):
    image = build_image(project / "app", tmp_path, version="1.0.0")
    blobs = tmp_path / "blobs" / "sha256"
    manifest = json.loads((blobs / image.digest[7:]).read_bytes())
    config = json.loads((blobs / manifest["config"]["digest"][7:]).read_bytes())["config"]
    entrypoint = json.loads(re.search(r"^ENTRYPOINT (.+)$", last_stage, re.M)[1])
    environment = dict(re.findall(r"(PYTHON\w+)=(\S+)", last_stage))
    assert config["Entrypoint"] == entrypoint
    assert dict(line.split("=", 1) for line in config["Env"]) == environment
    assert config["WorkingDir"] == re.search(r"^WORKDIR (\S+)", last_stage, re.M)[1]
    assert config["User"] == "1000"
    assert list(config["ExposedPorts"]) == ["8080/tcp"]


def test_the_image_installs_what_the_repository_locks(project):
    def pins(path):
        blocks = re.split(r"\n(?=\S)", path.read_text())
        return {block.split("==")[0]: block.strip() for block in blocks if "==" in block.splitlines()[0]}

    everything, own = pins(project / "requirements.lock"), pins(project / "app" / "requirements.lock")
    assert {"flask", "gunicorn", "prometheus-client", "werkzeug"} <= own.keys()
    assert own == {name: everything[name] for name in own}, "copy the changed entries of requirements.lock"


def test_the_image_lock_holds_everything_the_application_needs(project):
    from platform_lib.image import _closure, _requirements

    needed = {d.name.lower().replace("_", "-") for d in _closure(_requirements(project / "app" / "requirements.txt"))}
    locked = set(re.findall(r"^([a-z0-9-]+)==", (project / "app" / "requirements.lock").read_text(), re.M))
    assert needed == locked
