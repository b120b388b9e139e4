"""Commands about runbooks and their evidence: run, runs, verify."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, pairs, show, steps, table
from platform_lib.errors import EXIT_FAILED, InvalidInput

commands = typer.Typer()


@commands.command()
def run(
    name: Annotated[str, typer.Argument(help="Runbook name or number, for example 02-deploy or 02.")] = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="Parameter; repeatable."),
    ] = None,
    describe: Annotated[bool, typer.Option("--describe", help="Show the parameters and stop.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only make the plan, and print the hash that approves it.")
    ] = False,
    approve: Annotated[
        str, typer.Option("--approve", metavar="HASH", help="Run exactly the plan of that hash, or refuse.")
    ] = "",
    resume: Annotated[str, typer.Option("--resume", metavar="RUN", help="Go on with a run that was cut off.")] = "",
    as_json: AsJson = False,
) -> None:
    """Run a runbook and keep its evidence (dry run unless -p dry_run=false)."""
    from platform_lib import runbook

    if sum(map(bool, (describe, plan, approve, resume))) > 1:
        raise InvalidInput("apqx run - one of --describe, --plan, --approve and --resume at a time")
    book = runbook.resolve(name) if name or not (approve or resume) else ""
    if describe:
        rows = [list(row) for row in runbook.describe(book)]
        table(book, ["parameter", "type", "default", "help"], rows)
        return
    with steps(as_json) as progress:
        if resume:
            result = runbook.resume(resume, _values(_book_of(resume), parameter), progress=progress)
        else:
            values = _values(book or _approved_book(approve), parameter)
            result = runbook.run(book, values, plan=plan, approve=approve, progress=progress)
    show(result, as_json) if as_json else _summary(result)
    if plan and result.plan_sha256 and not as_json:
        _print_plan(result)
    raise typer.Exit(result.exit_code)


def _values(book: str, items: list[str] | None) -> dict[str, Any]:
    """Read the parameters of the command line by a book's model."""
    from platform_lib import parameters

    return parameters.parse(book, pairs(items or [], "-p"))


def _book_of(run_id: str) -> str:
    """Return which book a run executes."""
    from platform_lib.runbook import folder

    return str(folder.read(folder.find(run_id), "inputs.json").get("runbook", ""))


def _approved_book(approve: str) -> str:
    """Return the book of an approved plan."""
    from platform_lib import approval
    from platform_lib.settings import settings

    return str(approval.find(settings().runs_dir, approve)["runbook"])


def _print_plan(result: Any) -> None:
    """Print the plan's steps, its hash and the command that approves it."""
    from platform_lib.runbook import folder

    made = folder.read(result.folder, "plan.json")
    for number, step in enumerate(made["plan"]["steps"], 1):
        print(f"  {number}. {step['action']} {step['target']}: {step['why']}")
    if not made["plan"]["steps"]:
        print("  nothing to do")
    print(f"  plan: {result.plan_sha256}")
    print(f"  approve it with: apqx run {result.runbook} --approve {result.plan_sha256[:12]}")


def _summary(result: Any) -> None:
    """Print what a run came to, in four lines."""
    print(f"{result.runbook}: {result.status} in {result.duration_s:.1f} s  {result.key_figure}")
    if result.message:
        print(f"  {result.message}")
    for step in result.steps:
        if step["why"]:
            print(f"  step {step['step']}: {step['event']} ({step['why']})")
    if result.error:
        print(f"  {result.error.get('type', 'error')}: {result.error['message']}")
    print(f"  report: {result.report}")


@commands.command()
def runs(
    books: Annotated[bool, typer.Option("--books", help="List the runbooks instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many runs.")] = 20,
    bundle: Annotated[
        str, typer.Option("--bundle", metavar="RUN", help="Pack a run's evidence into RUN.tar.gz here.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List earlier runs, newest first, or pack one."""
    from platform_lib import runbook

    if bundle:
        _bundle(bundle, as_json)
        return
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


def _bundle(run_id: str, as_json: bool) -> None:
    """Pack a run and say where."""
    from platform_lib import evidence
    from platform_lib.runbook import folder

    path = evidence.bundle(folder.find(run_id))
    show({"bundle": str(path)}, True) if as_json else print(path)


@commands.command()
def verify(
    run_id: Annotated[str, typer.Argument(help="Run id, as `apqx runs` shows it, or the path of a run's folder.")],
    as_json: AsJson = False,
) -> None:
    """Check a run folder against its hash manifest: 0 untouched, 1 altered, 2 nothing to check."""
    from pathlib import Path

    from platform_lib.evidence import verify_manifest
    from platform_lib.runbook import folder

    differences = verify_manifest(Path(run_id) if "/" in run_id else folder.find(run_id))
    if as_json:
        show({"run": run_id, "untouched": not differences, "differences": differences}, True)
    else:
        print("\n".join(differences) or f"{run_id}: every file is as the run left it")
    if differences:
        raise typer.Exit(EXIT_FAILED)
