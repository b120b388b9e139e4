"""Commands about the repository that Argo CD follows."""

from __future__ import annotations

from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, show

gitops_app = typer.Typer(help="The repository that Argo CD follows.", no_args_is_help=True)


@gitops_app.callback()
def _group() -> None:
    """Keep ``use`` a command of its own: typer would fold a single one into its group."""


@gitops_app.command("use")
def use(
    url: Annotated[str, typer.Argument(help="Your repository, such as https://github.com/you/apqx.git.")],
    branch: Annotated[str, typer.Option(help="Branch that Argo CD follows.")] = "main",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a repository's own address into its gitops/, by one commit; a second call makes none."""
    from platform_lib import providers
    from platform_lib.providers.bootstrap import gitsource
    from platform_lib.settings import settings

    current = settings(git_url=url, git_branch=branch)
    platform = gitsource.of(providers.named("k3d").platform, current)
    planned = gitsource.plan_use(platform, current)
    if dry_run or not planned.steps:
        show(planned, as_json)
        return
    commit = gitsource.use(platform, current)
    if as_json:
        show({"commit": commit, "files": [step.target for step in planned.steps]}, as_json)
    else:
        print(f"{commit}: {len(planned.steps)} files name {url}; next: APQX_GIT_URL={url} apqx up --provider k3d")
