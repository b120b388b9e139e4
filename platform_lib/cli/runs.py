"""Commands about runbooks and their evidence: run, runs, verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from platform_lib.cli.output import AsJson, pairs, show, steps, table
from platform_lib.errors import EXIT_FAILED, InvalidInput

commands = typer.Typer()
Image = Annotated[str, typer.Option(help="With --on cluster: workbench image by digest.")]
Results = Annotated[str, typer.Option(help="With --on cluster: where evidence goes, such as s3://bucket/prefix.")]
Secret = Annotated[str, typer.Option(help="With --on cluster: Secret with credentials for storage and git.")]


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
    on: Annotated[
        Literal["local", "cluster"], typer.Option(help="Here, or as a Kubernetes Job on the cluster.")
    ] = "local",
    image: Image = "",
    results: Results = "",
    secret: Secret = "",
    account: Annotated[str, typer.Option(help="With --on cluster: service account that has the rights already.")] = "",
    manifests: Annotated[
        bool, typer.Option("--manifests", help="With --on cluster: print the objects and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a runbook and keep its evidence (dry run unless -p dry_run=false)."""
    from platform_lib import runbook

    if on == "cluster":
        if describe or plan or approve or resume:
            raise InvalidInput(
                "run --on cluster - given one of --describe, --plan, --approve and --resume, expected none",
                hint="plan with -p dry_run=true there, or leave out --on cluster",
            )
        values = _values(runbook.resolve(name), parameter)
        _on_cluster(name, values, manifests, as_json, image=image, results=results, secret=secret, account=account)
        return

    _refuse_cluster_options(image=image, results=results, secret=secret, account=account, manifests=manifests)
    if sum(map(bool, (describe, plan, approve, resume))) > 1:
        raise InvalidInput(
            "run - more than one of --describe, --plan, --approve and --resume, expected one at a time",
            hint="first --plan, then --approve with the hash it prints",
        )
    book = runbook.resolve(name) if name or not (approve or resume) else ""
    if describe:
        columns = ["parameter", "type", "default", "help"]
        rows = [list(row) for row in runbook.describe(book)]
        if as_json:
            show([dict(zip(columns, row, strict=True)) for row in rows], as_json)
        else:
            table(book, columns, rows)
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


def _refuse_cluster_options(**options: str | bool) -> None:
    """Refuse what only a Job has: a run here would silently go without it."""
    given = [f"--{name}" for name, value in options.items() if value]
    if given:
        raise InvalidInput(
            f"{', '.join(given)} - given to a run on this machine, expected --on cluster",
            hint="add --on cluster, or leave it out; an image to deploy is a parameter: -p image=REF@sha256:...",
        )


def _on_cluster(name: str, values: dict[str, Any], manifests: bool, as_json: bool, **options: str) -> None:
    """Run as a Job, or show what would be created."""
    from platform_lib import cluster, oncluster

    platform = cluster.connect()
    if manifests:
        import yaml

        print(yaml.safe_dump_all(oncluster.plan(platform, name, values, **options)[1], sort_keys=False), end="")
        return
    with steps(as_json) as progress:
        found = oncluster.run(platform, name, values, progress=progress, **options)
    show(found, as_json)
    raise typer.Exit(found.exit_code)


@commands.command("fan-out")
def fan_out(
    name: Annotated[str, typer.Argument(help="Runbook name or number.")],
    over: Annotated[
        Path | None, typer.Option("--over", help="TOML file: [[target]] with name, home (state folder), parameters.")
    ] = None,
    app: Annotated[list[str] | None, typer.Option("--app", help="Application on this platform; repeatable.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", "--parameter", metavar="KEY=VALUE", help="For all runs; repeatable.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Runs side by side at the most.")] = 4,
    on: Annotated[Literal["local", "cluster"], typer.Option(help="Processes here, or Jobs there.")] = "local",
    image: Image = "",
    results: Results = "",
    secret: Secret = "",
    as_json: AsJson = False,
) -> None:
    """Run a book over many applications or clusters; one summary, exit code 1 when one of them failed."""
    from platform_lib import fanout, runbook

    targets = fanout.read(over) if over else []
    targets += [fanout.Target(name=one, parameters={"app": one}) for one in app or ()]
    if not targets:
        raise InvalidInput(
            "fan-out - no target, expected at least one",
            hint="name a file of targets (--over targets.toml), or applications here (--app NAME, repeatable)",
        )
    if on == "local":
        _refuse_cluster_options(image=image, results=results, secret=secret)
    told = {"--image": image, "--results": results, "--secret": secret}
    options = [part for flag, value in told.items() if value for part in (flag, value)]
    with steps(as_json) as progress:
        found = fanout.run(
            name, targets, _values(runbook.resolve(name), parameter),
            at_once=at_once, on=on, options=options, progress=progress,
        )  # fmt: skip
    if as_json:
        show(found, as_json)
    else:
        rows = [
            [r.target, r.status, f"{r.duration_s:.1f} s", r.key_figure or r.message, r.evidence or r.run_id]
            for r in found.results
        ]
        table(found.rows()[0][1], ["target", "result", "duration", "key figure", "evidence"], rows)
        print(found.path)
    if not found.ok:
        raise typer.Exit(EXIT_FAILED)


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
    get: Annotated[str, typer.Option("--fetch", metavar="URL", help="Bring a run back from object storage.")] = "",
    as_json: AsJson = False,
) -> None:
    """List earlier runs, newest first; pack one, or bring one back that ran on a cluster."""
    from platform_lib import runbook

    if get:
        from platform_lib import oncluster
        from platform_lib.settings import settings

        folder = oncluster.fetch(get, settings().runs_dir)
        show({"run": str(folder)}, True) if as_json else print(folder)
        return

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
