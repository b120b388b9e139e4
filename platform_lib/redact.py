"""Which values are secret, and how do they leave a text before anybody else reads it?

A value is looked for as it is, JSON-, HTML- and URL-escaped, as Base64 (at any offset inside a longer text) and
as hexadecimal. What is compressed, encrypted, drawn into a picture or cut up by the book itself is not found.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from platform_lib.settings import secret_values

MARK = "(redacted)"
MIN_LENGTH = 6
"""Shorter values are words of ordinary text; taking them out would make the evidence unreadable."""
MIN_LINE = 16
"""Lines of a longer secret (a private key) are secrets of their own from this length on."""
_ENCODED_MIN = 8
"""Shortest piece of an encoded form that is looked for; a shorter one would hit ordinary text."""


class Secrets:
    """Values that must not be seen; they live in memory only.

    Args:
        values: Secret values; those shorter than ``MIN_LENGTH`` are left out.
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secrets({len(self)} values)"

    def add(self, *values: str) -> None:
        """Learn more values."""
        for value in values:
            text = value.strip()
            lines = [line.strip() for line in text.splitlines()] if "\n" in text else []
            self._values |= {text} if len(text) >= MIN_LENGTH else set()
            self._values |= {line for line in lines if len(line) >= MIN_LINE and not line.startswith("-----")}
        self._pattern = None

    def forms(self) -> list[str]:
        """Return every spelling that is looked for, longest first."""
        found = {form for value in self._values for form in _forms(value)}
        return sorted(found, key=lambda form: (-len(form), form))

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return where secrets stand in a text, in order."""
        if not self._values:
            return []
        if self._pattern is None:
            self._pattern = re.compile("|".join(map(re.escape, self.forms())))
        return [match.span() for match in self._pattern.finditer(text)]

    def scrub(self, text: str) -> str:
        """Return the text with every secret replaced."""
        return "".join(self.scrub_pieces([text]))

    def scrub_pieces(self, pieces: list[str]) -> list[str]:
        """Replace secrets in a text that arrived in pieces: one that lies across two of them is found too."""
        text = "".join(pieces)
        spans = self.spans(text)
        if not spans:
            return pieces
        out, offset = [], 0
        for piece in pieces:
            out.append(_without(piece, offset, spans))
            offset += len(piece)
        return out

    def document(self, value: Any) -> Any:
        """Return a JSON document with every text (keys too) scrubbed; notebooks also across stream pieces."""
        if isinstance(value, str):
            return self.scrub(value)
        if isinstance(value, list):
            if value and all(isinstance(item, str) for item in value):
                return self.scrub_pieces(value)
            return [self.document(item) for item in value]
        if isinstance(value, dict):
            if isinstance(value.get("outputs"), list):
                value = value | {"outputs": self._streams(value["outputs"])}
            return {self.scrub(key): self.document(item) for key, item in value.items()}
        return value

    def _streams(self, outputs: list[Any]) -> list[Any]:
        """Scrub what a cell wrote to one stream as one text, however many messages carried it."""
        outputs = [dict(item) if isinstance(item, dict) else item for item in outputs]
        for name in ("stdout", "stderr"):
            parts = [o for o in outputs if isinstance(o, dict) and o.get("name") == name and "text" in o]
            cleaned = self.scrub_pieces(["".join(part["text"]) for part in parts])
            for part, text in zip(parts, cleaned, strict=True):
                part["text"] = text
        return outputs

    def folder(self, folder: Path) -> list[str]:
        """Scrub every file below a folder in place.

        Returns:
            Names of the files in which a secret was found; a binary file that held one was deleted.
        """
        if not self._values:
            return []
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        return [str(path.relative_to(folder)) for path in paths if self._file(path)]

    def _file(self, path: Path) -> bool:
        """Scrub one file; return whether it held a secret."""
        content = path.read_bytes()
        try:
            text = content.decode()
        except UnicodeDecodeError:
            held = bool(self.spans(content.decode("latin-1")))
            path.unlink() if held else None
            return held
        clean = self.scrub(_notebook(text, self) if path.suffix == ".ipynb" else text)
        if clean != text:
            path.write_text(clean)
        return clean != text


MIN_VARIABLE = 8
"""Shorter values of the environment are left alone: nobody said that they are secret, only their name does."""


@cache
def of_process() -> Secrets:
    """Return what this process knows: telling variables of its environment, and references it has resolved."""
    return Secrets(text for text in secret_values() if len(text) >= MIN_VARIABLE)


def _notebook(text: str, secrets: Secrets) -> str:
    """Scrub a notebook as a document; the text as it is when nothing was found or it cannot be read."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    clean = secrets.document(document)
    return text if clean == document else json.dumps(clean, indent=1, ensure_ascii=False) + "\n"


def _without(piece: str, offset: int, spans: list[tuple[int, int]]) -> str:
    """Cut the spans out of a piece that begins at ``offset``; the mark stands where a span begins."""
    out, position = [], 0
    for start, end in spans:
        first, last = max(start - offset, 0), min(end - offset, len(piece))
        if first >= last:
            continue
        out += [piece[position:first], MARK if start >= offset else ""]
        position = last
    return "".join([*out, piece[position:]])


def _forms(value: str) -> set[str]:
    """Return the spellings of one value."""
    raw = value.encode()
    url = {quote(value), quote(value, safe=""), quote_plus(value)}
    forms = {value, html.escape(value), json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    forms |= url | {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in url}
    encoded = {raw.hex(), raw.hex().upper()}
    for shift in range(3):
        encoded |= _base64_at(raw, shift)
    return forms | {form for form in encoded if len(form) >= _ENCODED_MIN}


def _base64_at(raw: bytes, shift: int) -> set[str]:
    """Return what Base64 makes of the value ``shift`` bytes into a text, without characters its neighbours share."""
    first, last = (shift * 4 + 2) // 3, (shift + len(raw)) * 4 // 3
    padded = bytes(shift) + raw
    return {encode(padded).decode()[first:last] for encode in (base64.b64encode, base64.urlsafe_b64encode)}
