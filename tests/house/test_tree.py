"""Habits of the house that a machine can hold us to."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = sorted((ROOT / "platform_lib").rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_a_file_fits_in_a_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_nothing_is_swallowed_and_no_shell_is_used(path: Path) -> None:
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"
            only_pass = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert not only_pass, f"except: pass at line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg == "shell":
            raise AssertionError(f"shell= at line {node.value.lineno}")


def test_the_clock_and_the_environment_have_one_owner() -> None:
    for path in LIBRARY:
        where = name_of(path)
        text = path.read_text()
        if "/embedded/" not in where and not where.endswith(("wait.py", "wire/probe.py")):
            assert not re.search(r"\btime\.sleep\(|datetime\.now\(", text), where
        if "/embedded/" not in where and not where.endswith("settings.py"):
            assert not re.search(r"os\.environ|os\.getenv", text), where


def test_the_conda_environment_agrees_with_the_project() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    names = [item for item in conda if isinstance(item, str)] + next(i["pip"] for i in conda if isinstance(i, dict))
    renamed = {
        "matplotlib-base": "matplotlib",
        "prometheus_client": "prometheus-client",
        "python-kubernetes": "kubernetes",
    }
    found = {}
    for item in names:
        name, _, version = item.partition(">=")
        found[renamed.get(name, name)] = version
    wanted = {}
    extras = PROJECT["optional-dependencies"]
    for item in PROJECT["dependencies"] + extras["embedded"] + extras["lab"]:
        name, _, version = item.split(";")[0].partition(">=")
        wanted[name.strip()] = version.strip()
    assert {name: found.get(name) for name in wanted} == wanted


def test_locks_carry_hashes_and_no_addresses() -> None:
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text()
        assert "://" not in text and "--index" not in text and "--find-links" not in text, lock.name
        entries = re.findall(r"^[a-z0-9][^\s]*==", text, re.MULTILINE)
        assert len(entries) > 50 and text.count("--hash=sha256:") >= len(entries), lock.name


def test_locks_cover_what_the_project_asks_for() -> None:
    locked = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    for item in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["embedded"]:
        assert re.split(r"[>=; ]", item)[0].lower().replace(".", "-") in locked, item


def test_errors_are_drawn_in_their_docstring() -> None:
    from platform_lib import errors

    drawn = set(re.findall(r"[A-Z][A-Za-z]+", errors.__doc__ or ""))
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.PlatformError):
            assert name in drawn, name


def test_public_names_are_sorted_and_real() -> None:
    import platform_lib

    assert list(platform_lib.__all__) == sorted(platform_lib.__all__)
    for name in platform_lib.__all__:
        assert getattr(platform_lib, name) is not None


def test_workflows_pin_actions_by_commit() -> None:
    for workflow in (ROOT / ".github" / "workflows").glob("*.yml"):
        for use in re.findall(r"uses:\s*(\S+)(.*)", workflow.read_text()):
            if use[0].startswith("./.github/workflows/"):
                continue  # a workflow of this very commit
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", use[0]) and re.search(r"# v\d+\.\d+", use[1]), use


def test_test_files_have_names_of_their_own() -> None:
    """Two of one name in two folders cannot be collected together (pytest's default import mode)."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("conftest.py", "__init__.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
