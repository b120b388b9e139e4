"""A small shelf of books for the runner: no platform needed."""

import json
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def notebook(*cells: tuple[str, str, list[str]]) -> dict:
    """Build a notebook from (kind, source, tags)."""
    made = []
    for index, (kind, source, tags) in enumerate(cells):
        cell = {"cell_type": kind, "id": f"c{index}", "metadata": {"tags": tags}, "source": source}
        made.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


PARAMETERS = 'dry_run: bool = True  # a\nconfirm: str = ""  # b\npurge: bool = False  # c'


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A project folder in which 06-teardown is the given code; its state and runs are private."""
    (tmp_path / "runbooks").mkdir()
    monkeypatch.setenv("APQX_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("APQX_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("APQX_RUNS_DIR", str(tmp_path / "runs"))

    def put(*code: str) -> Path:
        cells = [("markdown", "# Book\n\nFor tests.", []), ("code", PARAMETERS, ["parameters"])]
        book = notebook(*cells, *[("code", source, []) for source in code])
        (tmp_path / "runbooks" / "06-teardown.ipynb").write_text(json.dumps(book))
        return tmp_path

    return put


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory):
    """One platform for all tests of this folder that need one; yields its settings as variables."""
    from live import running

    # Two test runs on one machine must not take each other's pod addresses.
    with running(tmp_path_factory.mktemp("live"), 100 + os.getpid() % 100) as env:
        yield env
