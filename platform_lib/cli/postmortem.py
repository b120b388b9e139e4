"""Commands about incidents: build the post-mortem, check its action items, archive a window."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, show, steps, target_of
from platform_lib.cli.times import length_of, moment_of
from platform_lib.errors import EXIT_FAILED, InvalidInput

postmortem_app = typer.Typer(no_args_is_help=False, invoke_without_command=True)

AppOption = Annotated[str, typer.Option("--app", help="Application name.")]
Since = Annotated[str, typer.Option("--since", help="Look back: 90s, 30m, 2h, 1d.")]
Start = Annotated[str, typer.Option("--start", help="First moment, ISO 8601; UTC where no zone is given.")]
End = Annotated[str, typer.Option("--end", help="Last moment; default now.")]
Incident = Annotated[str, typer.Option("--incident", help="Id of an incident whose labels are in the record.")]
Run = Annotated[str, typer.Option("--run", help="Window of a run, as `apqx runs` shows it.")]
_RUN_MARGIN_S = 5.0


@postmortem_app.callback()
def postmortem(
    context: typer.Context,
    name: AppOption = "sample-app",
    since: Since = "",
    start: Start = "",
    end: End = "",
    incident: Incident = "",
    run: Run = "",
    archive: Annotated[
        Path | None, typer.Option("--archive", help="Folder of an archive, instead of a platform.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder for the documents.")] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild an incident from the record: timeline, onset, impact, changes, documents."""
    if context.invoked_subcommand is not None:
        return
    from platform_lib import archive as archives
    from platform_lib import cluster
    from platform_lib import postmortem as books

    source = archives.open(archive) if archive else cluster.connect()
    first, last = _window(since, start, end, run)
    with steps(as_json) as progress:
        found = books.build(
            source, app=target_of(name), start=first, end=last, incident=incident or None, progress=progress
        )
    written = books.write(found, output) if output else ()
    show({**found.figures(), "files": [str(path) for path in written]} if as_json else found, as_json)
    if not as_json:
        for path in written:
            print(f"  {path}")


@postmortem_app.command()
def check(document: Annotated[Path, typer.Argument(help="The Markdown document.")]) -> None:
    """Check the action items of a post-mortem document."""
    from platform_lib import postmortem as books

    try:
        text = document.read_text()
    except OSError as error:
        raise InvalidInput(
            f"{document} - cannot be read: {error.strerror}", hint="give the path of postmortem.md"
        ) from error
    problems = books.check(text)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(EXIT_FAILED)
    print(f"{document}: every action item can be worked with")


@postmortem_app.command("archive")
def archive_(
    folder: Annotated[Path, typer.Argument(help="New folder.")],
    name: AppOption = "sample-app",
    since: Since = "",
    start: Start = "",
    end: End = "",
    incident: Incident = "",
    run: Run = "",
    form: Annotated[str, typer.Option("--form", help="Tables as auto, parquet or csv.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Write everything a post-mortem needs to a folder that another machine can read."""
    from platform_lib import archive, cluster
    from platform_lib import postmortem as books

    if form not in ("auto", "parquet", "csv"):
        raise InvalidInput(f"--form {form!r} - auto, parquet or csv was expected")
    platform = cluster.connect()
    given_first, given_last = _window(since, start, end, run)
    first, last = books.window(platform, incident=incident or None, start=given_first, end=given_last)
    kind: Any = form
    with steps(as_json) as progress:
        made = archive.export(platform, first, last, folder, app=target_of(name), form=kind, progress=progress)
    show({"folder": str(folder), **dict(made.rows())} if as_json else made, as_json)


def _window(since: str, start: str, end: str, run: str) -> tuple[datetime | None, datetime | None]:
    """Return first and last moment as far as the options give them."""
    from platform_lib.wait import now

    if sum(map(bool, (since, start, run))) > 1:
        raise InvalidInput("window - more than one of --since, --start and --run was given", hint="keep one")
    if run:
        return _of_run(run)
    last = moment_of("--end", end) if end else None
    if since:
        last = last or now()
        return last - length_of("--since", since), last
    first = moment_of("--start", start) if start else None
    return first, last or (now() if first else None)


def _of_run(run: str) -> tuple[datetime, datetime]:
    """Return the window of a run."""
    import json
    from datetime import timedelta

    from platform_lib.settings import settings

    path = settings().runs_dir / run / "result.json"
    try:
        result = json.loads(path.read_text())
        margin = timedelta(seconds=_RUN_MARGIN_S)
        first = moment_of("run", result["started_at"])
        return first - margin, first + timedelta(seconds=float(result["duration_s"])) + margin
    except (OSError, ValueError, KeyError) as error:
        raise InvalidInput(f"run {run!r} - has no result that can be read", hint="see: apqx runs") from error
