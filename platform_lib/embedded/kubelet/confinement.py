"""What does one container of a pod become on this machine? From specification, image and volumes to a command."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from platform_lib.embedded.kubelet import environment
from platform_lib.embedded.kubelet.cgroups import Limits
from platform_lib.embedded.kubelet.environment import ConfigError
from platform_lib.embedded.kubelet.imagestore import Image
from platform_lib.embedded.kubelet.sandbox import Confinement, Mount, shortfalls
from platform_lib.embedded.kubelet.services import PodContext
from platform_lib.embedded.kubelet.volumes import container_mounts
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

DEFAULT_UID = 1000
TERMINATION_PATH = "/dev/termination-log"
_PYTHONS = ("python", "python3")


def security(pod: Obj, container: Obj, key: str) -> Any:
    """Return a security setting: the container's word counts before the pod's."""
    for context in (container.get("securityContext"), m.spec(pod).get("securityContext")):
        if context and context.get(key) is not None:
            return context[key]
    return None


def user_of(pod: Obj, container: Obj, image: Image) -> tuple[int, int]:
    """Return (uid, gid) of a container.

    Raises:
        ConfigError: ``runAsNonRoot`` forbids what the image asks for, or the image names a user.
    """
    group = int(security(pod, container, "runAsGroup") or 0)
    uid = security(pod, container, "runAsUser")
    if uid is None:
        name, _, image_group = image.user.partition(":")
        if name and not name.isdigit() and name != "root":
            raise ConfigError(f"image has non-numeric user ({name}), this node resolves numeric users only")
        uid = int(name) if name.isdigit() else 0
        group = group or (int(image_group) if image_group.isdigit() else 0)
    if security(pod, container, "runAsNonRoot") and int(uid) == 0:
        raise ConfigError(
            f"container has runAsNonRoot and image will run as root "
            f'(pod: "{m.name(pod)}_{m.namespace(pod)}({m.uid(pod)})", container: {container["name"]})'
        )
    return int(uid), group or int(uid)


def confine(context: PodContext, container: Obj, image: Image, env: dict[str, str], run: int) -> Confinement:
    """Resolve everything that starting a container needs.

    Args:
        context: Its pod.
        container: Its specification.
        image: Unpacked image.
        env: Its environment.
        run: Restart count; numbers its private files.

    Raises:
        ConfigError: It cannot run as it asks.
    """
    uid, gid = user_of(context.pod, container, image)
    python = context.services.python
    command = environment.command(container, image.entrypoint, image.cmd, env)
    if command[0] in _PYTHONS:
        command[0] = str(python)
    tmp = context.folder.container(container["name"]) / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    tmp.chmod(0o1777)
    return Confinement(
        rootfs=image.rootfs,
        command=command,
        env={"HOME": "/", **env, "PATH": f"{python.parent}:{env['PATH']}", "PYTHONNOUSERSITE": "1"},
        cwd=container.get("workingDir") or image.working_dir,
        uid=uid,
        gid=gid,
        hostname=m.spec(context.pod).get("hostname") or m.name(context.pod),
        python=python,
        etc=context.folder.etc(),
        tmp=tmp,
        read_only=bool(security(context.pod, container, "readOnlyRootFilesystem")),
        mounts=_mounts(context, container, image, run),
    )


def _mounts(context: PodContext, container: Obj, image: Image, run: int) -> tuple[Mount, ...]:
    """Return the container's volumes and the file for its last words."""
    found = [_mount(context, entry, image) for entry in container_mounts(container, context.volumes)]
    words = last_words_file(context, container["name"], run)
    words.touch()
    words.chmod(0o666)
    path = container.get("terminationMessagePath") or TERMINATION_PATH
    return (*found, Mount(words, path, False))


def _mount(context: PodContext, entry: Obj, image: Image) -> Mount:
    """Resolve one volume mount, with ``subPath``."""
    volume = next((v for v in context.volumes if v["name"] == entry["name"]), None)
    if volume is None:
        raise ConfigError(f'volumeMount "{entry["mountPath"]}" names the unknown volume "{entry["name"]}"')
    source = root = context.folder.volume(entry["name"]).resolve()
    if entry.get("subPath"):
        source = root / entry["subPath"]
        if not source.resolve().is_relative_to(root.resolve()):
            raise ConfigError(f"subPath {entry['subPath']!r} leads out of the volume")
        if not source.exists():
            source.mkdir(parents=True)
    _mount_point(image.rootfs, entry["mountPath"], source)
    writable = "emptyDir" in volume and not entry.get("readOnly")
    return Mount(source, entry["mountPath"].rstrip("/") or "/", not writable)


def _mount_point(rootfs: Path, path: str, source: Path) -> None:
    """Create the place for a mount that lies inside a folder of the image: bind mounts need one."""
    place = rootfs / path.strip("/")
    if len(Path(path).parts) > 2 and (rootfs / Path(path).parts[1]).is_dir() and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            place.mkdir(exist_ok=True)
        else:
            place.touch()


def last_words_file(context: PodContext, container: str, run: int) -> Path:
    """Return the host side of ``terminationMessagePath`` of one run."""
    return context.folder.container(container) / f"{run}.termination"


def write_etc(folder: Path, context: PodContext, uids: set[int]) -> None:
    """Generate the files of /etc that differ between pods."""
    folder.mkdir(parents=True, exist_ok=True)
    users = {0: "root", DEFAULT_UID: "app", 65534: "nobody"}
    users |= {uid: f"user{uid}" for uid in uids if uid not in users}
    name = m.name(context.pod)
    files = {
        "passwd": [f"{user}:x:{uid}:{uid}::/:/sbin/nologin" for uid, user in users.items()],
        "group": [f"{user}:x:{uid}:" for uid, user in users.items()],
        "hosts": ["127.0.0.1 localhost", f"{context.record.ip} {name}"],
        "hostname": [name],
        "resolv.conf": ["options ndots:5"],
    }
    for file, lines in files.items():
        (folder / file).write_text("\n".join(lines) + "\n")


def limits_of(container: Obj) -> Limits:
    """Return requests and limits in the terms of control groups."""
    memory = environment.quantity_or_none(container, "limits", "memory")
    request = environment.quantity_or_none(container, "requests", "cpu")
    cpu = environment.quantity_or_none(container, "limits", "cpu")
    shares = int((request if request is not None else cpu or 0) * 1024)
    return Limits(int(memory) if memory else None, cpu, max(2, shares))


def unenforced(context: PodContext, container: Obj, wanted: Confinement) -> list[str]:
    """Name what this container asks for and this machine does not enforce."""
    hierarchy = context.services.hierarchy
    missing = shortfalls(context.services.sandbox, wanted, asked_uid=wanted.uid != os.geteuid())
    limits = limits_of(container)
    if hierarchy.version == 0 and limits.cpu_cores is not None:
        missing.append(f"CPU limit ({hierarchy.reason})")
    if hierarchy.version == 0 and limits.memory_bytes is not None:
        missing.append("memory limit by the kernel (checked every second instead)")
    seccomp = security(context.pod, container, "seccompProfile") or {}
    if seccomp.get("type") == "Localhost":
        missing.append("seccomp profile Localhost")
    elif seccomp.get("type") == "RuntimeDefault" and context.services.sandbox.mode == "plain":
        missing.append("seccomp profile RuntimeDefault")
    return missing
