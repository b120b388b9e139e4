"""How do people see a drill at a glance? Small pictures as inline SVG that take their colours from the page.

Inline SVG and style properties keep them sharp on paper, and right in light and dark. The colours of the parts of
an RTO are the Okabe-Ito set; every part is also named in words beside the bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

PARTS = {"detect": "#56B4E9", "decide": "#E69F00", "restore": "#CC79A7", "verify": "#009E73"}
WIDTH, HEIGHT = 240.0, 44.0


def sparkline(bins: Sequence[Mapping[str, float]], marks: Mapping[str, float]) -> str:
    """Draw the requests of a drill: lost share as red bars, p99 latency as a line, fault and recovery as marks.

    Args:
        bins: ``t_s``, ``sent``, ``lost`` and ``p99_ms`` per stretch of time.
        marks: Named moments in seconds from the fault.

    Returns:
        An SVG element, empty when there is nothing to draw.
    """
    if len(bins) < 2:
        return ""
    start, step = bins[0]["t_s"], bins[1]["t_s"] - bins[0]["t_s"]
    scale = WIDTH / (bins[-1]["t_s"] + step - start)
    bars = "".join(_bar((one["t_s"] - start) * scale, step * scale, one["lost"] / one["sent"]) for one in bins)
    top = max(one["p99_ms"] for one in bins) or 1.0
    line = " ".join(f"{(one['t_s'] - start + step / 2) * scale:.1f},{_level(one['p99_ms'] / top):.1f}" for one in bins)
    shown = "".join(_mark(name, (marks[name] - start) * scale) for name in ("fault", "verified") if name in marks)
    lost, sent = sum(int(one["lost"]) for one in bins), sum(int(one["sent"]) for one in bins)
    words = f"{lost} of {sent} requests lost; p99 latency up to {top:.0f} ms"
    body = f'{bars}<polyline points="{line}" fill="none" stroke="var(--link)" stroke-width="1.2"/>{shown}'
    return _svg(body, words, WIDTH, HEIGHT, "spark")


def split_bar(figures: Mapping[str, object]) -> str:
    """Draw the parts of an RTO as one bar; parts that could not be told apart are missing.

    Args:
        figures: Measures with ``detect_s``, ``decide_s``, ``restore_s`` and ``verify_s``.
    """
    spans = {name: float(value) for name in PARTS if isinstance(value := figures.get(f"{name}_s"), int | float)}
    total = sum(spans.values())
    if total <= 0:
        return ""
    left, drawn = 0.0, []
    for name, span in spans.items():
        width = WIDTH * span / total
        drawn.append(f'<rect x="{left:.2f}" y="0" width="{max(width, 1.0):.2f}" height="12" fill="{PARTS[name]}"/>')
        left += width
    return _svg("".join(drawn), split_words(figures), WIDTH, 12.0, "split")


def split_words(figures: Mapping[str, object]) -> str:
    """Name the parts of an RTO: ``detect 0.16 s, restore 0.49 s``."""
    found = ((name, figures.get(f"{name}_s")) for name in PARTS)
    return ", ".join(f"{name} {value:.2f} s" for name, value in found if isinstance(value, int | float))


def trend(values: Sequence[float | None], labels: Sequence[str]) -> str:
    """Draw scores (0 to 1) over runs as a line with points; runs without a score are gaps."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return ""
    across = (WIDTH - 12) / (len(values) - 1)
    spots = [(6 + index * across, _level(value), value, labels[index]) for index, value in known]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in spots)
    dots = "".join(_spot(x, y, f"{label}: {value:.0%}") for x, y, value, label in spots)
    ends = f"from {known[0][1]:.0%} to {known[-1][1]:.0%} over {len(known)} runs"
    body = f'<polyline points="{line}" fill="none" stroke="var(--link)" stroke-width="1.5"/>{dots}'
    return _svg(body, ends, WIDTH, HEIGHT, "trend")


def _bar(left: float, width: float, share: float) -> str:
    """One bar of the lost share; nothing where nothing was lost."""
    if share <= 0:
        return ""
    tall = max(2.0, share * HEIGHT)
    return f'<rect x="{left:.2f}" y="{HEIGHT - tall:.2f}" width="{width:.2f}" height="{tall:.2f}" fill="var(--bad)"/>'


def _mark(name: str, left: float) -> str:
    """One moment as an upright line."""
    dash = "" if name == "fault" else ' stroke-dasharray="3 2"'
    return (
        f'<line x1="{left:.1f}" x2="{left:.1f}" y1="0" y2="{HEIGHT:.0f}" stroke="var(--ink)" stroke-width="1"{dash}>'
        f"<title>{escape(name)}</title></line>"
    )


def _spot(x: float, y: float, words: str) -> str:
    """One point that says what it stands for."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="var(--link)"><title>{escape(words)}</title></circle>'


def _level(share: float) -> float:
    """Height of a share on the canvas, with room for the stroke."""
    return 3 + (HEIGHT - 6) * (1 - share)


def _svg(body: str, words: str, width: float, height: float, kind: str) -> str:
    """Wrap a picture; its words are what a screen reader says."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(words)}" '
        f'preserveAspectRatio="none"><title>{escape(words)}</title>{body}</svg>'
    )
