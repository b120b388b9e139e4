"""The same source gives the same image, whoever builds it again."""

from __future__ import annotations

import subprocess

import pytest
from engines import BASE, ROOT, needs_engines

from platform_lib import container

pytestmark = [needs_engines, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def by_buildah(buildah, ingredients):
    def build() -> container.Built:
        return container.build(
            ROOT,
            version="1.2.3",
            build_args={"PYTHON_IMAGE": BASE},
            wheels=ingredients["app"],
            engine=buildah,
        )

    return build


@pytest.fixture(scope="module")
def twice(by_buildah, buildah):
    """Build, look, build again (buildah keeps no layers here), look again."""
    found = []
    for _ in range(2):
        built = by_buildah()
        found.append((built, container.digest_of(built.reference, engine=buildah)))
    return found


def test_two_builds_give_one_digest(twice):
    (first, digest), (second, again) = twice
    assert first.image_id == second.image_id
    assert digest == again and digest.startswith("sha256:")


def test_the_image_in_a_registry_is_the_same_twice_too(twice, buildah, by_buildah, start_registry, ingredients):
    repository = f"{start_registry()}/apqx/sample-app"
    pushed = []
    for _ in range(2):
        built = container.build(
            ROOT,
            version="1.2.3",
            repository=repository,
            build_args={"PYTHON_IMAGE": BASE},
            wheels=ingredients["app"],
            engine=buildah,
        )
        pushed.append(container.push(built.reference, engine=buildah, insecure=True))
    assert pushed[0] == pushed[1]


def test_another_version_is_another_image(twice, buildah, ingredients):
    other = container.build(
        ROOT,
        version="1.2.4",
        build_args={"PYTHON_IMAGE": BASE},
        wheels=ingredients["app"],
        engine=buildah,
    )
    assert other.image_id != twice[0][0].image_id


def test_docker_without_its_cache_gives_the_same_layers(docker, build, app_image):
    """The dates of this old docker's configuration differ; what the containers run does not."""
    before = docker.layers(app_image.reference)
    subprocess.run([docker.program, "builder", "prune", "--all", "--force"], check=True, capture_output=True)
    again = build(repository="ghcr.io/apqx/again")
    assert docker.layers(again.reference) == before and len(before) == len(docker.layers(BASE)) + 2
