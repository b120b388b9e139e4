"""How does an image reach a k3d cluster? Built here, pushed to the cluster's own registry, named by digest.

The host pushes to 127.0.0.1:PORT, which Docker trusts without TLS; the nodes pull the same blobs by the registry's
name in their network (k3d writes that mirror into every node's registries.yaml).

Source: k3d pkg/client/registry.go, RegistryGenerateK3sConfig; docs.docker.com, insecure registries (127.0.0.0/8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from platform_lib.errors import PlatformError
from platform_lib.model import _Table
from platform_lib.providers.base import Progress
from platform_lib.providers.k3d import config, programs
from platform_lib.settings import Settings
from platform_lib.wait import Deadline, monotonic
from platform_lib.wire import manifest_edit

NAMES = {"app": "apqx/sample-app", "workbench": "apqx/workbench"}
"""Repository in the registry by target of the Dockerfile."""


@dataclass(frozen=True, slots=True)
class K3dImage(_Table):
    """An image in the cluster's registry.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits: of the manifest in the registry.
        reference: ``registry:5000/name@digest``, as a node pulls it.
        version: What the application reports and its pods are labelled with.
        seconds: How long building and pushing took.
    """

    digest: str
    reference: str
    version: str
    seconds: float


def build(
    current: Settings,
    *,
    target: Literal["app", "workbench"],
    version: str,
    deadline: Deadline | None = None,
    progress: Progress | None = None,
) -> K3dImage:
    """Build a target of the Dockerfile and push it to the cluster's registry.

    Args:
        current: Where the project and the registry are.
        target: ``app`` or ``workbench``.
        version: Version label.
        deadline: Of the operation that this is a part of; the settings' own limits hold beside it.
        progress: Called with each line of the build.

    Raises:
        InvalidInput: The version cannot be a label.
        ImageError, ToolMissing: It could not be built or pushed.
        WaitTimeout: It was not done in time.
    """
    from platform_lib import container

    manifest_edit.check_release(f"x@sha256:{'0' * 64}", version)
    started, name, engine = monotonic(), NAMES[target], container.engine("docker")
    built = container.build(
        current.project_dir,
        target=target,
        version=version,
        repository=f"{config.LOOPBACK}:{current.k3d.registry_port}/{name}",
        engine=engine,
        timeout_s=_at_most(current.image_build_timeout_s, deadline),
        progress=progress,
    )
    digest = container.push(
        built.reference,
        engine=engine,
        insecure=True,
        timeout_s=_at_most(current.image_push_timeout_s, deadline),
        progress=progress,
    )
    reference = f"{config.registry_name(current)}:{config.REGISTRY_PORT_INSIDE}/{name}@{digest}"
    return K3dImage(digest, reference, version, round(monotonic() - started, 3))


def lost(current: Settings, reference: str) -> bool:
    """Tell whether an image is named by the cluster's registry and not in it: ``down --purge`` deletes its volume.

    Args:
        current: Where the registry is.
        reference: As git names it; one of another registry is never lost here.
    """
    from platform_lib.wire.registry import Reference, Registry

    host, _, rest = reference.partition("/")
    repository, _, digest = rest.partition("@")
    if host != f"{config.registry_name(current)}:{config.REGISTRY_PORT_INSIDE}" or not digest:
        return False
    with Registry(Reference(f"{config.LOOPBACK}:{current.k3d.registry_port}", repository, digest)) as registry:
        return registry.find_manifest(digest) is None


def _at_most(limit_s: float, deadline: Deadline | None) -> float:
    """Return a limit in seconds, cut to what is left until the deadline; a second at the least."""
    return limit_s if deadline is None else min(limit_s, max(deadline.left_s, 1.0))


def pull(image: str, *, timeout_s: float) -> bool:
    """Have an image in Docker before k3d asks for it, because k3d tries again for ever when a pull breaks off.

    Returns:
        Whether it had to be pulled.

    Raises:
        ImageError, Unreachable: It does not exist, may not be pulled, or its registry does not answer.
    """
    try:
        programs.docker("image", "inspect", "--format", "{{.Id}}", image)
        return False
    except PlatformError as error:
        if error.context.get("trouble") not in ("unknown", "image not found"):
            raise
    programs.docker("pull", "--quiet", image, timeout_s=timeout_s)
    return True
