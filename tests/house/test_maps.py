"""Maps in docstrings name what is there, all of it."""

import re
from pathlib import Path

import platform_lib.embedded

ROOT = Path(__file__).resolve().parents[2]


def test_the_map_of_the_embedded_platform_is_whole() -> None:
    named = set(re.findall(r"[a-z_]+", platform_lib.embedded.__doc__ or ""))
    folder = ROOT / "platform_lib" / "embedded"
    there = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert there - named - {"__init__"} == set()
