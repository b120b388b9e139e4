"""The shape of runbooks and notebooks: what a reader and papermill rely on."""

import ast
import json
from pathlib import Path

import pytest

from platform_lib.parameters import MODELS

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = sorted((ROOT / "runbooks").glob("*.ipynb"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECTIONS = ["Look", "Plan", "Act", "Verify", "Record"]


def cells(path: Path, kind: str) -> list[dict]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_every_parameter_model_has_its_book_and_the_other_way_round() -> None:
    assert {path.stem for path in RUNBOOKS} == set(MODELS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_follows_the_skeleton(path: Path) -> None:
    first = source(cells(path, "markdown")[0])
    assert first.startswith("# ") and "**Use it**" in first and "**Do not use it**" in first
    headings = [source(cell).splitlines()[0].removeprefix("## ") for cell in cells(path, "markdown")[1:]]
    wanted = iter(headings)
    assert [section for section in SECTIONS if section not in wanted] == [], headings


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_the_parameters_cell_agrees_with_the_model(path: Path) -> None:
    tagged = [cell for cell in cells(path, "code") if "parameters" in cell["metadata"].get("tags", [])]
    assert [source(cell) for cell in tagged] == [source(cells(path, "code")[0])]
    text = source(tagged[0])
    found = {}
    for node, line in zip(ast.parse(text).body, text.splitlines(), strict=True):
        assert isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name), line
        _, _, help_text = line.partition("  # ")
        assert help_text, line
        assert "=" not in help_text, f"papermill loses a parameter whose help holds '=': {line}"
        found[node.target.id] = ast.literal_eval(node.value)
    assert found == {name: field.default for name, field in MODELS[path.stem].model_fields.items()}
    assert found["dry_run"] is True
    passed_on = {
        word.arg for word in ast.walk(ast.parse(source(cells(path, "code")[1]))) if isinstance(word, ast.keyword)
    }
    assert passed_on == set(found), "the second cell must give every parameter to the model"


@pytest.mark.parametrize("path", RUNBOOKS + NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_short_and_hold_no_logic(path: Path) -> None:
    for cell in cells(path, "code"):
        text = source(cell)
        assert len(text.splitlines()) <= 18, text
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.While)), text
            if isinstance(node, ast.If):
                assert not any(isinstance(inner, ast.If) for inner in node.body), text
        assert "input(" not in text and "sleep(" not in text


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_runbooks_are_kept_without_outputs(path: Path) -> None:
    for cell in cells(path, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_carry_counts_and_outputs(path: Path) -> None:
    """nbval compares nothing in a cell without an execution count, and says nothing about it."""
    code = cells(path, "code")
    assert code and all(cell["execution_count"] for cell in code)
    compared = [cell for cell in code if "nbval-ignore-output" not in cell["metadata"].get("tags", [])]
    assert sum(bool(cell["outputs"]) for cell in compared) >= 3


@pytest.mark.parametrize("path", RUNBOOKS + NOTEBOOKS, ids=lambda path: path.stem)
def test_books_import_public_names_only(path: Path) -> None:
    import platform_lib

    for cell in cells(path, "code"):
        for node in ast.walk(ast.parse(source(cell))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("platform_lib"):
                assert node.module == "platform_lib", ast.unparse(node)
                assert {alias.name for alias in node.names} <= set(platform_lib.__all__), ast.unparse(node)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_keeps_its_plan_so_that_it_can_be_approved(path: Path) -> None:
    """An approved run changes nothing before ``notebook.plan`` has compared the plan with the approved one."""
    assert sum("plan = notebook.plan(" in source(cell) for cell in cells(path, "code")) == 1
