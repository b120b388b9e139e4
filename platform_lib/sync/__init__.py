"""How does an application reach a commit? Refresh, sync and wait through Argo CD, to *this* commit.

A wait never hangs and never answers for another revision: it has a deadline, says what it waits for, and
ends at once when waiting longer is pointless. ``ready`` asks whether a sync may be tried at all, ``act`` asks for
it, ``waiting`` judges it, ``stopping`` ends an operation that stands in the way, ``reading`` only looks.
"""

from platform_lib.sync.act import reach, resume, sync
from platform_lib.sync.reading import (
    NAME_LABEL,
    Progress,
    compare,
    deployment,
    follow,
    history,
    pods_progress,
    refresh,
    require_own_pods,
    state,
)
from platform_lib.sync.ready import ready
from platform_lib.sync.stopping import stop
from platform_lib.sync.waiting import Wanted, wait_synced

__all__ = [
    "NAME_LABEL",
    "Progress",
    "Wanted",
    "compare",
    "deployment",
    "follow",
    "history",
    "pods_progress",
    "reach",
    "ready",
    "refresh",
    "require_own_pods",
    "resume",
    "state",
    "stop",
    "sync",
    "wait_synced",
]
