"""How do runs on different machines keep out of each other's way? One Lease in the cluster they share.

A holder that renews is believed whatever the clocks say: a Lease that looks expired is taken over only after it
was watched for longer than a holder may wait between two renewals, and only with its version as a guard.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from platform_lib.errors import AlreadyExists, Conflict, Locked, NotFound
from platform_lib.model import Obj, Platform, to_json
from platform_lib.wait import now, pause
from platform_lib.wire import kube

LEASES = "coordination.k8s.io/v1/leases"
NAME = "apqx-changes"
PURPOSE, SINCE, TOKEN = "apqx.dev/purpose", "apqx.dev/since", "apqx.dev/holder-token"
RENEWALS = 3
"""How often a Lease is renewed within its lifetime."""


class Lease:
    """The Lease of one platform, as one would-be holder sees it.

    Args:
        platform: The cluster.
        namespace: Where the Lease lives.
        holder: Who wants it, for people.
        token: Tells this holder from any other of the same name.
        purpose: What for, for people.
        duration_s: Age at which others may take it over.
    """

    def __init__(
        self, platform: Platform, namespace: str, *, holder: str, token: str, purpose: str, duration_s: float
    ) -> None:
        self.platform, self.namespace = platform, namespace
        self.holder, self.token, self.purpose, self.duration_s = holder, token, purpose, duration_s
        self.since = now()

    def acquire(self, *, ended: str = "") -> None:
        """Take the Lease, or wait out one that looks expired.

        Args:
            ended: Token of a holder that is known to have ended; its Lease is taken at once.

        Raises:
            Locked: Somebody holds it; names the holder, the purpose and since when.
            Unreachable: The cluster does not answer.
        """
        found = self._read()
        if found is not None and _held(found) and _token(found) not in (self.token, ended):
            if not _expired(found):
                raise _refusal(found)
            pause(self._seconds(found) / RENEWALS + 1.0)
            seen = self._read()
            if seen is not None and _version(seen) != _version(found):
                raise _refusal(seen)
        self._write(found)

    def renew(self) -> None:
        """Say that we are still at it; a Lease that went with its cluster is made again.

        Raises:
            Locked: Somebody else holds it now.
            Unreachable: The cluster does not answer.
        """
        found = self._read()
        if found is not None and _held(found) and _token(found) != self.token:
            raise _refusal(found)
        self._write(found)

    def release(self) -> None:
        """Give the Lease up, if it is still ours."""
        found = self._read()
        if found is None or _token(found) != self.token:
            return
        body: Obj = {
            "metadata": {"resourceVersion": _version(found), "annotations": {TOKEN: None}},
            "spec": {"holderIdentity": None},
        }
        self._kube().patch(LEASES, NAME, body, self.namespace)

    def _kube(self) -> kube.Kube:
        """The present connection: a rebuilt cluster has new credentials."""
        return kube.connect(self.platform)

    def _read(self) -> Obj | None:
        """The Lease as it is."""
        return self._kube().find(LEASES, NAME, self.namespace)

    @staticmethod
    def _seconds(found: Obj) -> float:
        """Lifetime that the present holder asked for."""
        return float(found.get("spec", {}).get("leaseDurationSeconds") or 0)

    def _write(self, found: Obj | None) -> None:
        """Create the Lease or put ourselves in; whoever is faster wins."""
        api = self._kube()
        try:
            if found is None:
                api.create(LEASES, self._object({}), self.namespace)
            else:
                api.replace(LEASES, self._object(found), self.namespace)
        except (AlreadyExists, Conflict, NotFound):
            winner = self._read()
            raise _refusal(winner or {}) from None

    def _object(self, found: Obj) -> Obj:
        """The Lease with us as its holder."""
        metadata = {"name": NAME, "namespace": self.namespace}
        spec: dict[str, Any] = found.get("spec") or {}
        ours = _token(found) == self.token
        if found:
            metadata |= {"resourceVersion": _version(found)}
        notes = {PURPOSE: self.purpose, SINCE: to_json(self.since), TOKEN: self.token}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {**metadata, "annotations": notes},
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": max(1, round(self.duration_s)),
                "acquireTime": spec.get("acquireTime") if ours else _micro(self.since),
                "renewTime": _micro(now()),
                "leaseTransitions": int(spec.get("leaseTransitions") or 0) + (0 if ours or not found else 1),
            },
        }


def _micro(moment: datetime) -> str:
    """Format a time as the API wants it: UTC with microseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _version(lease: Obj) -> str:
    """Version of the object."""
    return str(lease.get("metadata", {}).get("resourceVersion", ""))


def _token(lease: Obj) -> str:
    """Which holder wrote it."""
    return str((lease.get("metadata", {}).get("annotations") or {}).get(TOKEN, ""))


def _held(lease: Obj) -> bool:
    """Whether it names a holder."""
    return bool(lease.get("spec", {}).get("holderIdentity"))


def _expired(lease: Obj) -> bool:
    """Whether it was not renewed for its whole lifetime, by our clock."""
    spec = lease.get("spec", {})
    try:
        renewed = datetime.fromisoformat(str(spec.get("renewTime")))
    except ValueError:
        return True
    return now() - renewed > timedelta(seconds=float(spec.get("leaseDurationSeconds") or 0))


def _refusal(lease: Obj) -> Locked:
    """Say who holds the Lease."""
    spec, notes = lease.get("spec", {}), lease.get("metadata", {}).get("annotations") or {}
    holder = str(spec.get("holderIdentity") or "another run")
    since = str(notes.get(SINCE) or spec.get("acquireTime") or "just now")
    left = f"{spec.get('leaseDurationSeconds', '?')} s after {spec.get('renewTime', 'its last renewal')}"
    return Locked(
        f"platform Lease {NAME} - held by {holder} for {notes.get(PURPOSE, 'a change')} since {since}",
        hint=f"wait for that run, or end it; unless renewed it expires {left}",
        holder=holder,
        since=since,
    )
