"""What do all drills together say? One page: the score, its trend, and what each drill proved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platform_lib.drills import score
from platform_lib.drills.score import Line, Result, Score
from platform_lib.model import joined
from platform_lib.plots import score as pictures
from platform_lib.report import page

FILE = "drills.html"
_CLASS = {"aborted": "interrupted"}
"""Results that have no colour of their own on our pages."""


def write(home: Path, runs_dir: Path) -> Path:
    """Write the page of a platform's drills.

    Args:
        home: State folder of the platform, which holds the results.
        runs_dir: Where ``drills.html`` goes, beside the index of the runs.

    Returns:
        Path of the page; self-contained.
    """
    found = score.results(home)
    now = score.score(found)
    runs_dir.mkdir(parents=True, exist_ok=True)
    path = runs_dir / FILE
    path.write_text(
        page(
            "drills.html",
            score=now,
            words=now.words(),
            finished_at=now.finished_at,
            platform=found[-1].platform if found else "",
            trend=_trend(score.trend(found)),
            parts=pictures.PARTS,
            drills=[_drill(line, _batch(found, line)) for line in now.lines],
        )
    )
    return path


def _batch(found: Sequence[Result], line: Line) -> list[Result]:
    """Results of a scenario's newest batch."""
    return [one for one in found if (one.scenario, one.batch) == (line.scenario, line.newest.batch)]


def _trend(scores: Sequence[Score]) -> dict[str, Any]:
    """The trend as a picture and as rows."""
    shown = scores[-30:]
    return {
        "svg": pictures.trend([one.value for one in shown], [one.finished_at for one in shown]),
        "rows": [(one.finished_at, one.value, one.tried) for one in reversed(shown[-10:])],
    }


def _drill(line: Line, batch: Sequence[Result]) -> dict[str, Any]:
    """One row of the table and one section of the page."""
    newest = line.newest
    return {
        "line": line,
        "result": newest,
        "css": _CLASS.get(newest.status, newest.status),
        "share": f"{line.passed} of {line.tried}" if line.tried else "",
        "split": pictures.split_bar(newest.figures),
        "split_words": pictures.split_words(newest.figures),
        "spark": pictures.sparkline(newest.bins, dict(newest.marks)),
        "facts": _facts(newest.figures),
        "spread": _spread(batch),
    }


_FACTS = (
    ("RTO", "rto_s", "{:.2f} s"),
    ("service back for clients", "service_rto_s", "{:.2f} s"),
    ("RPO", "rpo_s", "{:.2f} s"),
    ("first noticed by", "detected_by", "{}"),
    ("availability (requests)", "availability_ratio", "{:.3%}"),
    ("availability (seconds)", "time_ratio", "{:.1%}"),
    ("worst 1 s", "worst_1s_ratio", "{:.1%}"),
    ("worst 10 s", "worst_10s_ratio", "{:.1%}"),
    ("worst 60 s", "worst_60s_ratio", "{:.1%}"),
    ("budget burned (30 d)", "budget_burned_ratio", "{:.3%}"),
    ("Apdex", "apdex", "{:.3f}"),
    ("latency p99", "latency_p99_ms", "{:.1f} ms"),
    ("probe lag p99", "probe_lag_p99_ms", "{:.1f} ms"),
)


def _facts(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """The measures a person reads first, as text."""
    if not figures:
        return []
    lost = f"{figures['requests_lost']} of {figures['requests_sent']}"
    outage = f"{figures['outage_lower_s']:.2f} to {figures['outage_upper_s']:.2f} s in {figures['outages']} stretches"
    blind = joined((f"{name} {seconds:.1f} s" for name, seconds in (figures.get("blind_s") or {}).items()), empty="")
    known = [(label, text.format(figures[key])) for label, key, text in _FACTS if figures.get(key) is not None]
    return [*known, ("requests lost", lost), ("outage", outage), *([("blind sources", blind)] if blind else [])]


def _spread(batch: Sequence[Result]) -> list[tuple[str, str]]:
    """Median and range over a repeated drill; one drill is an anecdote and gets none."""
    if sum(bool(one.figures) for one in batch) < 2:
        return []
    shown = {"rto_s": "RTO", "service_rto_s": "service back", "requests_lost": "requests lost",
             "availability_ratio": "availability"}  # fmt: skip
    found = score.spreads(batch)
    return [
        (label, f"{found[key][0]:g} (from {found[key][1]:g} to {found[key][2]:g})")
        for key, label in shown.items()
        if key in found
    ]
