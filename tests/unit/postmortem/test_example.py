"""The recorded incident that ships with the project is rebuilt from its archive alone: what a reader would notice."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from platform_lib import archive, postmortem

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "incident-bad-deploy"


@pytest.fixture(scope="module")
def found() -> postmortem.PostMortem:
    return postmortem.build(archive.open(EXAMPLE))


def test_all_sources_are_in_the_record(found: postmortem.PostMortem) -> None:
    sources = {entry.source for entry in found.timeline}
    assert {"kubernetes", "argocd", "git", "prometheus", "deploy", "rollback", "incident"} <= sources
    assert len(found.archive.samples) > 3000 and len(found.archive.signals) > 20


def test_the_bad_deploy_is_ranked_first(found: postmortem.PostMortem) -> None:
    first = found.changes[0]
    assert "1.3.0" in first.what and first.wording == "correlated, not proven"
    deploys = [entry for entry in found.timeline if entry.source == "deploy" and entry.kind == "outcome"]
    assert first.identity == deploys[0].data["commit"]


def test_the_onset_is_near_the_bad_deploy(found: postmortem.PostMortem) -> None:
    started = found.stamps["started"]
    assert started.at is not None and started.width_s < 5
    assert 0 <= (started.at - found.changes[0].first_at).total_seconds() < 15
    samples = found.archive.samples
    first_500 = samples.loc[samples["status"] == 500, "intended_at"].min()
    assert abs((started.at - first_500).total_seconds()) < 2


def test_every_lost_request_is_counted_and_the_bad_version_is_named(found: postmortem.PostMortem) -> None:
    impact, samples = found.impact, found.archive.samples
    assert impact is not None and impact.failed > 50
    assert impact.failed == int((~samples["ok"]).sum()) == sum(impact.by_kind.values())
    assert impact.by_version["1.3.0"] == impact.by_kind["500"] == int((samples["status"] == 500).sum())
    assert set(impact.by_version) <= {"1.3.0", "no answer"}, "no answer of the good version was an error"
    bad = samples[samples["version"] == "1.3.0"]
    assert 0.15 < (~bad["ok"]).mean() < 0.45


def test_the_stamps_are_ordered_and_an_alert_detected_it(found: postmortem.PostMortem) -> None:
    times = [found.stamps[name].at for name in ("started", "detected", "mitigated", "resolved")]
    assert all(times) and times == sorted(times)
    assert found.alerts and found.incident == "INC-0001"


def test_what_should_have_fired_is_assessed(found: postmortem.PostMortem) -> None:
    fired = [rule for rule in found.expected if rule.fires_at is not None]
    assert fired and all(rule.fires_at >= found.stamps["started"].low for rule in fired)


def test_the_example_is_small_and_names_no_machine() -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    for path in files:
        if path.suffix in (".json", ".jsonl"):
            text = path.read_text()
            assert not re.search(r"(?<![\w.>-])/(home|root|tmp|work|Users)\b|BEGIN [A-Z ]*PRIVATE KEY", text), path.name


def test_it_opens_without_a_platform_and_without_parquet(tmp_path: Path) -> None:
    """Another machine: no state folder, no pyarrow, another working folder."""
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from platform_lib import archive, postmortem\n"
        "print(postmortem.build(archive.open(sys.argv[1])).impact.failed)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(EXAMPLE)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={"PATH": "/nonexistent", "HOME": str(tmp_path), "APQX_HOME": str(tmp_path / "none")}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == postmortem.build(archive.open(EXAMPLE)).impact.failed


def test_the_command_writes_the_documents(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from platform_lib.cli.postmortem import postmortem_app

    out = tmp_path / "pm"
    done = CliRunner().invoke(postmortem_app, ["--archive", str(EXAMPLE), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["requests_lost"] > 50
    assert {path.name for path in out.iterdir()} == {
        "postmortem.md", "postmortem.html", "postmortem.json", "incident.svg"
    }  # fmt: skip
