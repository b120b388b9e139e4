from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from platform_lib import oci
from platform_lib.errors import ImageError, InvalidInput, Locked
from platform_lib.image import build_image, list_images, verify_image
from platform_lib.unpacking import unpack

APP = Path(__file__).resolve().parents[2] / "app"

BUILD = """
import os, sys
from pathlib import Path
from platform_lib.image import build_image
os.umask(0o077)
print(build_image(Path(sys.argv[1]), Path(sys.argv[2]), version="1.0.0").digest)
"""


@pytest.fixture
def images(tmp_path):
    return tmp_path / "images"


@pytest.fixture(scope="module")
def library_layer(tmp_path_factory):
    """A layout with the library layer in it, because compiling that takes half a second."""
    folder = tmp_path_factory.mktemp("layer")
    build_image(APP, folder, version="0.0.1")
    return folder


@pytest.fixture
def warm(library_layer, images):
    shutil.copytree(library_layer / "blobs", images / "blobs")
    shutil.copytree(library_layer / ".layers", images / ".layers")
    return images


def blob(images, digest):
    return images / "blobs" / "sha256" / digest.removeprefix("sha256:")


def read(images, digest):
    return json.loads(blob(images, digest).read_bytes())


def layer_names(images, built):
    manifest = read(images, built.digest)
    for layer in manifest["layers"]:
        with tarfile.open(blob(images, layer["digest"])) as archive:
            yield from archive


def test_the_digest_does_not_depend_on_folder_time_umask_or_hash_seed(warm, tmp_path):
    here = build_image(APP, warm, version="1.0.0")
    copied = shutil.copytree(APP, tmp_path / "elsewhere" / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for path in copied.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    there = subprocess.run(
        [sys.executable, "-c", BUILD, str(copied), str(tmp_path / "other-layout")],
        env={**os.environ, "PYTHONHASHSEED": "77", "TZ": "Pacific/Apia"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here.digest


def test_a_second_build_is_reused_and_adds_nothing(warm):
    first = build_image(APP, warm, version="1.0.0")
    files = sorted(warm.rglob("*"))
    second = build_image(APP, warm, version="1.0.0")
    assert (first.reused, second.reused) == (False, True)
    assert second.digest == first.digest
    assert sorted(warm.rglob("*")) == files
    assert len(list_images(warm)) == 1


def test_each_version_has_its_own_digest_and_shares_the_library_layer(warm):
    one, two = (build_image(APP, warm, version=v) for v in ("1.0.0", "1.0.1"))
    assert one.digest != two.digest
    assert read(warm, one.digest)["layers"][0] == read(warm, two.digest)["layers"][0]
    assert [image.version for image in list_images(warm)] == ["1.0.0", "1.0.1"]


def test_changed_source_gives_a_new_digest_and_keeps_the_old_image(warm, tmp_path):
    changed = shutil.copytree(APP, tmp_path / "app")
    before = build_image(changed, warm, version="1.0.0")
    with (changed / "sample_app" / "web.py").open("a") as file:
        file.write("# changed\n")
    after = build_image(changed, warm, version="1.0.0")
    assert after.digest != before.digest
    assert {i.digest for i in list_images(warm)} == {before.digest, after.digest}
    verify_image(warm, before.digest)


def test_extra_environment_is_part_of_the_image(warm):
    plain = build_image(APP, warm, version="1.0.0")
    faulty = build_image(APP, warm, version="1.0.0", extra_env={"FAULT_ERROR_RATIO": "0.2"})
    assert plain.digest != faulty.digest
    config = read(warm, read(warm, faulty.digest)["config"]["digest"])
    assert "FAULT_ERROR_RATIO=0.2" in config["config"]["Env"]


def test_the_layout_is_what_the_oci_specification_asks_for(warm):
    built = build_image(APP, warm, version="1.0.0", repository="ghcr.io/acme/web")
    assert json.loads((warm / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((warm / "index.json").read_text())["manifests"]
    assert entry["digest"] == built.digest
    assert entry["size"] == blob(warm, built.digest).stat().st_size
    assert entry["annotations"]["org.opencontainers.image.ref.name"] == "ghcr.io/acme/web:1.0.0"
    assert built.reference == f"ghcr.io/acme/web@{built.digest}"
    manifest = read(warm, built.digest)
    config = read(warm, manifest["config"]["digest"])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]], "layers are plain tar"
    assert config["config"]["User"] == "1000"
    assert config["config"]["WorkingDir"] == "/app"
    assert "PYTHONPATH=/app/lib:/app" in config["config"]["Env"]
    parts = [manifest["config"], *manifest["layers"]]
    assert built.size_bytes == entry["size"] + sum(part["size"] for part in parts)
    assert all(blob(warm, part["digest"]).stat().st_size == part["size"] for part in parts)


def test_layers_hold_the_application_its_libraries_and_nothing_of_this_machine(warm):
    built = build_image(APP, warm, version="9.9.9")
    entries = list(layer_names(warm, built))
    names = {entry.name for entry in entries}
    assert {"app/sample_app/__main__.py", "app/lib/flask/__init__.py", "app/lib/gunicorn/arbiter.py"} <= names
    assert not any(name.endswith(("/RECORD", "/INSTALLER", "/direct_url.json", ".pth")) for name in names)
    assert {(e.mtime, e.uid, e.gid, e.uname, e.gname) for e in entries} == {(0, 0, 0, "", "")}
    assert {e.mode for e in entries if e.isfile()} == {0o644}
    assert {e.mode for e in entries if e.isdir()} == {0o755}
    for layer in read(warm, built.digest)["layers"]:
        assert str(APP.parent).encode() not in blob(warm, layer["digest"]).read_bytes()


def test_the_unpacked_image_reports_its_version_without_any_other_library(warm, tmp_path):
    built = build_image(APP, warm, version="9.9.9")
    root = tmp_path / "root"
    for layer in read(warm, built.digest)["layers"]:
        with tarfile.open(blob(warm, layer["digest"])) as archive:
            unpack(archive, root)
    code = (
        "import sys; from sample_app.config import load; import flask, gunicorn; print(load().version, flask.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", code],
        env={"PYTHONPATH": f"{root}/app/lib:{root}/app", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["9.9.9", f"{root}/app/lib/flask/__init__.py"]


def test_every_module_in_the_image_has_byte_code_that_python_accepts(warm, tmp_path):
    built = build_image(APP, warm, version="1.0.0")
    app_layer = read(warm, built.digest)["layers"][1]
    root = tmp_path / "root"
    with tarfile.open(blob(warm, app_layer["digest"])) as archive:
        unpack(archive, root)
    (root / "app" / "sample_app" / "lifecycle.py").write_text("raise SystemExit('the source was compiled')\n")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sample_app.lifecycle as m; print(m.Lifecycle().reason == '')"],
        env={"PYTHONPATH": f"{root}/app"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "True\n", done.stderr


def test_verify_names_the_corrupted_blob(warm):
    built = build_image(APP, warm, version="1.0.0")
    victim = read(warm, built.digest)["layers"][1]["digest"]
    data = bytearray(blob(warm, victim).read_bytes())
    data[600] ^= 1
    blob(warm, victim).write_bytes(data)
    with pytest.raises(ImageError, match=f"blob {victim} .* is corrupted") as error:
        verify_image(warm, built.digest)
    assert error.value.blob == victim


def test_a_build_repairs_a_corrupted_blob(warm):
    built = build_image(APP, warm, version="1.0.0")
    for part in (read(warm, built.digest)["layers"][0]["digest"], built.digest):
        blob(warm, part).write_bytes(b"garbage")
    assert build_image(APP, warm, version="1.0.0").digest == built.digest
    assert verify_image(warm, built.digest).digest == built.digest


def test_verify_refuses_an_unknown_digest_and_a_tag(warm):
    build_image(APP, warm, version="1.0.0")
    with pytest.raises(ImageError, match="is not in"):
        verify_image(warm, f"sha256:{'0' * 64}")
    with pytest.raises(InvalidInput, match="wanted sha256"):
        verify_image(warm, "latest")


def test_a_missing_blob_is_reported(warm):
    built = build_image(APP, warm, version="1.0.0")
    blob(warm, read(warm, built.digest)["config"]["digest"]).unlink()
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        verify_image(warm, built.digest)


def test_no_layout_means_no_images(images):
    assert list_images(images) == ()


def test_builds_at_the_same_time_all_reach_the_index(warm):
    versions = [f"1.0.{i}" for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda v: build_image(APP, warm, version=v), versions))
    assert {i.digest for i in list_images(warm)} == {i.digest for i in built}
    assert len({i.digest for i in built}) == len(versions)


@pytest.mark.parametrize("failing_write", range(1, 5))
def test_an_interrupted_build_leaves_a_sound_layout(warm, monkeypatch, failing_write):
    old = build_image(APP, warm, version="1.0.0")
    writes = iter(range(1, 100))
    real = Path.replace

    def replace(self, target):
        if next(writes) == failing_write:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            build_image(APP, warm, version="2.0.0")
    assert [i.version for i in list_images(warm)] == ["1.0.0"]
    assert not list(warm.rglob(".tmp-*"))
    verify_image(warm, old.digest)
    verify_image(warm, build_image(APP, warm, version="2.0.0").digest)


def test_leftovers_of_a_killed_build_are_cleared(warm):
    leftover = warm / "blobs" / "sha256" / ".tmp-killed"
    leftover.write_bytes(b"half")
    build_image(APP, warm, version="1.0.0")
    assert not leftover.exists()


@pytest.mark.parametrize("version", ["", "1.0 ", "v" * 64, "-1", "1.0/x", "1.0+build", "../up"])
def test_a_version_that_cannot_be_a_label_is_refused(images, version):
    with pytest.raises(InvalidInput, match="image version is"):
        build_image(APP, images, version=version)
    assert not images.exists()


def test_a_folder_that_is_no_application_is_refused(images, tmp_path):
    with pytest.raises(InvalidInput, match=r"has no sample_app/__main__\.py"):
        build_image(tmp_path, images, version="1.0.0")


def test_a_library_that_is_not_installed_is_named(images, tmp_path):
    app = shutil.copytree(APP, tmp_path / "app")
    (app / "requirements.txt").write_text("flask\nno-such-library-here>=2\n")
    with pytest.raises(ImageError, match="no-such-library-here>=2 is not installed"):
        build_image(app, images, version="1.0.0")


def test_a_library_of_the_wrong_version_is_named(images, tmp_path):
    app = shutil.copytree(APP, tmp_path / "app")
    (app / "requirements.txt").write_text("click<1\n")
    with pytest.raises(ImageError, match=r"library click is .*, wanted <1"):
        build_image(app, images, version="1.0.0")


def test_a_symbolic_link_in_the_application_is_refused(warm, tmp_path):
    app = shutil.copytree(APP, tmp_path / "app")
    (app / "sample_app" / "link.py").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInput, match="symbolic link"):
        build_image(app, warm, version="1.0.0")


def test_a_full_disk_is_reported_and_leaves_nothing_half_done(warm, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(oci.os, "fsync", full)
    with pytest.raises(ImageError, match="No space left on device"):
        build_image(APP, warm, version="1.0.0")
    assert not list(warm.rglob(".tmp-*"))


def test_a_broken_index_is_reported_with_the_next_step(warm):
    build_image(APP, warm, version="1.0.0")
    (warm / "index.json").write_text("{")
    with pytest.raises(ImageError, match="delete that folder"):
        list_images(warm)


def test_a_layout_that_stays_locked_is_reported(warm, monkeypatch):
    monkeypatch.setattr(oci, "LOCK_TIMEOUT_S", 0.05)
    with (
        oci.FileLock(warm / ".lock", is_singleton=False),
        pytest.raises(Locked, match="locked for"),
    ):
        build_image(APP, warm, version="1.0.0")
