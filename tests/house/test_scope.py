"""docs/embedded-scope.md says what the API really serves."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_kinds_is_the_api_s_own() -> None:
    spec = importlib.util.spec_from_file_location("embedded_scope", ROOT / "scripts" / "embedded_scope.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = script.DOCUMENT.read_text()
    assert script.rewritten(text) == text, "run scripts/embedded_scope.py"
    assert text.count("| `") >= 40
