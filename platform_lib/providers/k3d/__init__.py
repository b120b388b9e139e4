"""How does a k3d cluster come and go? Real Kubernetes (k3s) in Docker, driven through the k3d program.

``config`` says what k3d is told, ``checks`` what is refused before it is, ``classify`` what its failures mean,
``clusters`` and ``programs`` run it, ``access`` and ``images`` are the ways in; ``provider`` puts them in order.
"""

from platform_lib.providers.k3d.provider import K3d

__all__ = ["K3d"]
