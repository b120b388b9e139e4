"""How does a node run pods as local processes? The parts of the node agent, one reason each.

``node.py`` one level up composes them. From the kernel upwards: ``procfs`` and ``cgroups`` (facts and limits),
``records`` (what survives the agent), ``sandbox`` and ``shim`` (how a process is confined), ``runtime`` (one
process, from start to exit code), ``imagestore`` (images by digest), ``environment`` and ``volumes`` (what a
container sees), ``probes``, ``backoff`` and ``container`` (one container), ``podstatus``, ``termination`` and
``pod`` (one pod), ``nodeobject``, ``nodeevents``, ``podlogs``, ``stats`` and ``server`` (what the node tells).
"""
