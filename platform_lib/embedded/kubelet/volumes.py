"""Which files does a pod see? Volumes as folders on the host, filled from the API and kept fresh.

Served: emptyDir (also in memory), configMap, secret, downwardAPI, projected (with service account tokens). Other
kinds are refused with the event that Kubernetes would show. A size limit is watched, and the pod evicted, by
``pod``.

Source: Kubernetes documentation, "Volumes" and "Projected volumes"; file modes as the API defaults them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform_lib.embedded.kubelet.environment import (
    Facts,
    Reference,
    content,
    field_value,
    resource_value,
)
from platform_lib.embedded.kubelet.records import SHARED_MEMORY, PodFolder
from platform_lib.embedded.quantity import parse_quantity
from platform_lib.model import Obj
from platform_lib.rules import manifests as m

TOKEN_VOLUME = "kube-api-access"  # noqa: S105 - the name Kubernetes gives that volume
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
TOKEN_LIFETIME_S = 3607
_MODE = 0o644
_FOLDERS = ("emptyDir", "configMap", "secret", "downwardAPI", "projected")

Tokens = Callable[[int, str], Awaitable[str]]
"""Asks the API for a service account token: (lifetime in seconds, audience) -> token."""


class VolumeError(Exception):
    """A volume cannot be set up now; the pod waits in ContainerCreating with a FailedMount event."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a volume."""

    data: bytes
    mode: int = _MODE


def pod_volumes(pod: Obj, account: Obj | None) -> list[Obj]:
    """Return the volumes of a pod, with the service account's token volume where Kubernetes would add it.

    Args:
        pod: The pod.
        account: Its ServiceAccount, or None.
    """
    volumes = list(m.spec(pod).get("volumes") or ())
    if not _automounts(pod, account) or any(_has_token(volume) for volume in volumes):
        return volumes
    sources = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFETIME_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return [*volumes, {"name": TOKEN_VOLUME, "projected": {"sources": sources, "defaultMode": _MODE}}]


def _automounts(pod: Obj, account: Obj | None) -> bool:
    """Tell whether the pod wants its token: the pod's word counts before the account's."""
    for obj in (m.spec(pod), account or {}):
        if obj.get("automountServiceAccountToken") is not None:
            return bool(obj["automountServiceAccountToken"])
    return True


def _has_token(volume: Obj) -> bool:
    """Tell whether admission has added the token volume already."""
    sources = (volume.get("projected") or {}).get("sources") or ()
    return any("serviceAccountToken" in source for source in sources)


def container_mounts(container: Obj, volumes: list[Obj]) -> list[Obj]:
    """Return a container's mounts, with that of the token where the volume was added here."""
    mounts = list(container.get("volumeMounts") or ())
    added = any(volume["name"] == TOKEN_VOLUME for volume in volumes)
    if added and all(mount["mountPath"].rstrip("/") != TOKEN_PATH for mount in mounts):
        mounts.append({"name": TOKEN_VOLUME, "mountPath": TOKEN_PATH, "readOnly": True})
    return mounts


def volume_references(volumes: list[Obj]) -> set[Reference]:
    """Return the config maps and secrets that volumes are filled from."""
    found: set[Reference] = set()
    for volume in volumes:
        if volume.get("configMap"):
            found.add(("ConfigMap", volume["configMap"]["name"]))
        if volume.get("secret"):
            found.add(("Secret", volume["secret"]["secretName"]))
        for source in (volume.get("projected") or {}).get("sources") or ():
            for key, kind in (("configMap", "ConfigMap"), ("secret", "Secret")):
                if source.get(key):
                    found.add((kind, source[key]["name"]))
    return found


class Volumes:
    """The volumes of one pod.

    Args:
        pod: The pod.
        volumes: From ``pod_volumes``.
        folder: Where they lie.
        facts: For the downward API.
        tokens: Source of service account tokens.
    """

    def __init__(self, pod: Obj, volumes: list[Obj], folder: PodFolder, facts: Facts, tokens: Tokens) -> None:
        self._pod, self._volumes, self._folder = pod, volumes, folder
        self._facts, self._tokens = facts, tokens

    async def fill(self, objects: Mapping[Reference, Obj | None]) -> None:
        """Create the folders and write what changed; call again to refresh.

        Raises:
            VolumeError: A source is missing or of a kind that this node does not serve.
        """
        for volume in self._volumes:
            kinds = [kind for kind in _FOLDERS if kind in volume]
            if not kinds:
                kind = next((key for key in volume if key != "name"), "unknown")
                raise VolumeError(f'volume "{volume["name"]}": {kind} volumes are not served by this node')
            path = self._folder.volume(volume["name"])
            if kinds[0] == "emptyDir":
                self._empty(path, (volume["emptyDir"] or {}).get("medium") == "Memory")
            else:
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(0o755)
                write_entries(path, await self._entries(volume, objects))
            self._own(path)

    def _empty(self, path: Path, in_memory: bool) -> None:
        """Create a folder that every user of the pod may write to; in memory it is only linked from here."""
        place = path
        if in_memory and SHARED_MEMORY.is_dir():
            place = self._folder.memory() / path.name
            place.parent.mkdir(mode=0o711, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_symlink():
                path.symlink_to(place)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o777)

    def _own(self, path: Path) -> None:
        """Give a volume to the pod's fsGroup (needs root)."""
        group = (m.spec(self._pod).get("securityContext") or {}).get("fsGroup")
        if group is not None and os.geteuid() == 0:
            for place in [path, *path.rglob("*")]:
                os.chown(place, -1, int(group), follow_symlinks=False)

    async def _entries(self, volume: Obj, objects: Mapping[Reference, Obj | None]) -> dict[str, Entry]:
        """Compute the files of a volume."""
        if "projected" in volume:
            projected = volume["projected"]
            mode = projected.get("defaultMode") or _MODE
            found: dict[str, Entry] = {}
            for source in projected.get("sources") or ():
                found |= await self._source(source, mode, objects, volume["name"])
            return found
        kind = next(key for key in _FOLDERS if key in volume)
        source = dict(volume[kind] or {})
        if kind == "secret":
            source["name"] = source.get("secretName")
        return await self._source({kind: source}, source.get("defaultMode") or _MODE, objects, volume["name"])

    async def _source(
        self, source: Obj, mode: int, objects: Mapping[Reference, Obj | None], volume: str
    ) -> dict[str, Entry]:
        """Compute the files of one source."""
        if "downwardAPI" in source:
            return dict(self._downward(source["downwardAPI"], mode))
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            lifetime_s = int(wanted.get("expirationSeconds") or 3600)
            token = await self._tokens(lifetime_s, wanted.get("audience") or "")
            return {wanted["path"]: Entry(token.encode(), mode)}
        kind, key = ("ConfigMap", "configMap") if "configMap" in source else ("Secret", "secret")
        if key not in source:
            raise VolumeError(f'volume "{volume}": projected source {next(iter(source), "")} is not served')
        return _select(kind, source[key], mode, objects, volume)

    def _downward(self, source: Obj, mode: int) -> Iterator[tuple[str, Entry]]:
        """Yield the files of a downward API source."""
        for item in source.get("items") or ():
            if item.get("fieldRef"):
                text = field_value(self._pod, item["fieldRef"]["fieldPath"], self._facts)
            else:
                text = resource_value(self._pod, item["resourceFieldRef"], self._facts)
            yield item["path"], Entry(text.encode(), item.get("mode") or mode)


def _select(
    kind: str, source: Obj, mode: int, objects: Mapping[Reference, Obj | None], volume: str
) -> dict[str, Entry]:
    """Return the wanted keys of a config map or secret."""
    obj = objects.get((kind, source["name"]))
    optional = bool(source.get("optional"))
    if obj is None and not optional:
        raise VolumeError(
            f'MountVolume.SetUp failed for volume "{volume}": {kind.lower()} "{source["name"]}" not found'
        )
    entries = content(obj) if obj is not None else {}
    items: list[dict[str, Any]] | None = source.get("items")
    if items is None:
        return {key: Entry(data, mode) for key, data in entries.items()}
    missing = [item["key"] for item in items if item["key"] not in entries]
    if missing and not optional:
        raise VolumeError(
            f'MountVolume.SetUp failed for volume "{volume}": references non-existent {kind.lower()} key: {missing[0]}'
        )
    present = [item for item in items if item["key"] in entries]
    return {item["path"]: Entry(entries[item["key"]], item.get("mode") or mode) for item in present}


def write_entries(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Make a folder hold exactly these files; each file changes in one step.

    Raises:
        VolumeError: A path leads out of the folder.
    """
    for name, entry in entries.items():
        place = folder / name
        if not place.resolve().is_relative_to(folder.resolve()):
            raise VolumeError(f"path {name!r} leads out of the volume")
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_file() or place.read_bytes() != entry.data:
            partial = place.with_name(f"..{place.name}.partial")
            partial.write_bytes(entry.data)
            partial.chmod(entry.mode)
            partial.replace(place)
    wanted = {folder / name for name in entries}
    for place in [path for path in folder.rglob("*") if path.is_file()]:
        if place not in wanted:
            place.unlink()


def size_limits(volumes: list[Obj]) -> dict[str, int]:
    """Return the size limit in bytes of every emptyDir that has one, by volume name."""
    wanted = {volume["name"]: (volume.get("emptyDir") or {}).get("sizeLimit") for volume in volumes}
    return {name: int(parse_quantity(limit)) for name, limit in wanted.items() if limit}


def used_bytes(folder: Path) -> int:
    """Sum the sizes of the files in a volume; a file that goes meanwhile does not count."""
    total = 0
    for path in folder.resolve().rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size if not path.is_dir() else 0
    return total
