"""The same source gives the same image, whoever builds it again."""

from __future__ import annotations

import subprocess

import pytest
from engines import BASE, ROOT, needs_engines

from platform_lib import container

pytestmark = [needs_engines, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def by_buildah(buildah, ingredients, start_registry):
    """Return a function that builds with buildah, which keeps no layers, under a name on a registry on loopback."""
    repository = f"{start_registry()}/apqx/sample-app"

    def build(version: str = "1.2.3") -> container.Built:
        return container.build(
            ROOT,
            version=version,
            repository=repository,
            build_args={"PYTHON_IMAGE": BASE},
            wheels=ingredients["app"],
            engine=buildah,
        )

    return build


def test_two_builds_give_one_digest_here_and_in_a_registry(by_buildah, buildah):
    found = []
    for _ in range(2):
        built = by_buildah()
        here = container.digest_of(built.reference, engine=buildah)
        there = container.push(built.reference, engine=buildah, insecure=True)
        found.append((built.image_id, here, there))
    assert found[0] == found[1]
    assert all(text.startswith("sha256:") for text in found[0])
    assert by_buildah("1.2.4").image_id != found[0][0], "another version is another image"


def test_docker_without_its_cache_gives_the_same_layers(docker, build, app_image):
    """The dates of this old docker's configuration differ; what the containers run does not."""
    before = docker.layers(app_image.reference)
    subprocess.run([docker.program, "builder", "prune", "--all", "--force"], check=True, capture_output=True)
    again = build(repository="ghcr.io/apqx/again")
    assert docker.layers(again.reference) == before and len(before) == len(docker.layers(BASE)) + 2
