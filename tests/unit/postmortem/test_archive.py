"""An archive comes back as it was, on any machine, and notices when it was touched."""

from pathlib import Path

import pandas as pd
import pytest
from incidents import archive, at, counts, signals, story

from platform_lib import archive as archives
from platform_lib import frames, postmortem, redact
from platform_lib.errors import InvalidInput
from platform_lib.settings import settings


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_what_is_written_is_read(form: str, tmp_path: Path) -> None:
    made = archive(signals=signals(), counted={"sample-app-drill": counts()})
    archives.export(made, made.start, made.end, tmp_path / "a", form=form)
    found = archives.open(tmp_path / "a")
    pd.testing.assert_frame_equal(found.samples, made.samples, check_dtype=False, rtol=1e-6)
    pd.testing.assert_frame_equal(
        found.signals["ingress_rate"], made.signals["ingress_rate"], check_freq=False, check_dtype=False
    )
    assert found.signals["ingress_rate"].attrs["unit"] == "requests/s"
    assert list(found.records["data"]) == list(made.records["data"])
    assert (found.app, found.start, found.end, found.commits) == (made.app, made.start, made.end, made.commits)
    assert found.objectives == made.objectives
    assert postmortem.build(found).expected == postmortem.build(made).expected != ()
    assert postmortem.build(found).figures() == postmortem.build(made).figures()


def test_a_changed_archive_is_refused(tmp_path: Path) -> None:
    made = archive()
    archives.export(made, made.start, made.end, tmp_path / "a", form="csv")
    journal = tmp_path / "a" / "journal.jsonl"
    journal.write_text(journal.read_text().replace("Revert", "Innocent"))
    with pytest.raises(InvalidInput, match=r"journal\.jsonl: content changed"):
        archives.open(tmp_path / "a")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="is no archive"):
        archives.open(tmp_path)


def test_a_folder_with_files_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(InvalidInput, match="holds files"):
        archives.export(archive(), at(0), at(9), tmp_path)


def test_no_path_of_this_machine_leaves_it(tmp_path: Path) -> None:
    rows = story()
    rows[0]["data"]["message"] = f"{Path.home()}/x and {settings().project_dir}/y"
    archives.export(archive(rows), at(0), at(120), tmp_path / "a", form="csv")
    text = (tmp_path / "a" / "journal.jsonl").read_text()
    assert "<project>/y" in text and str(settings().project_dir) not in text


def test_no_secret_that_this_process_knows_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "canary-5f1d77c0")
    redact.of_process.cache_clear()
    rows = story()
    rows[0]["data"]["message"] = "pull with canary-5f1d77c0 failed"
    archives.export(archive(rows), at(0), at(120), tmp_path / "a", form="csv")
    redact.of_process.cache_clear()
    assert not [path for path in (tmp_path / "a").rglob("*") if path.is_file() and b"canary-5f1d" in path.read_bytes()]
    assert archives.open(tmp_path / "a").records is not None


def test_a_part_of_an_archive_can_be_looked_at() -> None:
    part = archives.cut(archive(signals=signals()), at(30), at(50))
    assert (part.start, part.end) == (at(30), at(50))
    assert part.samples["intended_at"].min() >= at(30) and part.samples["intended_at"].max() <= at(50)
    assert len(part.signals["ingress_rate"]) == 21
    with pytest.raises(InvalidInput, match="expected to end later"):
        archives.cut(archive(), at(50), at(50))


def test_equal_tables_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        frames.write(tmp_path / name, signals(), form="csv")
    assert (tmp_path / "a" / "ingress_rate.csv.gz").read_bytes() == (
        tmp_path / "b" / "ingress_rate.csv.gz"
    ).read_bytes()
    assert frames.read(tmp_path / "nothing") == {}
