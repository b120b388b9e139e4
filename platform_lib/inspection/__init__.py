"""Why is an application as it is? Looks below Argo CD's status, and says it in words.

``diff`` names each differing field, its manager and what to do; ``preview`` compares a revision that is not merged
yet; ``tree`` looks at the pods below a Deployment; ``explain`` finds what a sync waits for, and ``terminate`` ends
it; ``wait`` waits for one commit until it has been healthy for a while. ``lookup`` and ``rendering`` read.
"""
