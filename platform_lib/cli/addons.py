"""Commands about add-ons: list, plan, enable, disable, check, analysis, register."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, Verify, Write, finish, generated, show, steps, table
from platform_lib.errors import EXIT_FAILED

addon_app = typer.Typer(
    help="Optional parts of a platform, switched on and off by a commit.", no_args_is_help=True, rich_markup_mode=None
)
Name = Annotated[str, typer.Argument(help="Name from apqx addon list.")]
Off = Annotated[bool, typer.Option("--off", help="Plan the switch-off instead.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Return after the push.")]


@addon_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the add-ons: what each is for, what it asks for, whether it is on, and why it cannot be here."""
    from platform_lib import addons, cluster, providers

    found = addons.look(cluster.connect() if providers.recorded().present() else None)
    if as_json:
        show(found, True)
        return
    rows = [[one.addon.name, one.state, one.cost, one.addon.purpose] for one in found]
    table("", ["add-on", "state", "asks for", "what for"], rows)
    for one in found:
        for name, seen in one.applications:
            print(f"{one.addon.name}  {name}: {seen}")


@addon_app.command()
def plan(name: Name, off: Off = False, as_json: AsJson = False) -> None:
    """Show what a switch would change; refused with the reason where it may not be turned (exit code 3)."""
    from platform_lib import addons, cluster

    planned = addons.plan_disable if off else addons.plan_enable
    show(planned(cluster.connect(), addon=name), as_json)


@addon_app.command()
def enable(
    name: Name,
    no_wait: NoWait = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", help="Deadline in seconds.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Switch an add-on on and wait until all of it is healthy."""
    from platform_lib import addons, cluster

    with steps(as_json) as progress:
        outcome = addons.enable(cluster.connect(), addon=name, timeout_s=timeout_s, wait=not no_wait, progress=progress)
    finish(outcome, as_json)


@addon_app.command()
def disable(
    name: Name,
    no_wait: NoWait = False,
    timeout_s: Annotated[float, typer.Option("--timeout-s", help="Deadline in seconds.")] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Switch an add-on off, wait until what it made is gone, and say what stays."""
    from platform_lib import addons, cluster

    with steps(as_json) as progress:
        outcome = addons.disable(
            cluster.connect(), addon=name, timeout_s=timeout_s, wait=not no_wait, progress=progress
        )
    finish(outcome, as_json)


@addon_app.command()
def check(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder with manifests; default: gitops of the project.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the admission policies about manifests without a cluster; 1 when one would be refused."""
    from platform_lib import admission

    found = admission.check(folder)
    if as_json:
        show(found, True)
    elif found.violations:
        table("", ["object", "policy", "why"], [[one.object, one.policy, one.message] for one in found.violations])
    if not as_json:
        print(f"{found.policies} policies, {found.pods} objects with pods, {len(found.violations)} violations")
        for name in found.unjudged:
            print(f"  not judged: {name}, no policy selects its namespace")
    if found.violations:
        raise typer.Exit(EXIT_FAILED)


@addon_app.command()
def analysis(
    write: Write = False,
    verify: Verify = False,
) -> None:
    """Print the AnalysisTemplate of the canary, made of gitops/slo and the named queries."""
    from platform_lib import admission
    from platform_lib.settings import settings

    text, path = admission.analysis_manifest(), settings().project_dir / admission.ANALYSIS
    generated(text, path, write=write, verify=verify)


@addon_app.command()
def register(
    name: Annotated[str, typer.Argument(help="Name of the cluster in the fleet.")],
    context: Annotated[str, typer.Option(help="Context of the cluster to register; must be on the allow-list.")],
    kubeconfig: Annotated[Path, typer.Option(help="File with that context.")] = Path("~/.kube/config"),
    server: Annotated[str, typer.Option(help="Address by which Argo CD reaches it; default: the context's.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register a cluster with Argo CD: an account with narrow rights there, a cluster Secret here."""
    from platform_lib import cluster, fleet

    platform, place = cluster.connect(), kubeconfig.expanduser()
    if dry_run:
        show(fleet.plan_register(platform, name=name, context=context, kubeconfig=place, server=server), as_json)
        return
    with steps(as_json) as progress:
        outcome = fleet.register(
            platform, name=name, context=context, kubeconfig=place, server=server, progress=progress
        )
    finish(outcome, as_json)
