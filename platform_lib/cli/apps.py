"""Commands about one application: deploy, sync, rollback, metrics, logs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from platform_lib.cli.output import AppName, AsJson, TimeoutS, finish, show, steps, table, target_of

commands = typer.Typer()


@commands.command()
def deploy(
    version: Annotated[str, typer.Argument(help="Version to build and deploy.")],
    name: Annotated[str, typer.Option("--app", help="Application name.")] = "sample-app",
    image: Annotated[str, typer.Option(help="Image by digest that is there already; default: it is built here.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    gated: Annotated[bool, typer.Option("--gate", help="Judge it under load; roll back when it fails.")] = False,
    rate_rps: Annotated[float, typer.Option(min=1, help="With --gate: probe rate, requests per second.")] = 200.0,
    warmup_s: Annotated[float, typer.Option(min=0, help="With --gate: load before the change, seconds.")] = 5.0,
    settle_s: Annotated[float, typer.Option(min=0, help="With --gate: load after the rollout, seconds.")] = 8.0,
    alpha: Annotated[float, typer.Option(min=1e-9, max=0.5, help="With --gate: false alarms per rollout.")] = 0.01,
    undecided: Annotated[
        Literal["keep", "rollback"], typer.Option(help="With --gate: what to do when the evidence does not decide.")
    ] = "keep",
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Build a version, commit its digest, and wait until this commit is live and healthy.

    With --gate it is judged under load while it rolls out, and reverted in git when it fails. Exit codes:
    0 it passed; 1 it failed and the old version is proven to serve again; 4 it failed and that is not proven;
    5 the evidence does not decide, the message says what would be enough and what runs now.
    """
    from platform_lib import cluster, lock
    from platform_lib import deploy as deploy_
    from platform_lib.rules.verdict import Limits

    platform, target = cluster.connect(), target_of(name)
    built = cluster.build_image(platform, version=version, image=image)
    plan = deploy_.plan_deploy(platform, target, image=built.reference, version=version)
    if dry_run:
        show(plan, as_json)
        return
    with steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"deploy {name} {version}"):
        release: dict[str, Any] = {
            "image": built.reference,
            "version": version,
            "timeout_s": timeout_s,
            "progress": progress,
        }
        if not gated:
            outcome = deploy_.deploy(platform, target, **release)
        else:
            release |= {"rate_rps": rate_rps, "warmup_s": warmup_s, "settle_s": settle_s, "undecided": undecided}
            _gate(platform, target, as_json, limits=Limits(alpha=alpha), **release)
            return
    finish(outcome, as_json)


def _gate(platform: Any, target: Any, as_json: bool, **release: Any) -> None:
    """Deploy through the gate; print the record, then leave with the exit code of its verdict.

    SIGTERM counts as Ctrl-C here: the version is reverted in git before the command ends.
    """
    import signal

    from platform_lib import gate
    from platform_lib.errors import GateFailed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        record = gate.deploy(platform, target, **release)
    except KeyboardInterrupt as stop:
        raise GateFailed(f"gate {release['version']} - interrupted; {stop}", hint="see apqx status") from None
    show(record.outcome, as_json)
    record.require_pass()


@commands.command()
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
    with steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"sync {name}"):
        finish(sync_.sync(platform, target_of(name), prune=prune, timeout_s=timeout_s, progress=progress), as_json)


@commands.command()
def rollback(
    name: AppName = "sample-app",
    to: Annotated[str | None, typer.Option(help="Commit or version to return to; default: the last good one.")] = None,
    method: Annotated[Literal["revert", "history"], typer.Option(help="git revert, or Argo CD's history.")] = "revert",
    row: Annotated[
        int | None, typer.Option(min=0, help="With history: this row, without asking git (several sources).")
    ] = None,
    then: Annotated[
        Literal["stay", "revert", "resume"],
        typer.Option(help="After history: stay paused, revert git and resume, or resume (syncs forward)."),
    ] = "stay",
    prune: Annotated[bool, typer.Option(help="With history: delete what the old revision does not have.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show plan and what would change, and stop.")] = False,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Return an application to an earlier revision, also under automation: git revert, or pause and redeploy."""
    from platform_lib import cluster, inspection, lock
    from platform_lib import rollback as rollback_

    _check_rollback(to, method, row, then, prune)
    platform = cluster.connect()
    target = inspection.app_of(platform, name)
    if dry_run:
        if row is not None:
            show(rollback_.plan_to_row(platform, target, history_id=row, prune=prune), as_json)
        else:
            show(inspection.preview_rollback(platform, target, to=to, method=method, prune=prune), as_json)
        return
    last: dict[str, Any] = {"prune": prune, "resume": then == "resume", "timeout_s": timeout_s}
    with steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"rollback {name}"):
        last["progress"] = progress
        if row is not None:
            outcome = rollback_.to_row(platform, target, history_id=row, **last)
        else:
            outcome = rollback_.rollback(platform, target, to=to, method=method, **last)
        if then == "revert":
            show(outcome, as_json)
            back = outcome.figures["to_commit"]
            outcome = rollback_.rollback(platform, target, to=back, timeout_s=timeout_s, progress=progress)
    finish(outcome, as_json)


def _check_rollback(to: str | None, method: str, row: int | None, then: str, prune: bool) -> None:
    """Refuse options that mean nothing together, before anything is asked.

    Raises:
        InvalidInput: Names both.
    """
    from platform_lib.errors import InvalidInput

    by_history = {"--row": row is not None, "--then": then != "stay", "--prune": prune}
    lost = [option for option, given in by_history.items() if given]
    if method != "history" and lost:
        raise InvalidInput(f"{lost[0]} - given with --method {method}, expected --method history", hint="add it")
    if row is not None and (to or then == "revert"):
        other = "--to" if to else "--then revert"
        raise InvalidInput(
            f"--row {row} - given with {other}, expected one of them", hint="a row is deployed without asking git"
        )


@commands.command()
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
        table("", ["query", "unit", "help"], rows)
        return
    frame = metrics_.frame(cluster.connect(), query, app=target_of(name), window_s=window_s)
    print(frame.to_json(orient="split", date_format="iso") if as_json else frame.describe().to_string())


@commands.command()
def logs(
    name: AppName = "sample-app",
    tail: Annotated[int, typer.Option(min=1, help="Lines per pod.")] = 20,
    previous: Annotated[bool, typer.Option(help="Of the container before the last restart.")] = False,
) -> None:
    """Print the last log lines of an application's pods."""
    from platform_lib import cluster
    from platform_lib.wire import kube

    target = target_of(name)
    connection = kube.connect(cluster.connect())
    pods, _ = connection.list(kube.PODS, target.namespace, labels=f"app.kubernetes.io/name={target.name}")
    for pod in pods:
        pod_name = pod["metadata"]["name"]
        text = connection.logs(pod_name, target.namespace, tail_lines=tail, previous=previous)
        for line in text.splitlines():
            print(f"{pod_name}  {line}")
