"""Whose image may be replaced by the first release of a new cluster? Only the one that was never built."""

import shutil
from pathlib import Path

import pytest

from platform_lib.providers.bootstrap import gitsource
from platform_lib.wire.manifest_edit import write_release

ROOT = Path(__file__).resolve().parents[3]
PUBLISHED = "ghcr.io/apqx/sample-app@sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("image", "replaceable"), [(f"ghcr.io/apqx/sample-app@{gitsource.NEVER_BUILT}", True), (PUBLISHED, False)]
)
def test_an_image_that_a_pipeline_published_stays(tmp_path: Path, image: str, replaceable: bool) -> None:
    path = Path(shutil.copy(ROOT / "gitops/workloads/sample-app/deployment.yaml", tmp_path))
    write_release(path, image=image, version="1.0.0")
    assert gitsource._unavailable(path, lambda _image: False) is replaceable
    assert gitsource._unavailable(path, lambda named: named == image)
