"""``apqx``: parse the command line, call the library, print. No decisions here, and no heavy import at start."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

from platform_lib.errors import EXIT_BAD_INPUT, EXIT_FAILED, InvalidInput, PlatformError

app = typer.Typer(
    help="SRE workbench: bring a platform up, run parameterised runbooks on it, keep the evidence.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the boxes cost 0.15 s at every --help
)
image_app = typer.Typer(help="Build and list container images.", no_args_is_help=True)
app.add_typer(image_app, name="image")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
AppName = Annotated[str, typer.Argument(help="Application name.")]
TimeoutS = Annotated[float, typer.Option("--timeout-s", help="Deadline in seconds.")]


@contextmanager
def _steps(quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a progress function that writes to stderr, so that stdout stays for results."""

    def show(line: str) -> None:
        if not quiet:
            sys.stderr.write(f"  {line}\n")
            sys.stderr.flush()

    yield show


def _show(value: Any, as_json: bool) -> None:
    """Print a value as JSON or as its table."""
    from platform_lib.model import to_json

    print(json.dumps(to_json(value), indent=1) if as_json else value)


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print rows as a table; width follows the terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _finish(outcome: Any, as_json: bool) -> None:
    """Print an outcome and leave with its exit code."""
    _show(outcome, as_json)
    if not outcome.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def up(
    provider: Annotated[str, typer.Option(help="How the cluster comes: embedded.")] = "embedded",
    as_json: AsJson = False,
) -> None:
    """Bring the platform up; a second call changes nothing."""
    from platform_lib import cluster

    with _steps(as_json) as progress:
        _finish(cluster.up(provider=provider, progress=progress), as_json)


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also delete the git repository and the images.")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy the platform: no process, port or mount stays behind."""
    from platform_lib import cluster

    with _steps(as_json) as progress:
        _finish(cluster.down(purge=purge, progress=progress), as_json)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, how well, and where."""
    from platform_lib import cluster

    _show(cluster.status(), as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has, what is missing and how to get it."""
    from platform_lib import doctor as doctor_

    facts = doctor_.examine()
    if as_json:
        _show(facts, as_json)
    else:
        _table("", ["what", "state", "found", "next step"], [[f.name, f.state, f.found, f.hint] for f in facts])
    if any(fact.state == "missing" for fact in facts):
        raise typer.Exit(EXIT_FAILED)


@app.command()
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
        _table(book, ["parameter", "type", "default", "help"], rows)
        return
    values = parameters.parse(book, _pairs(parameter or []))
    with _steps(as_json) as progress:
        result = runbook.run(book, values, progress=progress)
    _show(result, as_json) if as_json else _summary(result)
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


@app.command()
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
            _show([{"name": b.name, "title": b.title, "purpose": b.purpose} for b in shelf], as_json)
        else:
            _table("", ["runbook", "purpose"], [[b.name, b.purpose] for b in shelf])
        return
    found = runbook.runs(limit)
    if as_json:
        _show(found, as_json)
        return
    rows = [[r["run_id"], r["status"], f"{r.get('duration_s', 0):.1f} s", r.get("key_figure", "")] for r in found]
    _table("", ["run", "result", "duration", "key figure"], rows)


@app.command()
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


@app.command()
def demo() -> None:
    """Bring the platform up and run runbooks 01 to 05 on it; ends with one table."""
    from platform_lib import demo as demo_

    with _steps() as progress:
        results = demo_.run(progress=progress)
    rows = [[r.runbook, r.status, f"{r.duration_s:.1f} s", r.key_figure, str(r.report)] for r in results]
    _table("", ["runbook", "result", "duration", "key figure", "report"], rows)
    for label, url in demo_.addresses():
        print(f"{label:<15} {url}")
    if not demo_.complete(results):
        raise typer.Exit(EXIT_FAILED)


@image_app.command("build")
def image_build(
    version: Annotated[str, typer.Option(help="Version to build.")] = "1.0.0",
    as_json: AsJson = False,
) -> None:
    """Package app/ into the local OCI layout and print its digest."""
    from platform_lib import image as image_

    _show(image_.build(version=version), as_json)


@image_app.command("list")
def image_list(as_json: AsJson = False) -> None:
    """List the images of the local OCI layout."""
    from platform_lib.image import list_images
    from platform_lib.settings import settings

    found = list_images(settings().home / "images")
    if as_json:
        _show(found, as_json)
    else:
        _table("", ["version", "reference"], [[i.version, i.reference] for i in found])


@app.command()
def deploy(
    version: Annotated[str, typer.Argument(help="Version to build and deploy.")],
    name: Annotated[str, typer.Option("--app", help="Application name.")] = "sample-app",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Build a version, commit its digest, and wait until this commit is live and healthy."""
    from platform_lib import cluster, image, lock
    from platform_lib import deploy as deploy_

    platform, target = cluster.connect(), _app(name)
    built = image.build(version=version)
    plan = deploy_.plan_deploy(platform, target, image=built.reference, version=version)
    if dry_run:
        _show(plan, as_json)
        return
    with _steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"deploy {name} {version}"):
        outcome = deploy_.deploy(
            platform, target, image=built.reference, version=version, timeout_s=timeout_s, progress=progress
        )
    _finish(outcome, as_json)


@app.command()
def sync(
    name: AppName = "sample-app",
    prune: Annotated[bool, typer.Option(help="Delete what git no longer has.")] = False,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Sync an application to the newest commit and wait for it."""
    from platform_lib import cluster, lock
    from platform_lib import sync as sync_

    platform = cluster.connect()
    with _steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"sync {name}"):
        _finish(sync_.sync(platform, _app(name), prune=prune, timeout_s=timeout_s, progress=progress), as_json)


@app.command()
def rollback(
    name: AppName = "sample-app",
    to: Annotated[str | None, typer.Option(help="Commit to return to; default: the last good one.")] = None,
    method: Annotated[Literal["revert", "history"], typer.Option(help="git revert, or Argo CD's history.")] = "revert",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Return an application to an earlier revision."""
    from platform_lib import cluster, lock
    from platform_lib import rollback as rollback_

    platform, target = cluster.connect(), _app(name)
    plan = rollback_.plan_rollback(platform, target, to=to, method=method)
    if dry_run:
        _show(plan, as_json)
        return
    with _steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"rollback {name}"):
        outcome = rollback_.rollback(platform, target, to=to, method=method, timeout_s=timeout_s, progress=progress)
    _finish(outcome, as_json)


@app.command()
def metrics(
    query: Annotated[str, typer.Argument(help="Name from the query library, or PromQL.")] = "",
    name: Annotated[str, typer.Option("--app", help="Application name.")] = "sample-app",
    window_s: Annotated[float, typer.Option(min=1, help="Look back so many seconds.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Show a metric as a table; without a name, list the query library."""
    from platform_lib import cluster
    from platform_lib import metrics as metrics_

    if not query:
        rows = [[q.name, q.unit, q.help] for q in metrics_.queries().values()]
        _table("", ["query", "unit", "help"], rows)
        return
    frame = metrics_.frame(cluster.connect(), query, app=_app(name), window_s=window_s)
    print(frame.to_json(orient="split", date_format="iso") if as_json else frame.describe().to_string())


@app.command()
def logs(
    name: AppName = "sample-app",
    tail: Annotated[int, typer.Option(min=1, help="Lines per pod.")] = 20,
    previous: Annotated[bool, typer.Option(help="Of the container before the last restart.")] = False,
) -> None:
    """Print the last log lines of an application's pods."""
    from platform_lib import cluster
    from platform_lib.wire import kube

    target = _app(name)
    connection = kube.connect(cluster.connect())
    pods, _ = connection.list(kube.PODS, target.namespace, labels=f"app.kubernetes.io/name={target.name}")
    for pod in pods:
        pod_name = pod["metadata"]["name"]
        text = connection.logs(pod_name, target.namespace, tail_lines=tail, previous=previous)
        for line in text.splitlines():
            print(f"{pod_name}  {line}")


def _app(name: str) -> Any:
    """The application of that name; its namespace and folder follow the project's convention."""
    from platform_lib.model import App

    return App(name=name, namespace=name, path=f"gitops/workloads/{name}")


def main() -> None:
    """Entry point: errors become one line and an exit code, never a traceback."""
    try:
        app(standalone_mode=True)
    except PlatformError as error:
        sys.stderr.write(f"apqx: {error}\n")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        sys.stderr.write("apqx: interrupted\n")
        raise SystemExit(EXIT_FAILED) from None
    except BrokenPipeError:
        raise SystemExit(EXIT_BAD_INPUT) from None
