"""Commands about the platform itself: up, down, status, doctor, demo."""

from __future__ import annotations

from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, finish, show, steps, table
from platform_lib.errors import EXIT_FAILED, InvalidInput

commands = typer.Typer()


@commands.command()
def up(
    provider: Annotated[
        str, typer.Option(help="embedded, k3d or existing; default: APQX_PROVIDER, else what is up, else embedded.")
    ] = "",
    context: Annotated[str, typer.Option(help="existing: context of your kubeconfig.")] = "",
    write: Annotated[bool, typer.Option("--write", help="existing: let that cluster be changed.")] = False,
    install: Annotated[str, typer.Option(help="existing: install what is missing, by name: argocd.")] = "",
    merge_kubeconfig: Annotated[
        bool, typer.Option("--merge-kubeconfig", help="k3d: also add the cluster to your own kubeconfig.")
    ] = False,
    timeout_s: Annotated[
        float | None, typer.Option("--timeout-s", min=1, help="Deadline in seconds; default: the provider's setting.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the platform up; a second call changes nothing."""
    from platform_lib import cluster

    wanted = tuple(part.strip() for part in install.split(",") if part.strip())
    if dry_run:
        plan = cluster.plan_up(
            provider=provider, context=context, write=write, install=wanted, merge_kubeconfig=merge_kubeconfig
        )
        show(plan, as_json)
        return
    with steps(as_json) as progress:
        outcome = cluster.up(
            provider=provider,
            context=context,
            write=write,
            install=wanted,
            merge_kubeconfig=merge_kubeconfig,
            timeout_s=timeout_s,
            progress=progress,
        )
        finish(outcome, as_json)


@commands.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also delete the git repository and the images.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Destroy the platform: no process, container, port or mount stays behind."""
    from platform_lib import cluster

    if dry_run:
        show(cluster.plan_down(purge=purge), as_json)
        return
    with steps(as_json) as progress:
        finish(cluster.down(purge=purge, progress=progress), as_json)


@commands.command()
def status(as_json: AsJson = False) -> None:
    """Show what runs, how well, and where; and drills whose fault may still be in place."""
    from platform_lib import cluster
    from platform_lib.drills import undo
    from platform_lib.model import to_json
    from platform_lib.settings import settings

    found, pending = cluster.status(), undo.pending(settings().home)
    show({**to_json(found), "pending_drills": pending} if as_json else found, as_json)
    for one in () if as_json else pending:
        print(f"pending drill {one.line()}; undo it: apqx drill undo {one.id}")


@commands.command()
def doctor(
    context: Annotated[str, typer.Option(help="Look at the cluster of this context, not at this machine.")] = "",
    provider: Annotated[str, typer.Option(help="Whose needs count: embedded, k3d or existing; default: as set.")] = "",
    name: Annotated[
        str, typer.Option("--app", help="Application whose namespace counts for permissions.")
    ] = "sample-app",
    rbac: Annotated[bool, typer.Option("--rbac", help="Print the least roles to ask for, ready to apply.")] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="With --rbac: only what looking needs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what this machine (or a cluster) has, what is missing, what that costs and how to get it."""
    from platform_lib import doctor as doctor_

    if read_only and not rbac:
        raise InvalidInput("--read-only - given without --rbac, expected both", hint="add --rbac")
    if context or rbac:
        _cluster_doctor(context, name, rbac, read_only, as_json)
        return
    facts = doctor_.examine(provider=provider)
    if as_json:
        show(facts, as_json)
    else:
        table("", ["what", "state", "found", "next step"], [[f.name, f.state, f.found, f.hint] for f in facts])
    if any(fact.state == "missing" for fact in facts):
        raise typer.Exit(EXIT_FAILED)


def _cluster_doctor(context: str, name: str, rbac: bool, read_only: bool, as_json: bool) -> None:
    """Look at a cluster and print findings, or the roles that make every function work."""
    from platform_lib import doctor as doctor_
    from platform_lib.cli.output import target_of

    seen = doctor_.diagnose(context=context, app=target_of(name))
    if rbac:
        print(doctor_.rbac_text(seen, read_only=read_only), end="")
    elif as_json:
        show(seen, as_json)
    else:
        rows = [[f.name, f.state, f.found, f.cost, f.hint] for f in seen.findings]
        table(f"context {seen.context}", ["what", "state", "found", "what that costs", "next step"], rows)
    if not seen.ok and not rbac:
        raise typer.Exit(EXIT_FAILED)


@commands.command()
def demo() -> None:
    """Bring the platform up and run runbooks 01 to 05 on it; ends with one table."""
    from platform_lib import demo as demo_

    with steps() as progress:
        results = demo_.run(progress=progress)
    rows = [[r.runbook, r.status, f"{r.duration_s:.1f} s", r.key_figure, str(r.report)] for r in results]
    table("", ["runbook", "result", "duration", "key figure", "report"], rows)
    for label, url in demo_.addresses():
        print(f"{label:<15} {url}")
    if not demo_.complete(results):
        raise typer.Exit(EXIT_FAILED)
