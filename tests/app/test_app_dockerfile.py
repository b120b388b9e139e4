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


def test_the_base_is_one_argument_pinned_by_digest(dockerfile):
    base = re.findall(r"^ARG PYTHON_IMAGE=(\S+)", dockerfile, re.M)
    assert len(base) == 1 and re.fullmatch(r"docker\.io/library/python:3\.11-slim@sha256:[0-9a-f]{64}", base[0])
    stages = re.findall(r"^FROM (\S+) AS (\S+)", dockerfile, re.M)
    own = {name for _, name in stages}
    assert {source for source, _ in stages if source not in own} == {"${PYTHON_IMAGE}"}
    assert [name for _, name in stages][-2:] == ["workbench", "app"], "a build without a target makes the application"


def test_a_build_by_hand_may_read_what_the_library_s_build_context_holds(project):
    from platform_lib.buildcontext import CONTEXT, WHEELS

    lines = (project / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    assert {line[1:] for line in lines if line.startswith("!")} == {*CONTEXT, WHEELS}


def test_every_file_of_the_context_that_is_copied_alone_is_copied(project, dockerfile):
    from platform_lib.buildcontext import CONTEXT

    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", dockerfile, re.M) for word in line.split()[:-1]}
    for item in CONTEXT:
        assert item in copied or item.split("/")[0] in copied, f"{item} is sent to the build and not used"


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
