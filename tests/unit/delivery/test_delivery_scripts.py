"""The two scripts of the workflows: an audit that proves it looked, and the boot-time budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

STAND_IN = """\
import json, pathlib, sys
name = pathlib.Path(sys.argv[-1]).name
answers = json.loads(pathlib.Path({answers!r}).read_text())
print(json.dumps({{"dependencies": answers["lock" if name.endswith(".lock") else "canary"], "fixes": []}}))
"""
"""Plays pip-audit with recorded answers: the real one needs the public index."""
NOT_ON_INDEX = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited: jinja2 (2.10)"}
HOLE = {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": ["CVE-2019-10906"], "description": "..."}
VULNERABLE = {"name": "jinja2", "version": "2.10", "vulns": [HOLE]}
CLEAN = {"name": "flask", "version": "3.1.0", "vulns": []}


@pytest.fixture
def audit(tmp_path: Path):
    def run(canary: list, lock: list, *options: str) -> subprocess.CompletedProcess[str]:
        answers = tmp_path / "answers.json"
        answers.write_text(json.dumps({"canary": canary, "lock": lock}))
        (tmp_path / "pip_audit.py").write_text(STAND_IN.format(answers=str(answers)))
        environment = dict(os.environ) | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, str(ROOT / "scripts" / "audit.py"), *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.mark.parametrize(
    ("canary", "lock", "said"),
    [
        ([NOT_ON_INDEX], [CLEAN], "1 of 1 packages could not be audited"),
        ([{"name": "jinja2", "version": "2.10", "vulns": []}], [CLEAN], "nothing was audited"),
        ([VULNERABLE], [CLEAN, NOT_ON_INDEX], "1 of 2 packages could not be audited"),
        ([VULNERABLE], [], "0 of 0 packages"),
    ],
    ids=["index-without-data", "index-that-knows-no-hole", "one-package-skipped", "nothing-read"],
)
def test_silence_of_an_audit_that_did_not_look_is_an_error(audit, canary: list, lock: list, said: str) -> None:
    done = audit(canary, lock)
    assert done.returncode == 2 and said.split(" packages")[0] in done.stderr
    assert "vulnerabilities" not in done.stdout


def test_a_clean_audit_names_every_lock(audit) -> None:
    done = audit([VULNERABLE], [CLEAN])
    assert done.returncode == 0, done.stderr
    for lock in (*ROOT.glob("requirements*.lock"), *ROOT.glob("*/*.lock")):
        assert f"| {lock.relative_to(ROOT)} | 0 |" in done.stdout


def test_a_vulnerable_package_fails_and_is_placed_in_its_lock(audit, tmp_path: Path) -> None:
    place = tmp_path / "audit.sarif"
    done = audit([VULNERABLE], [VULNERABLE], "--sarif", str(place), "--summary", str(tmp_path / "summary.md"))
    assert done.returncode == 1 and "jinja2 2.10 PYSEC-2019-217" in (tmp_path / "summary.md").read_text()
    (run,) = json.loads(place.read_text())["runs"]
    first = next(r for r in run["results"] if "requirements.lock" in json.dumps(r))
    where = first["locations"][0]["physicalLocation"]
    line = (ROOT / where["artifactLocation"]["uri"]).read_text().splitlines()[where["region"]["startLine"] - 1]
    assert line.startswith("jinja2==") and first["message"]["text"].endswith("fixed in: 2.10.1")


@pytest.mark.parametrize(("seconds", "code", "word"), [(100.0, 0, "within"), (500.0, 1, "**over**")])
def test_a_boot_over_its_budget_fails_with_its_stages(tmp_path: Path, seconds: float, code: int, word: str) -> None:
    outcome = tmp_path / "boot.json"
    outcome.write_text(json.dumps({"operation": "up", "stages": [["create", 30.0], ["argocd", seconds]]}))
    command = [sys.executable, str(ROOT / "scripts" / "boot_budget.py"), "k3d", str(outcome)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code and word in done.stdout and "| create | 30.0 |" in done.stdout


def test_a_boot_without_stages_is_no_measurement(tmp_path: Path) -> None:
    outcome = tmp_path / "boot.json"
    outcome.write_text(json.dumps({"stages": []}))
    command = [sys.executable, str(ROOT / "scripts" / "boot_budget.py"), "k3d", str(outcome)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no stages" in done.stderr


def test_every_exception_of_the_secret_scan_says_why() -> None:
    baseline = json.loads((ROOT / ".secrets.baseline").read_text())["results"]
    for name, items in baseline.items():
        assert all(item["is_secret"] is False and len(item["reason"]) >= 10 for item in items), name
