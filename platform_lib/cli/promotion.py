"""The command that promotes an image: evidence, verdict, one commit. It joins the group of ``images``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from platform_lib.cli.images import image_app
from platform_lib.cli.output import AsJson, finish, show, steps, target_of

__all__ = ["image_app"]


@image_app.command("promote")
def image_promote(
    image: Annotated[str, typer.Argument(help="registry/repository@sha256:...; a tag is refused.")],
    to: Annotated[str, typer.Option("--to", help="Platform, or PLATFORM/BRANCH; with --repository: the branch.")] = "",
    repository: Annotated[str, typer.Option(help="GitOps repository to change, where no platform is up (CI).")] = "",
    name: Annotated[str, typer.Option("--app", help="Application name.")] = "sample-app",
    version: Annotated[str, typer.Option(help="Version label; default: what the image says of itself.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show verdict and plan, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Commit the digest of an image that the policy lets through (gitops/promotion/policy.toml of the branch).

    Its registry is asked for platforms, signatures and vulnerability reports, cosign for who signed. Exit codes: 0 it
    is committed, or was already; 2 bad input; 3 the policy refuses it, each rule with its reason; 1 anything else.
    """
    from platform_lib import promotion

    platform, target = _destination(to, repository), target_of(name)
    planned: dict[str, Any] = {"image": image, "version": version}
    if dry_run:
        found = promotion.plan_promote(platform, target, **planned)
        show(found, as_json)
        found.require_pass()
        return
    with steps(as_json) as progress:
        finish(promotion.promote(platform, target, **planned, progress=progress), as_json)


def _destination(to: str, repository: str) -> Any:
    """Return where to promote to: the platform that is up, or a repository alone."""
    from platform_lib import cluster, promotion
    from platform_lib.errors import InvalidInput

    if repository:
        return promotion.destination(repository, branch=to or "main")
    if not to:
        raise InvalidInput(
            "image promote - no destination, expected --to PLATFORM or PLATFORM/BRANCH",
            hint="apqx status names the platform; in a pipeline use --repository URL --to BRANCH",
        )
    return promotion.on_branch(cluster.connect(), to)
