"""What keeps the embedded cluster moving towards its desired state?

One controller per file. Each is a pure function ``reconcile(snapshot, key, now, ...)`` that reads the snapshot
and returns the writes it wants; ``runner`` calls it when something changed and carries the writes out. The rules
are those of the Kubernetes controllers of the same name. Controllers do not know each other.
"""
