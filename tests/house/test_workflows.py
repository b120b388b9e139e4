"""Habits of the workflows that a machine can hold us to; zizmor and Checkov look for the rest (`make scan`)."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses:\s+(?P<action>[\w.-]+/[\w./-]+)@(?P<sha>[0-9a-f]{40}) # (?P<version>v\d+\.\d+\.\d+)$")
WRITES = {
    "image.yml": {"packages", "id-token", "security-events"},
    "gitops.yml": {"packages", "id-token", "security-events", "contents"},
    "security.yml": {"security-events"},
}
"""What a workflow may write; the others write nothing."""


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job.get("steps", ())]


each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_the_pipeline_is_whole() -> None:
    assert {path.stem for path in WORKFLOWS} >= {"ci", "image", "security", "gitops", "e2e-k3d", "drill"}


@each
def test_every_action_is_pinned_by_commit_with_its_release_beside(path: Path) -> None:
    for line in path.read_text().splitlines():
        if re.search(r"^\s*(- )?uses:", line) and "uses: ./.github/workflows/" not in line:
            assert PINNED.search(line), line


def test_an_action_has_one_version_everywhere() -> None:
    seen: dict[str, set[tuple[str, str]]] = {}
    for path in WORKFLOWS:
        for found in filter(None, map(PINNED.search, path.read_text().splitlines())):
            seen.setdefault(found["action"], set()).add((found["sha"], found["version"]))
    assert {name: pins for name, pins in seen.items() if len(pins) > 1} == {}


@each
def test_nothing_is_allowed_unless_a_job_says_so(path: Path) -> None:
    document = loaded(path)
    assert document["permissions"] == {}
    writes: set[str] = set()
    for name, job in document["jobs"].items():
        assert isinstance(job["permissions"], dict), name
        writes |= {scope for scope, level in job["permissions"].items() if level == "write"}
        assert set(job["permissions"].values()) <= {"read", "write"}, name
    assert writes == WRITES.get(path.name, set())


@each
def test_every_job_ends_some_time_and_runs_on_a_named_release(path: Path) -> None:
    for name, job in loaded(path)["jobs"].items():
        if "uses" in job:
            continue  # the called workflow's jobs have limits of their own
        assert 5 <= job["timeout-minutes"] <= 90, name
        assert "latest" not in job["runs-on"], name


@each
def test_two_runs_do_not_get_in_each_others_way(path: Path) -> None:
    concurrency = loaded(path)["concurrency"]
    assert concurrency["group"] and "cancel-in-progress" in concurrency


@each
def test_a_checkout_leaves_no_credentials(path: Path) -> None:
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@each
def test_a_script_gets_values_through_its_environment_only(path: Path) -> None:
    """`${{ }}` inside a script is pasted before the shell reads it: a branch name could be a command."""
    for step in steps(path):
        assert "${{" not in str(step.get("run", "")), step


@each
def test_scripts_are_shell_that_parses(path: Path) -> None:
    for step in steps(path):
        if "run" in step:
            done = subprocess.run(["bash", "-n"], input=step["run"], text=True, capture_output=True, check=False)
            assert done.returncode == 0, (step["run"], done.stderr)


@each
def test_what_a_script_calls_is_there(path: Path) -> None:
    for step in steps(path):
        for name in re.findall(r"(?:^|\s)((?:scripts|\.github)/[\w.-]+\.(?:sh|py))\b", str(step.get("run", ""))):
            assert (ROOT / name).is_file(), name
            assert name.endswith(".py") or (ROOT / name).stat().st_mode & 0o111, f"{name} is not executable"
        for target in re.findall(r"(?:^|\s)make (\w+)", str(step.get("run", ""))):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


@each
def test_runbooks_are_called_with_parameters_they_have(path: Path) -> None:
    from platform_lib.parameters import MODELS

    for step in steps(path):
        for book, rest in re.findall(r"apqx run (\d\d-[\w-]+)(.*)", str(step.get("run", ""))):
            names = re.findall(r"-p (\w+)=", rest)
            assert book in MODELS and set(names) <= set(MODELS[book].model_fields), (book, names)


@each
def test_settings_given_to_a_step_exist(path: Path) -> None:
    from platform_lib.settings import Settings

    known = {field.alias or f"APQX_{name.upper()}" for name, field in Settings.model_fields.items()}
    text = path.read_text()
    assert set(re.findall(r"^\s+(APQX_\w+):", text, re.MULTILINE)) - known == set()


def test_a_downloaded_program_is_checked_before_it_is_installed() -> None:
    script = (ROOT / ".github" / "fetch-tool.sh").read_text()
    assert len(re.findall(r"sha256=[0-9a-f]{64}\b", script)) == script.count("url=https://github.com/")
    assert script.index("sha256sum --check") < script.index("install -m 0755")
    assert subprocess.run([ROOT / ".github" / "fetch-tool.sh", "nothing", "x"], capture_output=True).returncode == 2


def test_no_workflow_downloads_anything_by_itself() -> None:
    for path in WORKFLOWS:
        for step in steps(path):
            assert not re.search(r"\b(curl|wget|pip install|npm|npx)\b", str(step.get("run", ""))), step


def test_what_image_signs_is_what_the_policy_wants_signed() -> None:
    """The identity of a keyless signature is repository, workflow file and branch."""
    policy = tomllib.loads((ROOT / "gitops" / "promotion" / "policy.toml").read_text())
    rule = next(rule for rule in policy["image"] if rule["repository"].startswith("ghcr.io/"))
    base = "https://github.com/apqx/apqx/.github/workflows/image.yml@refs/"
    assert re.fullmatch(rule["signature"]["identity"], f"{base}heads/main")
    assert re.fullmatch(rule["signature"]["identity"], f"{base}tags/v1.2.3")
    for other in ("heads/evil", "pull/1/merge", "heads/main/../evil"):
        assert not re.fullmatch(rule["signature"]["identity"], base + other)
    built = [step for step in steps(FOLDER / "image.yml") if "docker/build-push-action" in step.get("uses", "")]
    assert set(built[0]["with"]["platforms"].split(",")) == set(rule["platforms"])
    assert built[0]["with"]["provenance"] == "mode=max" and built[0]["with"]["sbom"] is True


def test_the_scans_become_attestations_of_each_architecture() -> None:
    document = steps(FOLDER / "image.yml")
    reports = {step["with"]["output"] for step in document if step.get("with", {}).get("format") == "cosign-vuln"}
    signing = next(step["run"] for step in document if "cosign attest" in str(step.get("run", "")))
    assert len(reports) == 2 and all(name in signing for name in reports)
    assert "--type vuln" in signing and 'cosign sign --yes "$IMAGE"' in signing


def test_a_promotion_does_not_start_the_next_one() -> None:
    paths = loaded(FOLDER / "gitops.yml")[True]["push"]["paths"]  # YAML reads the key `on` as true
    assert not any(pattern.startswith("gitops") for pattern in paths)
