from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import sys
import threading
from pathlib import Path

import pytest
from harness import Layout, archive

from platform_lib.embedded.kubelet.imagestore import ImageError, ImageStore, digest_of

HEX = "a" * 64


@pytest.fixture
def store(layout: Layout, tmp_path: Path) -> ImageStore:
    return ImageStore(layout.root, tmp_path / "cache")


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("ghcr.io/a/b:1.0", "ErrImagePull"),
        ("ghcr.io/a/b", "ErrImagePull"),
        ("Upper/case", "InvalidImageName"),
        ("", "InvalidImageName"),
        (f"a/b@sha256:{HEX[:-1]}", "InvalidImageName"),
        (f"a/b@sha256:{HEX.upper()}", "InvalidImageName"),
    ],
)
def test_reference_without_a_digest_is_refused(reference: str, reason: str) -> None:
    with pytest.raises(ImageError) as refused:
        digest_of(reference)
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    "reference", [f"a@sha256:{HEX}", f"host:5000/a/b:tag@sha256:{HEX}", f"ghcr.io/x/y@sha256:{HEX}"]
)
def test_digest_is_found_in_every_form_of_reference(reference: str) -> None:
    assert digest_of(reference) == f"sha256:{HEX}"


def test_layers_are_laid_over_each_other(layout: Layout, store: ImageStore) -> None:
    image = layout.image(
        {"app/keep": "1", "app/gone": "1", "app/changed": "old", "app/dir/a": "1"},
        {"app/.wh.gone": "", "app/changed": "new", "app/dir/.wh..wh..opq": "", "app/dir/b": "2"},
    )
    rootfs = store.load(image).rootfs
    found = {str(p.relative_to(rootfs)): p.read_text() for p in rootfs.rglob("*") if p.is_file()}
    assert found == {"app/keep": "1", "app/changed": "new", "app/dir/b": "2"}


def test_equal_files_of_two_images_share_one_inode(layout: Layout, store: ImageStore) -> None:
    base = {"lib/shared": "x" * 1000}
    one, two = (store.load(layout.image(base, {"app/version": v})).rootfs for v in ("1", "2"))
    assert (one / "lib/shared").stat().st_ino == (two / "lib/shared").stat().st_ino
    assert (one / "app/version").read_text() == "1"


def test_compressed_layer_is_checked_by_both_digests(layout: Layout, store: ImageStore) -> None:
    plain = archive({"app/x": "content"})
    packed = gzip.compress(plain)
    diff_id = f"sha256:{hashlib.sha256(plain).hexdigest()}"

    def image(layer: str, unpacked: str) -> str:
        config = layout.blob(json.dumps({"rootfs": {"diff_ids": [unpacked]}}).encode())
        document = {"config": {"digest": config}, "layers": [{"digest": layer, "size": len(packed)}]}
        return f"a@{layout.blob(json.dumps(document).encode())}"

    good = store.load(image(layout.blob(packed), diff_id))
    assert (good.rootfs / "app/x").read_text() == "content"
    with pytest.raises(ImageError, match="digest mismatch"):
        store.load(image(layout.blob(packed), f"sha256:{'0' * 64}"))


def test_damaged_manifest_is_refused(layout: Layout, store: ImageStore) -> None:
    image = layout.image({"app/x": "1"})
    layout.path(image.split("@")[1]).write_bytes(b"{}")
    with pytest.raises(ImageError, match="digest mismatch"):
        store.load(image)


def test_missing_layer_is_named(layout: Layout, store: ImageStore) -> None:
    image = layout.image({"app/x": "1"})
    layer = json.loads(layout.path(image.split("@")[1]).read_bytes())["layers"][0]["digest"]
    layout.path(layer).unlink()
    with pytest.raises(ImageError, match=f"{layer}: blob unknown"):
        store.load(image)


def test_entry_that_leads_out_is_refused(layout: Layout, store: ImageStore, tmp_path: Path) -> None:
    image = layout.image({"../../escaped": "x"})
    with pytest.raises(ImageError):
        store.load(image)
    assert not list(tmp_path.rglob("escaped"))


def test_index_is_resolved_to_this_machine(layout: Layout, store: ImageStore) -> None:
    import platform

    reference = layout.image({"app/x": "1"})
    digest = reference.split("@")[1]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    entries = [
        {"digest": f"sha256:{HEX}", "platform": {"os": "linux", "architecture": "s390x"}},
        {"digest": digest, "platform": {"os": "linux", "architecture": architecture}},
    ]
    index = layout.blob(json.dumps({"manifests": entries}).encode())
    assert (store.load(f"a@{index}").rootfs / "app/x").exists()


def test_several_nodes_unpack_one_image_at_once(layout: Layout, tmp_path: Path) -> None:
    image = layout.image({f"app/f{n}": str(n) for n in range(300)})
    stores = [ImageStore(layout.root, tmp_path / "cache") for _ in range(4)]
    pulled: list[float | None] = []
    threads = [threading.Thread(target=lambda s=s: pulled.append(s.load(image).pulled_s)) for s in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pulled) == 4
    assert len(list(stores[0].load(image).rootfs.rglob("f*"))) == 300


def test_interrupted_unpacking_is_started_again(layout: Layout, store: ImageStore, tmp_path: Path) -> None:
    image = layout.image({"app/x": "1"})
    partial = tmp_path / "cache" / "rootfs" / f"{image.split(':')[-1]}.partial"
    (partial / "app").mkdir(parents=True)
    (partial / "app" / "junk").write_text("half")
    rootfs = asyncio.run(store.pull(image)).rootfs
    assert [p.name for p in (rootfs / "app").iterdir()] == ["x"]
    assert asyncio.run(store.pull(image)).pulled_s is None


def test_modules_are_compiled_once(layout: Layout, tmp_path: Path) -> None:
    store = ImageStore(layout.root, tmp_path / "cache", python=sys.executable)
    rootfs = store.load(layout.image({"app/module.py": "VALUE = 1\n"})).rootfs
    compiled = list((rootfs / "app" / "__pycache__").iterdir())
    assert len(compiled) == 1
    assert str(tmp_path).encode() not in compiled[0].read_bytes()
