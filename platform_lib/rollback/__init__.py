"""How does an application get back to a good version? By git revert, or by Argo CD's history; both timed.

Git revert is the default: it keeps git the truth, runs hooks, and automation stays on. The history way is for
a repository that cannot be written to: automation has to be paused first, and resuming it would sync
forward to what git still says. ``choice`` plans, ``act`` does, ``redeploy`` is the history way, ``rehearse``
detects a bad version and times it all.
"""

from platform_lib.rollback.act import headline, rollback
from platform_lib.rollback.choice import Method, plan_rollback, targets
from platform_lib.rollback.rehearse import Detection, detect, rehearse
from platform_lib.sync import resume

__all__ = [
    "Detection",
    "Method",
    "detect",
    "headline",
    "plan_rollback",
    "rehearse",
    "resume",
    "rollback",
    "targets",
]
