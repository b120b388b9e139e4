"""What does the platform itself say, and who writes it down before it is forgotten?

Kubernetes drops events after an hour, Argo CD keeps ten operations and none that failed, Prometheus forgets when an
alert ended. The collector, a program of its own (``python -m platform_lib.collect``), follows all of them and git,
and appends what it learns to the platform's record.

``facts`` turns what a source says into records and is pure; ``known`` is what the record says already; ``sources``
follow the sources; ``program`` runs them. The record is the collector's only memory: it is read back at the start,
so a collector that was killed at any point neither repeats nor forgets a fact.
"""
