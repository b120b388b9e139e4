"""Commands about container images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from platform_lib.cli.output import AsJson, show, steps, table

image_app = typer.Typer(help="Build, list and promote container images.", no_args_is_help=True)

BuildEngine = Annotated[str, typer.Option("--engine", help="embedded, docker, podman, buildah, or auto: who answers.")]
BuildTarget = Annotated[str, typer.Option("--target", help="app or workbench (an engine is needed for that one).")]


@image_app.command("build")
def image_build(
    version: Annotated[str, typer.Option(help="Version; default: 1.0.0, or the workbench's own.")] = "",
    engine: BuildEngine = "embedded",
    target: BuildTarget = "app",
    repository: Annotated[str, typer.Option(help="Name in front of the version; default: that of the target.")] = "",
    platform: Annotated[str, typer.Option(help="linux/amd64 or linux/arm64; default: the engine's.")] = "",
    build_arg: Annotated[list[str] | None, typer.Option(help="NAME=value for the Dockerfile; no secrets.")] = None,
    network: Annotated[str, typer.Option(help="Network of the build steps, as the engine calls it.")] = "",
    wheels: Annotated[Path | None, typer.Option(help="Folder of `image wheels`, for a build without network.")] = None,
    push: Annotated[bool, typer.Option("--push", help="Push it and print the digest in the registry.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP, for a registry on loopback.")] = False,
    as_json: AsJson = False,
) -> None:
    """Package app/ into the local OCI layout; with an engine, build the Dockerfile's app or workbench."""
    from platform_lib import container
    from platform_lib import image as image_
    from platform_lib.settings import settings

    if engine == "embedded":
        _only_for_engines(target, repository, platform, build_arg, network, wheels, push)
        show(image_.build(version=version or "1.0.0"), as_json)
        return
    project, version, arguments = settings().project_dir, version or _default_version(target), _named(build_arg or [])
    container.check(
        project, version=version, target=target, repository=repository, platform=platform, build_args=arguments
    )
    chosen = container.engine("" if engine == "auto" else engine)
    with steps(as_json) as progress:
        built = container.build(
            project,
            version=version,
            target=target,  # type: ignore[arg-type]
            repository=repository,
            platform=platform,
            build_args=arguments,
            network=network,
            wheels=wheels,
            engine=chosen,
            progress=progress,
        )
        digest = container.push(built.reference, engine=chosen, insecure=insecure, progress=progress) if push else ""
    show(_Result(built, digest) if not as_json else {"image": built, "digest": digest}, as_json)


@image_app.command("wheels")
def image_wheels(
    folder: Annotated[Path, typer.Argument(help="Where the wheels go.")],
    target: BuildTarget = "app",
    python_version: Annotated[str, typer.Option(help="Full version of the base image's Python.")] = "",
    architecture: Annotated[str, typer.Option(help="amd64 or arm64.")] = "amd64",
) -> None:
    """Fetch the locked wheels of an image with this machine's pip, for a build without network."""
    from platform_lib import wheels
    from platform_lib.settings import settings

    version = python_version or wheels.PYTHON_VERSION
    count = wheels.download(
        settings().project_dir, folder, target=target, python_version=version, architecture=architecture
    )
    print(f"{count} wheels for {target} in {folder}")


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


class _Result:
    """What a person reads: the image, and its digest once it has one."""

    def __init__(self, built: Any, digest: str) -> None:
        self._built, self._digest = built, digest

    def __str__(self) -> str:
        size = f"{self._built.size_bytes / 1e6:.0f} MB"
        rows = [
            ("reference", self._built.reference),
            ("image id", self._built.image_id),
            ("size", size),
            ("built", f"{self._built.seconds:g} s by {self._built.engine}"),
        ]
        if self._digest:
            rows.append(("pushed", f"{self._built.reference.rpartition(':')[0]}@{self._digest}"))
        return "\n".join(f"{name:<9}  {value}" for name, value in rows)


def _only_for_engines(target: str, *others: Any) -> None:
    """Refuse options that the embedded build would silently ignore."""
    from platform_lib.errors import InvalidInput

    if target != "app" or any(others):
        raise InvalidInput(
            "image build - the embedded build makes the application only, expected --engine for anything else",
            hint="add --engine auto, or leave out the other options",
        )


def _default_version(target: str) -> str:
    """Return the version that a target gets unless told: the workbench's is that of this library."""
    from importlib.metadata import version

    return version("apqx") if target == "workbench" else "1.0.0"


def _named(pairs: list[str]) -> dict[str, str]:
    """Return ``NAME=value`` arguments as a mapping."""
    from platform_lib.errors import InvalidInput

    for pair in pairs:
        if "=" not in pair:
            raise InvalidInput(f"build argument {pair!r} - expected NAME=value", hint="as in REVISION=0123abc")
    return dict(pair.split("=", 1) for pair in pairs)
