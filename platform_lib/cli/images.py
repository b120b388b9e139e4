"""Commands about container images."""

from __future__ import annotations

from typing import Annotated

import typer

from platform_lib.cli.output import AsJson, show, table

image_app = typer.Typer(help="Build and list container images.", no_args_is_help=True)


@image_app.command("build")
def image_build(
    version: Annotated[str, typer.Option(help="Version to build.")] = "1.0.0",
    as_json: AsJson = False,
) -> None:
    """Package app/ into the local OCI layout and print its digest."""
    from platform_lib import image as image_

    show(image_.build(version=version), as_json)


@image_app.command("list")
def image_list(as_json: AsJson = False) -> None:
    """List the images of the local OCI layout."""
    from platform_lib.image import list_images
    from platform_lib.settings import settings

    found = list_images(settings().home / "images")
    if as_json:
        show(found, as_json)
    else:
        table("", ["version", "reference"], [[i.version, i.reference] for i in found])
