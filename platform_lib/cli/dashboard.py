"""Commands about dashboards: list, draw without Grafana, write what Grafana reads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, Verify, Write, generated, pairs, show, steps, table, target_of

dashboard_app = typer.Typer(help="Dashboards as code, with and without Grafana.", no_args_is_help=True)


@dashboard_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the built-in dashboards."""
    from platform_lib import dashboards

    found = dashboards.catalogue().values()
    if as_json:
        show([{"name": d.name, "title": d.title, "panels": len(d.panels), "help": d.help} for d in found], as_json)
    else:
        table("", ["dashboard", "panels", "what it shows"], [[d.name, str(len(d.panels)), d.help] for d in found])


@dashboard_app.command("render")
def render(
    name: Annotated[str, typer.Argument(help="Built-in dashboard, or a Grafana export that ends in .json.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Picture: .png, .svg or .pdf.")] = None,
    app: Annotated[str, typer.Option("--app", help="Application name.")] = "sample-app",
    window_s: Annotated[float, typer.Option(min=10, help="Look back so many seconds.")] = 1800.0,
    variable: Annotated[list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="Variable.")] = None,
) -> None:
    """Fill a dashboard from Prometheus and draw it: for machines without Grafana, and for reports."""
    from platform_lib import cluster, dashboards

    with steps() as progress:
        filled = dashboards.render(
            cluster.connect(),
            name,
            app=target_of(app),
            window_s=window_s,
            variables=pairs(variable or [], "--var"),
            progress=progress,
        )
    for line in filled.left:
        sys.stderr.write(f"  left out: {line}\n")
    print(filled.save(output or Path(f"{Path(name).stem}.png")))


@dashboard_app.command("grafana")
def grafana(
    write: Write = False,
    verify: Verify = False,
) -> None:
    """Print the ConfigMap from which Grafana takes the dashboards."""
    from platform_lib.dashboards import manifest
    from platform_lib.settings import settings

    text, path = manifest.text(), settings().project_dir / manifest.PATH
    generated(text, path, write=write, verify=verify)
