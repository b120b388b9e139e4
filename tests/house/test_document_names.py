"""What README.md and docs/ name is there: commands and their options, make targets, settings, paths, links."""

import fnmatch
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from platform_lib.cli import app
from platform_lib.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KINDS = (".py", ".sh", ".toml", ".yaml", ".yml", ".ipynb", ".md", ".lock", ".html")
NOT_OURS = {
    "apqx.toml": "the user's file",
    "targets.toml": "the user's file",
    ".venv/bin": "made by make setup",
    ".venv/bin/apqx": "made by make setup",
    "runs/index.html": "written by a run",
    "runs/drills.html": "written by the drills",
    "gitops/apps/addon-NAME.yaml": "written by apqx addon enable",
    "install.yaml": "of Argo CD",
    "core-install.yaml": "of Argo CD",
    "values.yaml": "of Traefik's chart",
    "repos/python/remote/3.11-slim.md": "of docker-library/repo-info",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def pieces(text: str) -> list[str]:
    """Return what stands in code: lines of fenced blocks, and inline code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()] + [
        " ".join(found.split()) for found in re.findall(r"`([^`]+)`", rest)
    ]


@cache
def tails() -> frozenset[str]:
    """Return every file and folder that could be meant, also by the last parts of its path only."""
    found = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") or name == ".github"]
        for name in (*folders, *names):
            parts = (Path(folder) / name).relative_to(ROOT).parts
            found |= {"/".join(parts[start:]) for start in range(len(parts))}
    return frozenset(found)


@cache
def command_line() -> Any:
    return typer.main.get_command(app)


def mistakes_of_command(line: str) -> str:
    """Say what of an ``apqx ...`` line the command line does not know; empty when it knows all of it."""
    words = line.rstrip(")").split("#")[0].split("|")[0].replace(",", " ").split()[1:]
    command = command_line()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    bare_group = hasattr(command, "commands") and not command.invoke_without_command
    if words and bare_group and re.match(r"[a-z]", words[0]):
        return f"no command {words[0]!r}"
    known = {flag for param in command.params for flag in [*param.opts, *param.secondary_opts]} | {"--help"}
    unknown = [word for word in words if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
    return f"no option {unknown[0]!r}" if unknown else ""


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_commands_exist(document: Path) -> None:
    for piece in pieces(document.read_text()):
        for line in re.findall(r"(?:^|[\s/$])(apqx(?: .*)?$)", piece.strip()):
            for one in re.split(r"(?:, | && |; )(?=apqx )", line):
                assert mistakes_of_command(one) == "", one


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_make_targets_and_settings_exist(document: Path) -> None:
    code = pieces(document.read_text())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for piece in code for name in re.findall(r"^make ([a-z-]+)", piece)} - targets == set()
    named = {name for piece in code for name in re.findall(r"\bAPQX_[A-Z0-9_]+", piece)}
    assert named - {f"APQX_{name.upper()}" for name in Settings.model_fields} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_and_links_exist(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert "://" in target or (document.parent / target).exists(), target
    tops = {path.name for path in ROOT.iterdir()}
    for word in (word.strip(",;:()").rstrip("/") for piece in pieces(text) for word in piece.split()):
        whole = "/" in word and word.split("/")[0] in tops
        if word in NOT_OURS or "://" in word or "=" in word or not (whole or word.endswith(KINDS)):
            continue
        if "NAME" not in word:
            assert word in tails(), word
        else:
            assert fnmatch.filter(tails(), word.replace("NAME", "*")), word
