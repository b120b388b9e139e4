"""How does a run become a page a person reads? Self-contained HTML from the run folder, nothing else.

The page needs no network and no script to be read; code is folded, figures and tables are in the open.
"""

from __future__ import annotations

import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@cache
def _environment() -> Any:
    """Jinja with escaping on: everything that was not made here is text."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(default=True), trim_blocks=True)


def write_report(folder: Path) -> Path:
    """Write ``report.html`` of a run folder.

    Args:
        folder: Run folder with result.json and, as far as the run got, output.ipynb.

    Returns:
        Path of the page.
    """
    result = json.loads((folder / "result.json").read_text())
    source = folder / "output.ipynb"
    notebook = json.loads((source if source.is_file() else folder / "input.ipynb").read_text())
    page = (
        _environment()
        .get_template("report.html")
        .render(
            run=result,
            cells=[_cell(cell) for cell in notebook["cells"] if not _is_marker(cell)],
            figures=_numbers(result.get("figures", {})),
        )
    )
    path = folder / "report.html"
    path.write_text(page)
    return path


def write_index(runs_dir: Path) -> Path:
    """Write ``index.html``: all runs of a folder, newest first."""
    rows = []
    for params in sorted(runs_dir.glob("*/params.json"), reverse=True):
        result = params.parent / "result.json"
        lost = {
            "run_id": params.parent.name,
            "runbook": params.parent.name.split("-", 1)[1],
            "status": "lost",
        }
        rows.append(json.loads(result.read_text()) if result.is_file() else lost)
    path = runs_dir / "index.html"
    path.write_text(_environment().get_template("index.html").render(runs=rows))
    return path


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Prepare one notebook cell for the template."""
    source = "".join(cell["source"])
    tags = cell.get("metadata", {}).get("tags", [])
    if cell["cell_type"] == "markdown":
        return {"kind": "markdown", "html": _markdown(source)}
    outputs = _joined([part for output in cell.get("outputs", []) for part in _output(output)])
    return {
        "kind": "code", "source": source, "outputs": outputs, "count": cell.get("execution_count"),
        "tags": tags, "injected": "injected-parameters" in tags,
    }  # fmt: skip


def _is_marker(cell: dict[str, Any]) -> bool:
    """Whether papermill added the cell to point at an error; the page has its own section for that."""
    return "papermill-error-cell-tag" in cell.get("metadata", {}).get("tags", [])


def _markdown(source: str) -> str:
    """Render Markdown; raw HTML inside it is escaped."""
    from mistune import create_markdown

    rendered = create_markdown(escape=True, plugins=["table"])(source)
    return str(rendered)


def _joined(parts: list[dict[str, str]]) -> list[dict[str, str]]:
    """Join neighbouring text parts: progress lines arrive one by one."""
    joined: list[dict[str, str]] = []
    for part in parts:
        if joined and part["kind"] == joined[-1]["kind"] == "text":
            joined[-1] = {"kind": "text", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


def _output(output: dict[str, Any]) -> list[dict[str, str]]:
    """Turn one output into parts: text, html, image or error."""
    kind = output["output_type"]
    if kind == "stream":
        return [{"kind": "text", "text": ANSI.sub("", "".join(output["text"]))}]
    if kind == "error":
        trace = ANSI.sub("", "\n".join(output.get("traceback", [])))
        return [{"kind": "error", "title": f"{output['ename']}: {output['evalue']}", "text": trace}]
    data = output.get("data", {})
    for mime, made in (
        ("image/png", "png"),
        ("image/svg+xml", "svg"),
        ("text/html", "html"),
        ("text/plain", "text"),
    ):
        if mime in data:
            return [{"kind": made, "text": "".join(data[mime])}]
    return []


def _numbers(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Split figures into (name, value, unit) for display; sentences and tables are left to the notebook."""
    short = {name: value for name, value in figures.items() if len(_format(value)) <= 24}
    return [_number(name, value) for name, value in short.items() if not isinstance(value, (dict, list))]


UNITS = {"_s": "s", "_ms": "ms", "_rps": "1/s", "_bytes": "bytes", "_ratio": ""}


def _number(name: str, value: Any) -> tuple[str, str, str]:
    """Name without its unit suffix, formatted value, unit."""
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix).replace("_", " "), _format(value), unit
    return name.replace("_", " "), _format(value), ""


def _format(value: Any) -> str:
    """Three significant decimals for floats, text for the rest."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "not measured" if value is None else str(value)


def scrub(text: str, secrets: list[str]) -> str:
    """Replace known secret values in a text; empty values are ignored."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "(redacted)").replace(html.escape(secret), "(redacted)")
    return text
