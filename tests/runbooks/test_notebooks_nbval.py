"""The notebooks are run on a platform of their own; outputs that must not change are compared with the saved ones.

The platform is private and fresh, because the tour shows what a newcomer sees: one commit, two pods, no restart.
"""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOUR = ROOT / "notebooks" / "01-tour.ipynb"
PORTS = ("API", "WEB", "WEBSECURE", "TRAEFIK", "PROMETHEUS", "SCRAPE", "KUBELET")

pytestmark = [pytest.mark.platform, pytest.mark.slow]


def free_ports(count: int) -> list[int]:
    """Return ports that are free now; held together, so that they differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def apqx(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("apqx")), *arguments],
        env=environment, cwd=environment["APQX_RUNS_DIR"], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables of a fresh platform that runs while the tests of this file do."""
    folder = tmp_path_factory.mktemp("books")
    (folder / "runs").mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("APQX_")}
    ports = free_ports(len(PORTS))
    variables |= {f"APQX_PORT_{name}": str(port) for name, port in zip(PORTS, ports, strict=True)}
    variables |= {"APQX_HOME": str(folder / "home"), "APQX_RUNS_DIR": str(folder / "runs")}
    variables["APQX_POD_NETWORK"] = f"127.{200 + os.getpid() % 50}.0.0/16"  # not that of the other live tests
    started = apqx(variables, "up")
    assert started.returncode == 0, started.stdout + started.stderr
    yield variables
    ended = apqx(variables, "down", "--purge")
    assert ended.returncode == 0, ended.stdout + ended.stderr


def compare(book: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run nbval on one notebook, outside the project, so that nothing of it is picked up by accident."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:nbmake", "-p", "no:cacheprovider", "--nbval"]
    return subprocess.run(
        [*command, f"--rootdir={book.parent}", str(book)],
        env=environment, cwd=book.parent, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def edited(book: Path, folder: Path, edit: Callable[[list[dict]], list[dict]]) -> Path:
    """Write a copy with other code cells."""
    document = json.loads(book.read_text())
    document["cells"] = edit([cell for cell in document["cells"] if cell["cell_type"] == "code"])
    copy = folder / book.name
    copy.write_text(json.dumps(document))
    return copy


@pytest.mark.parametrize("book", NOTEBOOKS, ids=lambda path: path.stem)
def test_saved_outputs_are_what_the_platform_answers(book: Path, environment: dict[str, str], tmp_path: Path) -> None:
    copy = Path(shutil.copy(book, tmp_path))
    found = compare(copy, environment)
    assert found.returncode == 0, found.stdout[-4000:]
    assert " passed" in found.stdout and "skipped" not in found.stdout


def test_another_output_than_the_saved_one_is_noticed(environment: dict[str, str], tmp_path: Path) -> None:
    def another_node(cells: list[dict]) -> list[dict]:
        return json.loads(json.dumps(cells[:3]).replace("apqx-agent-1", "apqx-agent-7"))

    book = edited(TOUR, tmp_path, another_node)
    assert "apqx-agent-7" in book.read_text()
    found = compare(book, environment)
    assert found.returncode == 1
    assert "1 failed, 2 passed" in found.stdout, found.stdout[-2000:]


def test_a_stripped_book_passes_unseen_and_is_refused_by_the_house(environment: dict[str, str], tmp_path: Path) -> None:
    """Why the house rule is needed: nbval compares nothing in a cell that was never run, and says nothing."""

    def stripped(cells: list[dict]) -> list[dict]:
        return [cell | {"execution_count": None, "outputs": []} for cell in cells[:3]]

    book = edited(TOUR, tmp_path, stripped)
    assert compare(book, environment).returncode == 0
    with pytest.raises(AssertionError):
        house_rule(book)


@pytest.mark.parametrize("lost", [{"execution_count": None}, {"outputs": []}], ids=["counts", "outputs"])
def test_a_book_that_lost_counts_or_outputs_is_refused_by_the_house(lost: dict, tmp_path: Path) -> None:
    book = edited(TOUR, tmp_path, lambda cells: [cell | lost for cell in cells])
    with pytest.raises(AssertionError):
        house_rule(book)


def test_a_book_with_counts_and_outputs_is_accepted_by_the_house() -> None:
    for book in NOTEBOOKS:
        house_rule(book)


def test_saved_outputs_name_no_place_and_no_person() -> None:
    for book in NOTEBOOKS:
        for cell in json.loads(book.read_text())["cells"]:
            text = json.dumps(cell.get("outputs", []))
            for word in ("/home/", "/root", "/tmp/", "/Users/", str(ROOT), str(Path.home())):
                assert word not in text, f"{book.name}: {word}"


def house_rule(book: Path) -> None:
    """Apply the rule of tests/house to a notebook."""
    file = ROOT / "tests" / "house" / "test_notebooks.py"
    spec = importlib.util.spec_from_file_location("house_notebooks", file)
    assert spec is not None and spec.loader is not None
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    house.test_notebooks_carry_counts_and_outputs(book)
