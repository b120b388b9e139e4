"""How does a service's delivery look at a glance? Deployments on a time axis, recoveries as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# Okabe and Ito (2008): told apart by people with any kind of colour vision; shapes say the same.
KINDS = {"change": ("#0072B2", "o"), "hotfix": ("#E69F00", "s"), "rollback": ("#D55E00", "v")}


def deliveries(frame: pd.DataFrame) -> Any:
    """Draw every deployment by kind and, below, how long each failure lasted.

    Args:
        frame: As ``dora.History.frame`` returns it.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.4))
    for row, (kind, (colour, shape)) in enumerate(KINDS.items()):
        some = frame[frame["kind"] == kind]
        above.plot(some["utc"], [row] * len(some), shape, color=colour, ms=7, label=f"{kind} ({len(some)})")
    bad = frame[frame["failed"]]
    above.plot(bad["utc"], [0] * len(bad), "x", color="black", ms=9, mew=2, label=f"failed ({len(bad)})")
    above.set_yticks(range(len(KINDS)), list(KINDS))
    above.set_ylim(-0.6, len(KINDS) - 0.4)
    below.vlines(bad["utc"], 0, bad["recovery_s"], color=KINDS["rollback"][0], lw=3)
    below.plot(bad["utc"], bad["recovery_s"], "o", color=KINDS["rollback"][0])
    below.set_ylabel("recovery (s)")
    below.set_ylim(bottom=0)
    below.set_xlabel("deployed (UTC)")
    locator = AutoDateLocator()
    below.xaxis.set_major_locator(locator)
    below.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    for axes in (above, below):
        axes.grid(visible=True, axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    above.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, fontsize=9)
    return figure
