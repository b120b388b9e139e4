"""A secret leaves a text in whatever spelling it stands there; ordinary text stays."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_lib.redact import MARK, Secrets

CANARY = "canary/4f1d+7c0e&9ab3 <52>86"
SPELLINGS = {
    "plain": CANARY,
    "json": json.dumps({"a": CANARY}),
    "html": html.escape(CANARY),
    "url": "https://x/?q=" + quote(CANARY, safe=""),
    "form": "q=" + quote_plus(CANARY),
    "lower-case url": re.sub("%..", lambda found: found[0].lower(), quote(CANARY, safe="")),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 in a longer text": base64.b64encode(b"user:" + CANARY.encode() + b"@host").decode(),
    "base64 one further": base64.b64encode(b"users:" + CANARY.encode() + b"\n").decode(),
    "urlsafe base64": base64.urlsafe_b64encode(CANARY.encode()).decode(),
    "hex": CANARY.encode().hex(),
}


def leaks(text: str, secret: str) -> list[str]:
    """Every spelling that can still be decoded to the secret."""
    raw = secret.encode()
    parts = [base64.b64encode(bytes(shift) + raw).decode()[(shift * 4 + 2) // 3 :][:-4] for shift in range(3)]
    return [form for form in (secret, quote(secret, safe=""), html.escape(secret), raw.hex(), *parts) if form in text]


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_every_spelling_is_taken_out(text: str) -> None:
    clean = Secrets([CANARY]).scrub(f"before {text} after")
    assert MARK in clean and clean.startswith("before ") and clean.endswith(" after")
    assert leaks(clean, CANARY) == []


@pytest.mark.parametrize("text", ["", "nothing here", "canary/4f1d", "Y2FuYXJ5", "x" * 10_000])
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert Secrets([CANARY]).scrub(text) == text


@given(
    st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=8, max_size=40),
    st.text(max_size=30),
    st.lists(st.integers(0, 120), max_size=6),
)
def test_a_secret_is_found_however_the_stream_was_cut(secret: str, around: str, cuts: list[int]) -> None:
    text = f"{around}{secret}{around}"
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    clean = Secrets([secret]).scrub_pieces(pieces)
    assert len(clean) == len(pieces)
    assert secret.strip() not in "".join(clean).replace(MARK, "\0")


def test_short_values_are_left_alone_and_lines_of_a_key_are_not() -> None:
    known = Secrets(["abc", "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n-----END KEY-----\n"])
    assert known.scrub("abc MIIEvQIBADANBgkqhkiG9w0 -----BEGIN KEY-----") == f"abc {MARK} -----BEGIN KEY-----"
    assert "MIIE" not in repr(known)


def stream(name: str, text: object) -> dict[str, object]:
    return {"output_type": "stream", "name": name, "text": text}


def test_a_notebook_is_scrubbed_across_messages_in_keys_and_in_metadata() -> None:
    half, rest = CANARY[:9], CANARY[9:]
    outputs = [
        stream("stdout", ["one\n", f"two {half}"]),
        stream("stderr", "a warning in between\n"),
        stream("stdout", f"{rest} three"),
        {"output_type": "display_data", "data": {"text/html": [f"<b>{html.escape(CANARY)}", "</b>"]}, "metadata": {}},
        {"output_type": "error", "ename": "E", "evalue": CANARY, "traceback": [f"x {CANARY}"]},
    ]
    book = {"metadata": {CANARY: {"note": CANARY}}, "cells": [{"cell_type": "code", "outputs": outputs}]}
    clean = json.dumps(Secrets([CANARY]).document(book))
    assert half not in clean and rest not in clean and "a warning in between" in clean
    assert clean.count(MARK) == 6


def test_a_folder_is_scrubbed_and_says_where_secrets_were(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a.svg").write_text(f"<svg><!-- {html.escape(CANARY)} --></svg>")
    (tmp_path / "figures" / "a.png").write_bytes(b"\x89PNG\xff tEXt " + CANARY.encode())
    (tmp_path / "figures" / "b.png").write_bytes(b"\x89PNG\xff nothing")
    (tmp_path / "journal.jsonl").write_text(json.dumps({"data": CANARY}) + "\n")
    (tmp_path / "params.json").write_text("{}")
    found = Secrets([CANARY]).folder(tmp_path)
    assert found == ["figures/a.png", "figures/a.svg", "journal.jsonl"]
    assert not (tmp_path / "figures" / "a.png").exists(), "a binary file cannot be cleaned"
    assert (tmp_path / "figures" / "b.png").exists()
    assert json.loads((tmp_path / "journal.jsonl").read_text()) == {"data": MARK}
    assert Secrets([CANARY]).folder(tmp_path) == []
