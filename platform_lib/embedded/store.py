"""Where do the objects of the cluster live, and in which order did they change?

SQLite (write-ahead log) is the truth: a write is in the log before ``put`` or ``delete`` returns, so what was
acknowledged survives a killed process. Reads come from memory. One counter numbers every change; it starts at
the wall clock in milliseconds and never goes backwards, not over a restart and not over a rebuilt cluster.

This file knows no kinds and no rules: that is ``api``. Objects handed out are shared; copy before changing.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from platform_lib.embedded import refusals
from platform_lib.errors import ApiError
from platform_lib.model import Obj

Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-wide objects."""

Statements = list[tuple[str, tuple[object, ...]]]

HISTORY = 1000
"""Changes kept per resource for watches that resume: minutes of a busy cluster, about 3 MB of pods."""

TOMBSTONES = 5000
"""Deletions kept on disk, so that a watch can resume over a restart."""

_TABLES = """
CREATE TABLE IF NOT EXISTS objects(
  gvr TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
  version INTEGER NOT NULL, created INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY(gvr, namespace, name));
CREATE TABLE IF NOT EXISTS tombstones(version INTEGER PRIMARY KEY, gvr TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


@dataclass(slots=True)
class Stored:
    """One object with its JSON text and the versions of its last change and of its creation."""

    obj: Obj
    raw: bytes
    version: int
    created: int


@dataclass(frozen=True, slots=True)
class Event:
    """One change, in the order of ``rv``.

    Attributes:
        type: ``ADDED``, ``MODIFIED`` or ``DELETED``.
        gvr: Resource.
        obj: The object after the change (for DELETED: its last state with the new version).
        old: The object before, or None.
        rv: Version of the change.
        raw: ``obj`` as JSON.
    """

    type: str
    gvr: str
    obj: Obj
    old: Obj | None
    rv: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One remembered change as JSON texts; ``old`` is None for ADDED and where it is not known any more."""

    type: str
    rv: int
    raw: bytes
    old: bytes | None


Subscriber = Callable[[Event], None]


def key_of(obj: Obj) -> Key:
    """Return (namespace, name) of an object."""
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


class Store:
    """All objects of one cluster.

    Args:
        path: Database file; its folder must exist.
        seed: First version of a new database; default: the wall clock in milliseconds.
    """

    def __init__(self, path: Path, *, seed: int | None = None) -> None:
        self.path = path
        self.pending_writes = 0
        self._objects: dict[str, dict[Key, Stored]] = {}
        self._sorted: dict[str, list[Key]] = {}
        self._owned: dict[str, dict[tuple[str, Key], None]] = {}
        self._history: dict[str, deque[Record]] = {}
        self._floors: dict[str, int] = {}
        self._subscribers: list[Subscriber] = []
        self._transient: set[str] = set()
        self._db = self._open()
        self._floor, self.version = self._load(int(time.time() * 1000) if seed is None else seed)

    # --- reading

    def get(self, gvr: str, namespace: str | None, name: str) -> Obj | None:
        """Return an object, or None."""
        found = self._objects.get(gvr, {}).get((namespace or "", name))
        return found.obj if found else None

    def entry(self, gvr: str, namespace: str | None, name: str) -> Stored | None:
        """Return an object with its text and versions, or None."""
        return self._objects.get(gvr, {}).get((namespace or "", name))

    def entries(self, gvr: str, namespace: str | None = None) -> Sequence[Stored]:
        """Return everything of a resource in the order of (namespace, name)."""
        objects = self._objects.get(gvr)
        if not objects:
            return []
        keys = self._sorted.get(gvr)
        if keys is None:
            keys = self._sorted[gvr] = sorted(objects)
        if namespace:
            return [objects[key] for key in keys if key[0] == namespace]
        return [objects[key] for key in keys]

    def list(self, gvr: str, namespace: str | None = None) -> Sequence[Obj]:
        """Return the objects of a resource, of one namespace or of all, in the order of (namespace, name)."""
        return [found.obj for found in self.entries(gvr, namespace)]

    def owned_by(self, uid: str) -> Sequence[Obj]:
        """Return the objects that name this uid in their ownerReferences."""
        return [self._objects[gvr][key].obj for gvr, key in self._owned.get(uid, {})]

    def resources(self) -> Sequence[str]:
        """Return the resources that hold at least one object."""
        return [gvr for gvr, objects in self._objects.items() if objects]

    # --- writing

    def put(self, gvr: str, obj: Obj) -> Obj:
        """Save an object under its next version and tell the subscribers.

        The store takes the dict over and sets ``metadata.resourceVersion``.

        Raises:
            ApiError: The database refused (500 InternalError); nothing was saved.
        """
        key = key_of(obj)
        old = self._objects.get(gvr, {}).get(key)
        version = self.version + 1
        obj["metadata"]["resourceVersion"] = str(version)
        raw = orjson.dumps(obj)
        created = old.created if old else version
        row = (gvr, *key, version, created, raw)
        self._commit([("INSERT OR REPLACE INTO objects VALUES(?,?,?,?,?,?)", row)])
        self.version = version
        self._keep(gvr, key, Stored(obj, raw, version, created), old)
        self._tell("MODIFIED" if old else "ADDED", gvr, obj, raw, old)
        return obj

    def delete(self, gvr: str, namespace: str | None, name: str) -> Obj:
        """Remove an object; returns its last state under the version of the deletion.

        Raises:
            KeyError: There is no such object.
            ApiError: The database refused (500 InternalError); nothing was removed.
        """
        key = (namespace or "", name)
        old = self._objects[gvr][key]
        if gvr in self._transient:
            return self._drop(gvr, key, old)
        version = self.version + 1
        obj = {**old.obj, "metadata": {**old.obj["metadata"], "resourceVersion": str(version)}}
        raw = orjson.dumps(obj)
        self._commit(
            [
                ("DELETE FROM objects WHERE gvr=? AND namespace=? AND name=?", (gvr, *key)),
                ("INSERT INTO tombstones VALUES(?,?,?)", (version, gvr, raw)),
            ]
        )
        self.version = version
        del self._objects[gvr][key]
        self._sorted.pop(gvr, None)
        self._disown(gvr, key, old.obj)
        self._tell("DELETED", gvr, obj, raw, old)
        return obj

    def put_transient(self, gvr: str, obj: Obj) -> None:
        """Keep an object in memory only: figures that are measured again after a restart.

        It takes no version of its own, because a version that is not on disk could be given out twice.
        """
        key = key_of(obj)
        self._transient.add(gvr)
        old = self._objects.get(gvr, {}).get(key)
        obj["metadata"]["resourceVersion"] = str(self.version)
        raw = orjson.dumps(obj)
        self._keep(gvr, key, Stored(obj, raw, self.version, self.version), old)
        self._call(Event("MODIFIED" if old else "ADDED", gvr, obj, old.obj if old else None, self.version, raw))

    # --- watching

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback`` after every committed change, in order; returns what ends that.

        The callback runs inside the write and must not write itself.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def since(self, gvr: str, version: int) -> Sequence[Record]:
        """Return the changes of a resource after a version, oldest first.

        Raises:
            Expired: That version is too old, or was never given out by this store.
        """
        floor = max(self._floor, self._floors.get(gvr, 0))
        if version < floor or version > self.version:
            raise refusals.expired(f"too old resource version: {version} ({max(floor, self.version)})")
        return [record for record in self._history.get(gvr, ()) if record.rv > version]

    # --- housekeeping

    def checkpoint(self) -> None:
        """Move the log into the database file; safe in another thread while this one writes.

        Raises:
            ApiError: The disk refused; the log stays and keeps everything.
        """
        self.pending_writes = 0
        db = sqlite3.connect(self.path)
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            raise refusals.internal(f"state folder {self.path.parent} - checkpoint failed: {error}") from error
        finally:
            db.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        """Open the database so that a commit costs one write to the log and no flush."""
        self.path.touch(mode=0o600, exist_ok=True)
        db = sqlite3.connect(self.path, isolation_level=None)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        # Checkpoints flush the disk; they run in a thread of the server, not inside some client's write.
        db.execute("PRAGMA wal_autocheckpoint=0")
        db.executescript(_TABLES)
        return db

    def _load(self, seed: int) -> tuple[int, int]:
        """Read everything; returns the oldest version a watch may resume from, and the newest."""
        changes: list[tuple[str, Record]] = []
        newest = seed
        for gvr, namespace, name, version, created, raw in self._db.execute("SELECT * FROM objects"):
            self._keep(gvr, (namespace, name), Stored(orjson.loads(raw), raw, version, created), None)
            # What the object was before is not known any more: the type follows from the creation.
            changes.append((gvr, Record("ADDED" if created == version else "MODIFIED", version, raw, None)))
        for version, gvr, raw in self._db.execute("SELECT * FROM tombstones"):
            changes.append((gvr, Record("DELETED", version, raw, raw)))
        for gvr, record in sorted(changes, key=lambda change: change[1].rv):
            self._history.setdefault(gvr, deque()).append(record)
            newest = max(newest, record.rv)
        return self._prune(seed), newest

    def _prune(self, seed: int) -> int:
        """Forget the oldest deletions on disk; returns the version before which they are forgotten."""
        row = self._db.execute("SELECT value FROM meta WHERE key='floor'").fetchone()
        floor = int(row[0]) if row else seed
        sql = "SELECT version FROM tombstones ORDER BY version DESC LIMIT 1 OFFSET ?"
        last = self._db.execute(sql, (TOMBSTONES,)).fetchone()
        if last or not row:
            floor = max(floor, int(last[0])) if last else floor
            self._commit(
                [
                    ("INSERT OR REPLACE INTO meta VALUES('floor', ?)", (floor,)),
                    ("DELETE FROM tombstones WHERE version<=?", (floor,)),
                ]
            )
        return floor

    def _commit(self, statements: Statements) -> None:
        """Run the statements as one transaction, or leave everything as it was."""
        db = self._db
        try:
            if len(statements) == 1:
                db.execute(*statements[0])
            else:
                db.execute("BEGIN IMMEDIATE")
                for statement in statements:
                    db.execute(*statement)
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._refused(error) from error
        self.pending_writes += 1

    def _refused(self, error: sqlite3.Error) -> ApiError:
        """Undo a half-done transaction and name the folder that needs attention."""
        if self._db.in_transaction:
            self._db.rollback()
        return refusals.internal(
            f"state folder {self.path.parent} - could not save the change ({error}), nothing was written - "
            "free space or restore write permission, then repeat the request"
        )

    def _keep(self, gvr: str, key: Key, new: Stored, old: Stored | None) -> None:
        """Put an object into the memory and its indexes."""
        self._objects.setdefault(gvr, {})[key] = new
        if old is None:
            self._sorted.pop(gvr, None)
        else:
            self._disown(gvr, key, old.obj)
        for reference in new.obj["metadata"].get("ownerReferences") or ():
            self._owned.setdefault(reference.get("uid", ""), {})[(gvr, key)] = None

    def _disown(self, gvr: str, key: Key, old: Obj) -> None:
        """Take an object out of the owner index."""
        for reference in old["metadata"].get("ownerReferences") or ():
            owned = self._owned.get(reference.get("uid", ""), {})
            owned.pop((gvr, key), None)
            if not owned:
                self._owned.pop(reference.get("uid", ""), None)

    def _tell(self, type_: str, gvr: str, obj: Obj, raw: bytes, old: Stored | None) -> None:
        """Remember a change and hand it to the subscribers."""
        history = self._history.setdefault(gvr, deque())
        history.append(Record(type_, self.version, raw, old.raw if old else None))
        while len(history) > HISTORY:
            self._floors[gvr] = history.popleft().rv
        self._call(Event(type_, gvr, obj, old.obj if old else None, self.version, raw))

    def _drop(self, gvr: str, key: Key, old: Stored) -> Obj:
        """Remove an object that was never on disk."""
        del self._objects[gvr][key]
        self._sorted.pop(gvr, None)
        self._call(Event("DELETED", gvr, old.obj, old.obj, self.version, old.raw))
        return old.obj

    def _call(self, event: Event) -> None:
        """Hand a change to the subscribers."""
        for callback in tuple(self._subscribers):
            callback(event)
