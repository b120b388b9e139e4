"""Commands about runbooks and their evidence: run, runs, verify."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, show, steps, table
from platform_lib.errors import EXIT_FAILED, InvalidInput

commands = typer.Typer()


@commands.command()
def run(
    name: Annotated[str, typer.Argument(help="Runbook name or number, for example 02-deploy or 02.")],
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Parameter; repeatable."),
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Show the parameters and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a runbook and keep its evidence (dry run unless -p dry_run=false)."""
    from platform_lib import parameters, runbook

    book = runbook.resolve(name)
    if describe:
        rows = [list(row) for row in runbook.describe(book)]
        table(book, ["parameter", "type", "default", "help"], rows)
        return
    values = parameters.parse(book, _pairs(parameter or []))
    with steps(as_json) as progress:
        result = runbook.run(book, values, progress=progress)
    show(result, as_json) if as_json else _summary(result)
    raise typer.Exit(result.exit_code)


def _pairs(items: list[str]) -> dict[str, str]:
    """Split ``key=value`` texts."""
    pairs = {}
    for item in items:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise InvalidInput(f"-p {item!r} - wanted KEY=VALUE", hint="for example: -p dry_run=false")
        pairs[key] = value
    return pairs


def _summary(result: Any) -> None:
    """Print what a run came to, in four lines."""
    print(f"{result.runbook}: {result.status} in {result.duration_s:.1f} s  {result.key_figure}")
    if result.message:
        print(f"  {result.message}")
    if result.error:
        print(f"  {result.error.get('type', 'error')}: {result.error['message']}")
    print(f"  report: {result.report}")


@commands.command()
def runs(
    books: Annotated[bool, typer.Option("--books", help="List the runbooks instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many runs.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List earlier runs, newest first."""
    from platform_lib import runbook

    if books:
        shelf = runbook.catalogue()
        if as_json:
            show([{"name": b.name, "title": b.title, "purpose": b.purpose} for b in shelf], as_json)
        else:
            table("", ["runbook", "purpose"], [[b.name, b.purpose] for b in shelf])
        return
    found = runbook.runs(limit)
    if as_json:
        show(found, as_json)
        return
    rows = [[r["run_id"], r["status"], f"{r.get('duration_s', 0):.1f} s", r.get("key_figure", "")] for r in found]
    table("", ["run", "result", "duration", "key figure"], rows)


@commands.command()
def verify(run_id: Annotated[str, typer.Argument(help="Run id, as `apqx runs` shows it.")]) -> None:
    """Check a run folder against its hash manifest."""
    from platform_lib.evidence import verify_manifest
    from platform_lib.settings import settings

    differences = verify_manifest(settings().runs_dir / run_id)
    for line in differences:
        print(line)
    if differences:
        raise typer.Exit(EXIT_FAILED)
    print(f"{run_id}: every file is as the run left it")
