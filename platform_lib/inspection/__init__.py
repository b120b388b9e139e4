"""Why is an application as it is? Looks below Argo CD's status, and says it in words.

``diff`` names each differing field, its manager and what to do, for a revision that is not merged yet too; ``tree``
looks at the pods below a Deployment; ``blockers`` finds what a sync waits for, and ``ending`` ends it; ``waiting``
waits for one commit until it was well for a while; ``undoing`` shows what a rollback would change. ``lookup`` and
``rendering`` read.
"""
