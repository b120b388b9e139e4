"""Write the table of kinds in docs/embedded-scope.md from the data table of the API; a house test compares them."""

from pathlib import Path

from platform_lib.embedded.kinds import KINDS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "embedded-scope.md"
BEGIN, END = "<!-- kinds: begin -->\n", "<!-- kinds: end -->\n"
MEANING = {
    "controlled": "served, and acted on",
    "stored": "served; nothing acts on it",
    "computed": "answered, not kept",
}


def table() -> str:
    """Return the Markdown table of kinds."""
    rows = ["| resource | kind | state | subresources |", "|---|---|---|---|"]
    for kind in KINDS:
        subresources = ", ".join(sorted(kind.subresources)) or "-"
        rows.append(f"| `{kind.gvr}` | {kind.kind} | {MEANING[kind.acts]} | {subresources} |")
    return "\n".join(rows) + "\n"


def rewritten(text: str) -> str:
    """Return the document with its table replaced."""
    head, rest = text.split(BEGIN)
    return head + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten(DOCUMENT.read_text()))
