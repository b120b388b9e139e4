"""How does an application get back to a good version? By git revert, or by Argo CD's history; both timed.

Git revert is the default: it keeps git the truth, runs hooks, and automation stays on. The history way is for
a repository that cannot be written to: automation has to be paused first, and resuming it would sync
forward to what git still says. ``choice`` plans, ``act`` does, ``redeploy`` is the history way. The gate decides
when a version has to go, and rehearses it: ``platform_lib.gate``.
"""

from platform_lib.rollback.act import headline, rollback
from platform_lib.rollback.choice import Method, plan_rollback, targets
from platform_lib.rollback.redeploy import plan_to_row, to_row
from platform_lib.sync import resume

__all__ = [
    "Method",
    "headline",
    "plan_rollback",
    "plan_to_row",
    "resume",
    "rollback",
    "targets",
    "to_row",
]
