"""How does a cluster that only answers become a platform? Argo CD, a git source, and the root Application.

Works on any cluster by its kubeconfig. Who makes the cluster is the business of the providers; what the
applications look like stands in git.
"""

from __future__ import annotations
