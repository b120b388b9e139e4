"""Command about capacity and cost."""

from __future__ import annotations

from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, show, table, target_of

commands = typer.Typer()


@commands.command()
def cost(
    app: Annotated[str, typer.Option("--app", help="One application; default: every Deployment.")] = "",
    window_s: Annotated[float, typer.Option(min=60, help="Look back so many seconds.")] = 3600.0,
    cpu_price: Annotated[float, typer.Option(min=0, help="Price of a core for an hour.")] = 0.031611,
    memory_price: Annotated[float, typer.Option(min=0, help="Price of a gibibyte for an hour.")] = 0.004237,
    currency: Annotated[str, typer.Option(help="Shown behind amounts.")] = "USD",
    notice_s: Annotated[int, typer.Option(min=0, help="Notice that a spot machine gives, seconds.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Compare requests with use: advice, price, spot readiness and room for more pods."""
    from platform_lib import cluster
    from platform_lib import cost as cost_

    prices = cost_.Prices(cpu_price, memory_price, currency)
    found = cost_.report(
        cluster.connect(), app=target_of(app) if app else None, window_s=window_s, prices=prices, notice_s=notice_s
    )
    if as_json:
        facts = {
            "start": found.start,
            "end": found.end,
            "workloads": found.workloads.astype(object).where(found.workloads.notna(), None).to_dict("index"),
            "nodes": found.nodes.to_dict("index"),
            "spot": found.ready_for_spot,
            "room": found.room,
            "currency": currency,
        }
        show(facts, as_json)
        return
    print(found)
    rows = [
        [name, check.name, check.status, check.value, check.reason]
        for name, checks in found.ready_for_spot.items()
        for check in checks
    ]
    table("Spot readiness", ["workload", "check", "status", "seen", "next step"], rows)
