"""Why is an application as it is? Looks below Argo CD's status, and says it in words.

``comparison`` names each differing field, its manager and what to do, for a revision that is not merged yet too;
``objecttree`` looks at the pods below a Deployment; ``blockers`` finds what a sync waits for, and ``ending`` ends it;
``waiting`` waits for one commit until it was well for a while; ``undoing`` shows what a rollback would change.
``lookup`` and ``rendering`` read.
"""

from platform_lib.inspection.blockers import explain
from platform_lib.inspection.comparison import diff, preview
from platform_lib.inspection.ending import plan_terminate, terminate
from platform_lib.inspection.lookup import app_of
from platform_lib.inspection.objecttree import tree
from platform_lib.inspection.undoing import preview_rollback
from platform_lib.inspection.waiting import wait

__all__ = [
    "app_of",
    "diff",
    "explain",
    "plan_terminate",
    "preview",
    "preview_rollback",
    "terminate",
    "tree",
    "wait",
]
