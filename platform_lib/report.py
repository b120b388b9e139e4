"""How does a run become a page a person reads? Self-contained HTML from the run folder, nothing else.

A page needs no network, and no script to be read; code is folded, figures and tables are in the open. Only our
own script may run on it: its hash is in the page's policy, so what a notebook printed stays a picture of it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from platform_lib.explain import explain
from platform_lib.model import to_json

TEMPLATES = Path(__file__).parent / "templates"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ERROR_MIME = "application/vnd.apqx.error+json"
"""What ``notebook`` displays of an error beside its picture: what, why, next step and the whole traceback."""


@cache
def _environment() -> Any:
    """Jinja with escaping on: everything that was not made here is text."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(default=True), trim_blocks=True)
    made.filters |= {"source_hash": _source_hash, "moment": _moment}
    return made


def page(template: str, **values: Any) -> str:
    """Render a page of ``templates/``; pages extend ``base.html`` and use the components of ``style.css``.

    Args:
        template: File name, for example ``report.html``.
        **values: What the template shows; everything is escaped unless the template says ``safe``.
    """
    return str(_environment().get_template(template).render(**values))


def _source_hash(code: str) -> str:
    """Return what a policy allows for a script: its hash, or nothing at all."""
    if not code.strip():
        return "'none'"
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _moment(text: Any) -> str:
    """Show an ISO time as a person writes it, to the second, UTC."""
    text = str(to_json(text) or "unknown")
    return f"{text[:10]} {text[11:19]} UTC" if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) else text


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
    cells = [_cell(cell) for cell in notebook["cells"] if not _is_marker(cell)]
    title = _take_title(cells) or str(result.get("runbook", folder.name))
    text = page(
        "report.html",
        run=result,
        title=title,
        cells=cells,
        stopped=_stopped(result.get("error"), notebook["cells"]),
        figures=_numbers(result.get("figures") or {}),
    )
    path = folder / "report.html"
    path.write_text(text)
    return path


def write_index(runs_dir: Path) -> Path:
    """Write ``index.html``: all runs of a folder, newest first, to sort and to filter."""
    runs = [_run_row(params.parent) for params in sorted(runs_dir.glob("*/params.json"), reverse=True)]
    path = runs_dir / "index.html"
    names = {key: sorted({str(run[key]) for run in runs}) for key in ("runbook", "status")}
    path.write_text(page("index.html", runs=runs, runbooks=names["runbook"], results=names["status"]))
    return path


def _run_row(folder: Path) -> dict[str, Any]:
    """Return one run as the index shows it; a run that left no result is lost, and says so."""
    result = folder / "result.json"
    stamp, _, rest = folder.name.partition("-")
    row: dict[str, Any] = {"run_id": folder.name, "runbook": rest.rpartition("-")[0] or rest, "status": "lost"}
    row["started_at"] = re.sub(r"^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$", r"\1-\2-\3T\4:\5:\6Z", stamp)
    row["summary"] = "left no result: it was killed, or is still running"
    if result.is_file():
        row |= {"message": ""} | json.loads(result.read_text())
        row["summary"] = row.get("key_figure") or (row.get("error") or {}).get("message") or row["message"]
    row["summary"] = str(row["summary"]).removeprefix(f"{folder.name} ")
    row |= {"day": row["started_at"][:10], "sort": row["started_at"]}
    return row | {"moment": _moment(row["started_at"]), "has_report": (folder / "report.html").is_file()}


def _stopped(error: dict[str, Any] | None, cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Say what stopped a run in three parts, from the book's own error where it got that far."""
    if not error:
        return None
    kind, cell = str(error.get("type") or "error"), error.get("cell")
    text = re.sub(rf"^\S+ cell \S+ - {re.escape(kind)}: ", "", str(error.get("message", "")))
    hint = str(error.get("hint") or "")
    for output in (output for each in cells for output in each.get("outputs", [])):
        told = (output.get("data") or {}).get(ERROR_MIME)
        if told:
            return {"cell": cell, **told, "next": told["next_step"]}
        if output["output_type"] == "error" and output["ename"] == kind:
            text, hint = output["evalue"], hint
    found = explain(kind, text, hint=hint)
    return {"what": found.what, "why": found.why, "next": found.next_step, "type": kind, "cell": cell}


def _take_title(cells: list[dict[str, Any]]) -> str:
    """Take the book's title out of its first cell: the page has it at its top."""
    for cell in cells[:1]:
        found = re.match(r"<h1>(.*?)</h1>\s*", cell.get("html", ""), re.DOTALL)
        if found:
            cell["html"] = cell["html"][found.end() :]
            return html.unescape(re.sub(r"<[^>]+>", "", found.group(1)))
    return ""


def _cell(cell: dict[str, Any]) -> dict[str, Any]:
    """Prepare one notebook cell for the template."""
    source = "".join(cell["source"])
    tags = cell.get("metadata", {}).get("tags", [])
    if cell["cell_type"] == "markdown":
        return {"kind": "markdown", "html": _markdown(source)}
    outputs = _joined([part for output in _told(cell.get("outputs", [])) for part in _output(output)])
    return {
        "kind": "code", "source": source, "outputs": outputs, "count": cell.get("execution_count"),
        "tags": tags, "injected": "injected-parameters" in tags,
    }  # fmt: skip


def _told(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fold an error that was displayed in three parts into the error itself, with the whole traceback."""
    told = [output["data"][ERROR_MIME] for output in outputs if ERROR_MIME in (output.get("data") or {})]
    kept = [output for output in outputs if ERROR_MIME not in (output.get("data") or {})]
    if not told:
        return kept
    return [{**o, "traceback": [told[-1]["traceback"]]} if o["output_type"] == "error" else o for o in kept]


def _is_marker(cell: dict[str, Any]) -> bool:
    """Whether papermill added the cell to point at an error; the page has its own section for that."""
    return "papermill-error-cell-tag" in cell.get("metadata", {}).get("tags", [])


def _markdown(source: str) -> str:
    """Render Markdown; raw HTML inside it is escaped."""
    from mistune import create_markdown

    rendered = create_markdown(escape=True, plugins=["table"])(source)
    return str(rendered)


def _joined(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join neighbouring lines of a log: progress lines arrive one by one."""
    joined: list[dict[str, Any]] = []
    for part in parts:
        if joined and part["kind"] == joined[-1]["kind"] == "log":
            joined[-1] = {"kind": "log", "text": joined[-1]["text"] + part["text"]}
        else:
            joined.append(part)
    return joined


_RICH = (("image/png", "png"), ("image/svg+xml", "svg"), ("text/html", "html"), ("text/plain", "text"))


def _output(output: dict[str, Any]) -> list[dict[str, Any]]:
    """Turn one output into parts: log, text, html, image or error."""
    kind = output["output_type"]
    if kind == "stream":
        return [{"kind": "log", "text": _last_lines(ANSI.sub("", "".join(output["text"])))}]
    if kind == "error":
        trace = ANSI.sub("", "\n".join(output.get("traceback", [])))
        return [{"kind": "error", "title": f"{output['ename']}: {output['evalue']}", "text": trace}]
    data = output.get("data", {})
    for mime, made in _RICH:
        if mime in data:
            facts = (output.get("metadata") or {}).get(mime) or {}
            alt = str(facts.get("alt") or "figure").replace("-", " ")
            return [{"kind": made, "text": "".join(data[mime]), "alt": alt, "width": facts.get("width")}]
    return []


def _last_lines(text: str) -> str:
    """Keep what a terminal would still show of lines that were written over (progress bars)."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _numbers(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Split figures into (name, value, unit) for display; sentences and tables are left to the notebook."""
    short = {name: value for name, value in figures.items() if len(_format(value)) <= 24}
    return [_number(name, value) for name, value in short.items() if not isinstance(value, (dict, list))]


UNITS = {"_s": "s", "_ms": "ms", "_rps": "1/s", "_bytes": "bytes"}
SHARES = ("_ratio", "availability")


def _number(name: str, value: Any) -> tuple[str, str, str]:
    """Name without its unit suffix, formatted value, unit; ratios as per cent."""
    if name.endswith(SHARES) and isinstance(value, float):
        return name.removesuffix("_ratio").replace("_", " "), f"{100 * value:.3f}".rstrip("0").rstrip("."), "%"
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            label = name.removesuffix(suffix).replace("_", " ")
            return label, _format(value), unit if value is not None else ""
    return name.replace("_", " "), _format(value), ""


def _format(value: Any) -> str:
    """Three significant decimals for floats, words for nothing and for yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return "not measured" if value is None else str(value)


def scrub(text: str, secrets: list[str]) -> str:
    """Replace known secret values in a text; empty values are ignored."""
    for secret in filter(None, secrets):
        text = text.replace(secret, "(redacted)").replace(html.escape(secret), "(redacted)")
    return text
