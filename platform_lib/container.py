"""How do the Dockerfile's images come to be? Whichever engine answers builds them: docker, podman or buildah.

The embedded platform needs none of this (``image`` builds in Python); a real cluster does. Each engine is called
with an argument list, knows its own login and daemon (DOCKER_HOST, a context, ``docker login``), and never gets a
password from here. What a build may read is ``buildcontext``'s business.

Two builds of the same source give the same image with buildah and podman, and with a BuildKit of 0.11 or later;
before that (Docker 20 to 22) the layers are the same and the dates in the configuration differ.

Source: docker build and docker push reference; buildah-build(1), buildah-push(1); SOURCE_DATE_EPOCH specification.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platform_lib import buildcontext
from platform_lib.enginerun import finished, run
from platform_lib.errors import ImageError, InvalidInput, PlatformError, ToolMissing
from platform_lib.model import _Table
from platform_lib.settings import SECRET_NAME_PARTS, search_path, settings
from platform_lib.wait import monotonic

Target = Literal["app", "workbench"]
Progress = Callable[[str], None]

ENGINES = ("docker", "podman", "buildah")
"""In the order in which they are looked for."""
REPOSITORIES: dict[str, str] = {"app": "ghcr.io/apqx/sample-app", "workbench": "ghcr.io/apqx/workbench"}
"""Name of each target's image, unless told otherwise."""
_HOW = "install docker, podman or buildah; or stay with the embedded build, which needs none"
_ANSWER_TIMEOUT_S = 15.0
"""A daemon answers in milliseconds; one that is starting may take seconds."""
_REPOSITORY = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,62}")
_PLATFORM = re.compile(r"linux/(amd64|arm64(/v8)?)")
_ARGUMENT = re.compile(r"[A-Z][A-Z0-9_]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True)
class Engine(_Table):
    """A program that builds images, and answered.

    Attributes:
        name: docker, podman or buildah.
        program: Its path.
        version: Of the daemon for docker, else of the program.
    """

    name: str
    program: str
    version: str


@dataclass(frozen=True, slots=True)
class Built(_Table):
    """One image in the store of an engine.

    Attributes:
        reference: ``repository:version``, as the engine knows it.
        image_id: ``sha256:`` of the image's configuration, so of everything in it.
        engine: Who built it.
        seconds: How long that took.
        size_bytes: Unpacked, base included; three significant digits with buildah, which says no more.
    """

    reference: str
    image_id: str
    engine: str
    seconds: float
    size_bytes: int


# --- which engine -----------------------------------------------------------------------------------


def engine(preferred: str = "") -> Engine:
    """Return the first engine that answers.

    Args:
        preferred: docker, podman or buildah; empty: whichever of them answers first.

    Raises:
        InvalidInput: ``preferred`` is none of them.
        ToolMissing: No engine is installed, or none that is installed can build.
        Unreachable: An engine is installed, but its daemon is down or refuses this user.
    """
    if preferred and preferred not in ENGINES:
        raise InvalidInput(f"container engine - {preferred!r}, expected one of {', '.join(ENGINES)}", hint=_HOW)
    problems: list[PlatformError] = []
    for name in [preferred] if preferred else ENGINES:
        for program in _programs(name):
            try:
                return _answering(name, program)
            except PlatformError as problem:
                problems.append(problem)
    if problems:
        raise problems[0]
    wanted = preferred or " or ".join(ENGINES)
    raise ToolMissing(f"container engine - none on PATH, expected {wanted}", hint=_HOW, tool=preferred or ENGINES[0])


_find = engine
"""The same function, for those below whose argument has its name."""


def _programs(name: str) -> list[str]:
    """Return every program of that name on PATH, in its order: the first one may be a client that cannot build."""
    found = (shutil.which(name, path=folder) for folder in search_path().split(":"))
    return list(dict.fromkeys(path for path in found if path))


def _answering(name: str, program: str) -> Engine:
    """Return the engine if it answers and can build."""
    question = {
        "docker": ["version", "--format", "{{.Client.Version}} {{.Server.Version}}"],
        "podman": ["info", "--format", "{{.Version.Version}}"],
        "buildah": ["info", "--format", "{{.store.GraphDriverName}}"],
    }[name]
    seen = finished([program, *question], timeout_s=_ANSWER_TIMEOUT_S, doing=f"{name} - asked for its version").split()
    if name == "buildah":  # its info has the store and no version
        version = finished([program, "--version"], timeout_s=_ANSWER_TIMEOUT_S, doing="buildah - asked for its version")
        return Engine(name, program, version.split()[2])
    if name == "docker" and not _has_buildkit(program, seen[0]):
        raise ToolMissing(
            f"docker - client {seen[0]} at {program} has no buildx, expected one: the Dockerfile needs BuildKit",
            hint="install docker-buildx-plugin, or use podman or buildah",
            tool="docker-buildx",
        )
    return Engine(name, program, seen[-1])


def _has_buildkit(program: str, client_version: str) -> bool:
    """Return whether this client can build with BuildKit: built in before 23.0, a plugin since.

    Source: Docker Engine 23.0 release notes.
    """
    if int(client_version.partition(".")[0]) < 23:
        return True
    try:
        finished([program, "buildx", "version"], timeout_s=_ANSWER_TIMEOUT_S, doing="docker - asked for buildx")
    except PlatformError:
        return False
    return True


# --- build ------------------------------------------------------------------------------------------


def build(
    project_dir: Path,
    *,
    version: str,
    target: Target = "app",
    repository: str = "",
    platform: str = "",
    build_args: Mapping[str, str] | None = None,
    network: str = "",
    wheels: Path | None = None,
    engine: Engine | None = None,
    timeout_s: float | None = None,
    progress: Progress | None = None,
) -> Built:
    """Build one target of the Dockerfile into the engine's store.

    Args:
        project_dir: The checkout: folder of the Dockerfile.
        version: Tag, label, and what the application reports; at most 63 characters.
        target: ``app`` (the sample application) or ``workbench``.
        repository: Name in front of the tag; empty: that of the target.
        platform: ``linux/amd64`` or ``linux/arm64``; empty: the engine's own.
        build_args: More build arguments, such as PYTHON_IMAGE or REVISION. They can be read in the image's
            history: names that look like a secret are refused.
        network: Network of the build steps as the engine calls it (``host``, ``none``); empty: its default.
        wheels: Folder of wheels (see ``wheels.download``); the Python packages are then taken from there only.
        engine: Who builds; None: whoever answers.
        timeout_s: Deadline in seconds; None: the setting ``image_build_timeout_s``.
        progress: Gets each line that the engine prints.

    Returns:
        The image; an older one of the same tag has lost its name.

    Raises:
        InvalidInput: An argument or the folder cannot be used; nothing was started.
        ImageError: The build failed; the message ends with its last lines.
        ToolMissing: No engine, or one that cannot build this Dockerfile.
        Unreachable: A daemon or a registry did not answer.
        WaitTimeout: It took longer than ``timeout_s``.
    """
    check(project_dir, version=version, target=target, repository=repository, platform=platform, build_args=build_args)
    arguments = {"VERSION": version, **(build_args or {})}
    repository = repository or REPOSITORIES[target]
    chosen = engine or _find()
    started = monotonic()
    reference = f"{repository}:{version}"
    with (
        buildcontext.made(project_dir, wheels) as context,
        tempfile.TemporaryDirectory(prefix="apqx-build-") as scratch,
    ):
        id_file = Path(scratch) / "id"
        command = _build_command(chosen, context, id_file, target, reference, platform, network, arguments)
        run(
            command,
            timeout_s=settings().image_build_timeout_s if timeout_s is None else timeout_s,
            doing=f"image {reference} - build with {chosen.name}",
            extra_env={"DOCKER_BUILDKIT": "1"},
            progress=progress,
        )
        image_id = "sha256:" + id_file.read_text(encoding="ascii").strip().removeprefix("sha256:")
    size = _size_bytes(chosen, reference)
    return Built(reference, image_id, f"{chosen.name} {chosen.version}", round(monotonic() - started, 1), size)


def _build_command(
    chosen: Engine,
    context: Path,
    id_file: Path,
    target: str,
    reference: str,
    platform: str,
    network: str,
    arguments: Mapping[str, str],
) -> list[str]:
    """Return the command; what differs between the engines is here and nowhere else."""
    own = {
        # Layers have their times set by the Dockerfile; this is for the dates in the configuration.
        "docker": ["--progress=plain", "--build-arg", "SOURCE_DATE_EPOCH=0"],
        # The OCI format: the Docker one would hold the id and host name of the build container. Its price is the
        # HEALTHCHECK, which OCI does not know; Kubernetes does not either, it has probes.
        "podman": ["--format=oci", "--timestamp=0"],
        "buildah": ["--format=oci", "--timestamp=0"],
    }[chosen.name]
    command = [chosen.program, "build", *own, "--file", str(context / "Dockerfile"), "--target", target]
    for name, value in sorted(arguments.items()):
        command += ["--build-arg", f"{name}={value}"]
    command += ["--platform", platform] if platform else []
    command += ["--network", network] if network else []
    return [*command, "--tag", reference, "--iidfile", str(id_file), str(context)]


def check(
    project_dir: Path,
    *,
    version: str,
    target: str = "app",
    repository: str = "",
    platform: str = "",
    build_args: Mapping[str, str] | None = None,
) -> None:
    """Refuse what would fail later, or succeed and be wrong; asks no engine. Arguments as for ``build``.

    Raises:
        InvalidInput: An argument or the folder cannot be used.
    """
    if target not in REPOSITORIES:
        raise InvalidInput(
            f"image target - {target!r}, expected {' or '.join(REPOSITORIES)}", hint="see the Dockerfile"
        )
    name = repository or REPOSITORIES[target]
    for what, value, pattern, wanted in (
        ("repository", name, _REPOSITORY, "host/name in small letters, without tag or digest"),
        ("version", version, _TAG, "at most 63 of A-Z a-z 0-9 . _ -, as in 1.4.0"),
        ("platform", platform or "linux/amd64", _PLATFORM, "linux/amd64 or linux/arm64"),
    ):
        if not pattern.fullmatch(value):
            raise InvalidInput(f"image {what} - {value!r}, expected {wanted}", hint=f"correct the {what}")
    for argument in build_args or ():
        if not _ARGUMENT.fullmatch(argument) or any(part in argument for part in SECRET_NAME_PARTS):
            raise InvalidInput(
                f"build argument {argument!r} - expected a name of A-Z 0-9 _ that is no secret",
                hint="build arguments can be read in the image's history; no build step needs a secret",
            )
    buildcontext.check(project_dir)


def _size_bytes(chosen: Engine, reference: str) -> int:
    doing = f"image {reference} - asked {chosen.name} for its size"
    if chosen.name != "buildah":
        text = finished(
            [chosen.program, "image", "inspect", "--format", "{{.Size}}", reference], timeout_s=60, doing=doing
        )
        return int(text)
    found = json.loads(finished([chosen.program, "images", "--json", reference], timeout_s=60, doing=doing))
    number, _, unit = found[0]["size"].partition(" ")
    return round(float(number) * _UNITS[unit.upper()])


# --- push -------------------------------------------------------------------------------------------


def push(
    reference: str,
    *,
    engine: Engine | None = None,
    insecure: bool = False,
    timeout_s: float | None = None,
    progress: Progress | None = None,
) -> str:
    """Push an image of the engine's store to the registry in its name.

    Args:
        reference: ``host/name:tag``, as ``build`` returned it.
        engine: Whose store; None: whoever answers.
        insecure: Allow plain HTTP, for a registry on loopback. Docker decides that itself: loopback is allowed,
            for others its daemon needs ``insecure-registries``.
        timeout_s: Deadline in seconds; None: the setting ``image_push_timeout_s``.
        progress: Gets each line that the engine prints.

    Returns:
        Digest of the manifest in the registry: what ``image@digest`` names.

    Raises:
        ImageError: The registry refused (not logged in, not allowed), or the image is not in the store.
        Unreachable: The registry did not answer.
        WaitTimeout: It took longer than ``timeout_s``.
    """
    repository, _, tag = reference.rpartition(":")
    if not _REPOSITORY.fullmatch(repository) or not _TAG.fullmatch(tag):
        raise InvalidInput(
            f"image reference - {reference!r}, expected host/name:tag", hint="as `image build` printed it"
        )
    chosen = engine or _find()
    with tempfile.TemporaryDirectory(prefix="apqx-push-") as scratch:
        digest_file = Path(scratch) / "digest"
        own = ["--digestfile", str(digest_file), *(["--tls-verify=false"] if insecure else [])]
        output = run(
            [chosen.program, "push", *(own if chosen.name != "docker" else []), reference],
            timeout_s=settings().image_push_timeout_s if timeout_s is None else timeout_s,
            doing=f"image {reference} - push with {chosen.name}",
            progress=progress,
        )
        text = digest_file.read_text(encoding="ascii") if digest_file.exists() else output
    digests = _DIGEST.findall(text)
    if not digests:
        raise ImageError(
            f"image {reference} - pushed, but {chosen.name} told no digest", hint="docker buildx imagetools inspect"
        )
    return str(digests[-1])


def digest_of(reference: str, *, engine: Engine | None = None) -> str:
    """Return the manifest digest that the engine's store has for an image.

    Args:
        reference: ``host/name:tag``.
        engine: Whose store; None: whoever answers.

    Returns:
        ``sha256:`` digest. Docker knows it only of images that were pushed or pulled.

    Raises:
        ImageError: The image is not in the store, or was never in a registry.
    """
    chosen = engine or _find()
    question = {
        "docker": ["image", "inspect", "--format", "{{json .RepoDigests}}"],
        "podman": ["image", "inspect", "--format", "{{json .RepoDigests}}"],
        "buildah": ["inspect", "--type", "image", "--format", "{{.FromImageDigest}}"],
    }[chosen.name]
    doing = f"image {reference} - asked {chosen.name} for its digest"
    text = finished([chosen.program, *question, reference], timeout_s=60, doing=doing)
    repository = reference.rpartition(":")[0]
    named = re.findall(rf'"{re.escape(repository)}@(sha256:[0-9a-f]{{64}})"', text)
    found: list[str] = named or (_DIGEST.findall(text) if chosen.name == "buildah" else [])
    if not found:
        raise ImageError(f"image {reference} - has no digest yet, expected a pushed image", hint="push it first")
    return found[-1]
