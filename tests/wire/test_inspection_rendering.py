"""A folder of a real repository is rendered at any revision; what cannot be rendered here is refused by name."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from platform_lib.errors import InvalidInput
from platform_lib.inspection import rendering
from platform_lib.inspection.lookup import Kinds
from platform_lib.model import Obj, Platform

URL = "http://git/x.git"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n    two\n    lines\n"


class Namespaced(Kinds):
    """Every kind is namespaced; no API is asked."""

    def __init__(self) -> None:
        self._known = {}

    def namespaced(self, obj: Obj) -> bool | None:
        return True


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    for name, text in (("d/a.yaml", MAP), ("k/kustomization.yaml", "resources: []\n"), ("d/deep/b.yaml", MAP)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "linked").mkdir()
    (folder / "linked" / "l.yaml").symlink_to("../d/a.yaml")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def platform(work: Path, tmp_path: Path) -> Platform:
    return Platform("t", "existing", tmp_path / "kc", "c", "", "", str(work), tmp_path, gitops_url=URL)


def rendered(platform: Platform, path: str, **source: Any) -> rendering.Wanted:
    spec = {"source": {"repoURL": URL, "path": path, **source}, "destination": {"namespace": "n"}}
    commit = rendering.repository(platform).head()
    return rendering.render(platform, {"metadata": {"name": "demo"}, "spec": spec}, Namespaced(), revision=commit)


@pytest.mark.parametrize("path", ["d", "/d/", "linked"])
def test_content_is_exact_to_the_last_line_end_also_through_a_link(platform: Platform, path: str) -> None:
    (found,) = rendered(platform, path).rendered.targets
    assert found["data"] == {"x": "two\nlines\n"} and found["metadata"]["namespace"] == "n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"path": "k"}, "rendered by kustomize"),
        ({"path": "d", "repoURL": "http://git/other.git"}, "this platform's repository is"),
        ({"path": "nowhere"}, "folder nowhere is absent"),
        ({"path": "../../etc"}, "folder etc is absent"),
    ],
    ids=["kustomize", "other-repository", "absent", "outside"],
)
def test_what_cannot_be_rendered_is_refused_with_the_next_step(
    platform: Platform, source: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        rendered(platform, **source)
    assert refused.value.hint


def test_a_revision_is_what_the_remote_calls_so_now(platform: Platform, work: Path) -> None:
    repo = rendering.repository(platform)
    first = repo.head()
    git(work, "checkout", "-q", "-b", "feature")
    git(work, "commit", "-q", "--allow-empty", "-m", "one")
    assert rendering.resolve(repo, "feature") == git(work, "rev-parse", "feature") != first
    git(work, "commit", "-q", "--allow-empty", "-m", "two")
    git(work, "update-ref", "refs/pull/12/head", "HEAD")
    newest = git(work, "rev-parse", "HEAD")
    assert rendering.resolve(repo, "feature") == rendering.resolve(repo, "refs/pull/12/head") == newest
    assert rendering.resolve(repo, newest[:8]) == newest
    assert rendering.resolve(repo, "main") == first


@pytest.mark.parametrize("name", ["nosuch", "--upload-pack=x", "a..b", "", "f" * 40, "main^^^"])
def test_what_is_no_revision_is_refused(platform: Platform, name: str) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        rendering.resolve(rendering.repository(platform), name)
