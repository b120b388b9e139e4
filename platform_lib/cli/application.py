"""Commands about one Argo CD Application: wait, diff, preview, tree, explain, terminate, resume, audit, history.

What changes what runs (deploy, sync, rollback) has a command of its own in ``apps``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, TimeoutS, finish, show, steps, table
from platform_lib.errors import EXIT_FAILED

app = typer.Typer(help="One Argo CD Application: what it waits for, what differs, who did what.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the Application.")]
Since = Annotated[str, typer.Option(help="Begin: a date, or a length such as 10m or 2d; default: all.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")]


def _target(name: str) -> tuple[Any, Any]:
    """Return the platform and the application as its Application object describes it."""
    from platform_lib import cluster, inspection

    platform = cluster.connect()
    return platform, inspection.app_of(platform, name)


@app.command()
def wait(
    name: Name,
    revision: Annotated[str, typer.Option(help="Commit, branch or tag that it must run; default: the newest.")] = "",
    settle_s: Annotated[float, typer.Option(min=0, help="It must be well for so many seconds without a break.")] = 0.0,
    timeout_s: TimeoutS = 120.0,
    as_json: AsJson = False,
) -> None:
    """Wait until an Application runs a commit; at the deadline say what is in the way.

    Exit codes: 0 it runs and is well; 1 it failed, was superseded, or the deadline passed; 2 no such revision.
    """
    from platform_lib import inspection

    platform, target = _target(name)
    with steps(as_json) as progress:
        outcome = inspection.wait(
            platform,
            target,
            revision=revision or platform.gitops_branch,
            timeout_s=timeout_s,
            settle_s=settle_s,
            progress=progress,
        )
    finish(outcome, as_json)


@app.command()
def diff(
    name: Name,
    revision: Annotated[str | None, typer.Option(help="Compare with this commit, branch or tag instead.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also differences without effect.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name each field that differs from git, who manages it, and why. Exit codes: 0 no difference, 1 some, 2 error."""
    from platform_lib import inspection

    _differing(
        lambda platform, target: inspection.diff(platform, target, revision=revision, every=every), name, as_json
    )


@app.command()
def preview(
    name: Name,
    revision: Annotated[str, typer.Option(help="Branch, commit, tag or pull/12/head that is not merged yet.")],
    base: Annotated[str | None, typer.Option(help="Compare with this revision; default: the GitOps branch.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what merging a revision would create, change and prune. Exit codes as for diff."""
    from platform_lib import inspection

    _differing(
        lambda platform, target: inspection.preview(platform, target, revision=revision, base=base), name, as_json
    )


def _differing(compare: Any, name: str, as_json: bool) -> None:
    """Print a comparison and leave with 0 or 1; an error is 2, as argocd's own diff says it."""
    import sys

    from platform_lib.errors import EXIT_BAD_INPUT, PlatformError

    try:
        found = compare(*_target(name))
    except PlatformError as error:
        sys.stderr.write(f"apqx: {error}\n")
        raise typer.Exit(EXIT_BAD_INPUT) from None
    show(found, as_json)
    if found.differs:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def tree(name: Name = "root", as_json: AsJson = False) -> None:
    """Show everything below an Application down to its pods, the worst on top; child Applications too."""
    from platform_lib import inspection

    platform, target = _target(name)
    show(inspection.tree(platform, target), as_json)


@app.command()
def explain(
    name: Name,
    log_lines: Annotated[int, typer.Option(min=0, help="Last log lines of each pod at fault.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say why an Application does not move: the object in the way, its events and logs, and the ways out."""
    from platform_lib import inspection

    show(inspection.explain(*_target(name), log_lines=log_lines), as_json)


@app.command()
def terminate(
    name: Name,
    clean_hooks: Annotated[bool, typer.Option(help="Also delete hooks of the last sync that are left over.")] = False,
    dry_run: DryRun = False,
    timeout_s: TimeoutS = 60.0,
    as_json: AsJson = False,
) -> None:
    """End the running operation; what was applied stays."""
    from platform_lib import inspection, lock

    platform, target = _target(name)
    if dry_run:
        show(inspection.plan_terminate(platform, target, clean_hooks=clean_hooks), as_json)
        return
    with steps(as_json) as progress, lock.exclusive(platform.home, purpose=f"terminate {name}"):
        outcome = inspection.terminate(
            platform, target, clean_hooks=clean_hooks, timeout_s=timeout_s, progress=progress
        )
    finish(outcome, as_json)


@app.command()
def resume(name: Name, as_json: AsJson = False) -> None:
    """Switch automation on again that a rollback by history paused; Argo CD then syncs to what git says."""
    from platform_lib import rollback as rollback_

    names = rollback_.resume(*_target(name))
    if as_json:
        typer.echo(json.dumps({"resumed": names}))
    else:
        typer.echo(f"resumed {', '.join(names)}" if names else f"{name}: nothing was paused by apqx")


@app.command()
def audit(name: Name, since: Since = "", as_json: AsJson = False) -> None:
    """List every operation on record: who, when, what revision, what became of it; failed ones too."""
    from platform_lib import audit as audit_

    frame = audit_.operations(*_known(name), since=_moment(since))
    columns = ["started_at", "phase", "how", "by", "revision", "commit", "because", "said"]
    _records(frame, columns, as_json)


@app.command()
def history(name: Name, since: Since = "", as_json: AsJson = False) -> None:
    """List the deployments on record, beyond Argo CD's ten, with author, version and cause."""
    from platform_lib import audit as audit_

    frame = audit_.history(*_known(name), since=_moment(since))
    _records(frame, ["started_at", "duration", "version", "revision", "by", "commit", "because", "now"], as_json)


def _known(name: str) -> tuple[Any, Any]:
    """Return platform and application; one that is gone, or a platform that is down, still has its record."""
    from platform_lib.cli.output import target_of
    from platform_lib.errors import NotFound, Unreachable
    from platform_lib.providers.state import platform_of
    from platform_lib.settings import settings

    try:
        return _target(name)
    except (NotFound, Unreachable):
        return platform_of(settings()), target_of(name)


def _moment(text: str) -> Any:
    """Read an optional begin."""
    from platform_lib.cli.times import begin_of
    from platform_lib.wait import now

    return begin_of("--since", text, now()) if text else None


def _records(frame: Any, columns: list[str], as_json: bool) -> None:
    """Print operations, and since when they are on record."""
    if as_json:
        rows = json.loads(frame.to_json(orient="records", date_format="iso"))
        typer.echo(json.dumps({**frame.attrs, "operations": rows}, indent=1))
        return
    table("", columns, [[_cell(row, column) for column in columns] for row in frame.to_dict("records")])
    since = frame.attrs["record_since"]
    typer.echo(f"on record since {since}" if since else "no record yet: only Argo CD's own history")
    for gap in frame.attrs["gaps"][-5:]:
        typer.echo(f"not seen: {gap}")


def _cell(row: dict[str, Any], column: str) -> str:
    """Write one cell."""
    if column == "started_at":
        return f"{row['started_at']:%m-%d %H:%M:%S}"
    if column == "duration":
        return "" if row["duration_s"] != row["duration_s"] else f"{row['duration_s']:.0f} s"
    if column == "commit":
        return f"{row['author']}: {row['subject']}" if row["author"] else ""
    if column == "said":
        retries = f"after {row['retries']} retries: " if row["retries"] else ""
        failed = "; ".join(row["failed"]) if row["phase"] != "Succeeded" else ""
        drift = f"differed: {', '.join(row['different'])}" if row["different"] else ""
        return " | ".join(part for part in (f"{retries}{row['message']}", failed, drift) if part)
    if column == "now":
        return "runs" if row["current"] else ""
    return str(row[column])[:7] if column == "revision" else str(row[column])
