from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from platform_lib.wire.promframe import frame_of, part_of

FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=12)


def written(value: float) -> str:
    """A float as the server writes it."""
    if math.isnan(value):
        return "NaN"
    return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, repr(value))


def answer(series: list[tuple[dict, list[tuple[float, float]]]], *, indent: int | None = None, **more) -> bytes:
    result = [{"metric": m, "values": [[t, written(v)] for t, v in samples]} for m, samples in series]
    document = {"status": "success", "data": {"resultType": "matrix", "result": result}, **more}
    separators = (",", ":") if indent is None else None
    return json.dumps(document, indent=indent, separators=separators, ensure_ascii=False).encode()


def bits(values) -> list[bytes]:
    """Every NaN is the same NaN here: the text of an answer has only one."""
    return [struct.pack("<d", v) if v == v else b"nan" for v in values]


@settings(deadline=None)
@given(st.lists(st.lists(FLOATS, min_size=1, max_size=20), min_size=1, max_size=6), st.sampled_from([None, 1]))
@example([[5e-324, -0.0, 0.0, 2.2250738585072014e-308, 1.7976931348623157e308, math.nan, math.inf, -math.inf]], None)
def test_values_are_bit_identical_however_the_answer_is_laid_out(columns: list[list[float]], indent) -> None:
    series = [({"n": str(i)}, [(1000.0 + j, v) for j, v in enumerate(column)]) for i, column in enumerate(columns)]
    part = part_of(answer(series, indent=indent))
    assert part.counts.tolist() == [len(column) for column in columns]
    assert bits(part.values) == bits(v for column in columns for v in column)
    assert part.times.tolist() == [t for _, samples in series for t, _ in samples]


@settings(deadline=None)
@given(st.dictionaries(NAMES, NAMES | st.sampled_from(['"values":[[', "]]}", '\\"', "it's"]), max_size=4))
def test_labels_may_hold_anything(labels: dict[str, str]) -> None:
    part = part_of(answer([(labels, [(1.5, 1.0), (2.5, 2.0)]), ({"other": "x"}, [(1.5, 3.0)])]))
    assert [dict(key) for key in part.labels] == [labels, {"other": "x"}]
    assert part.times.tolist() == [1.5, 2.5, 1.5] and part.values.tolist() == [1.0, 2.0, 3.0]


def test_gaps_stay_gaps_and_many_batches_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_lib.wire.promframe._BATCH_BYTES", 30)
    series = [({"n": str(i)}, [(60.0 * j, i + j / 7) for j in range(i % 5, 9)]) for i in range(12)]
    frame = frame_of([part_of(answer(series))], 60.0)
    assert frame.shape == (9, 12)
    for i in range(12):
        column = frame[str(i)].to_numpy()
        assert np.isnan(column[: i % 5]).all()
        assert column[i % 5 :].tolist() == [i + j / 7 for j in range(i % 5, 9)]


def test_what_the_answer_says_beside_its_samples_is_kept() -> None:
    part = part_of(answer([({}, [(1, 1.0)])], warnings=["partial"], infos=["no counter"]))
    assert (part.document["warnings"], part.document["infos"]) == (["partial"], ["no counter"])
    assert part.document["status"] == "success"


def test_an_empty_answer_is_an_empty_frame() -> None:
    assert frame_of([part_of(answer([]))], 15).empty
    assert frame_of([part_of(b'{"status":"success","data":{"resultType":"matrix","result":[]}}')], 15).empty


def test_native_histograms_are_named_and_never_mistaken_for_numbers() -> None:
    body = json.loads(answer([({"n": "1"}, [(1, 1.0)])]))
    histogram = [[1, {"count": "2", "sum": "3", "buckets": [[0, "0", "1", "2"]]}]]
    body["data"]["result"].append({"metric": {"n": "2"}, "histograms": histogram})
    body["data"]["result"].append({"metric": {"n": "3"}, "values": [[1, "5"]], "histograms": histogram})
    part = part_of(json.dumps(body, separators=(",", ":")).encode())
    assert [dict(key)["n"] for key in part.labels] == ["1", "3"]
    assert [dict(key)["n"] for key in part.histograms] == ["2", "3"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"status":"success","data":{"result":[{"values":[[1,'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        part_of(body)
