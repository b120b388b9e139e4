"""May this instance get requests? One value, written by the server and read by ``/ready``."""

from __future__ import annotations


class Lifecycle:
    """Where the process stands between start and end.

    Args:
        never_ready: The drill switch: readiness is refused for ever.
    """

    def __init__(self, *, never_ready: bool = False) -> None:
        self._never_ready = never_ready
        self._draining = False

    def drain(self) -> None:
        """Refuse readiness from now on; requests are still served. Safe in a signal handler."""
        self._draining = True

    @property
    def reason(self) -> str:
        """Why the instance is not ready, or an empty string when it is."""
        if self._draining:
            return "draining"
        return "fault never_ready" if self._never_ready else ""
