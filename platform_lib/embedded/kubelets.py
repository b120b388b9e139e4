"""How does the API process reach the node agents? One pool of connections, addresses from the Node objects."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp

from platform_lib.embedded import refusals
from platform_lib.embedded.store import Store

NODES = "v1/nodes"
CONNECT_S = 2.0


class Kubelets:
    """The node agents' servers.

    Args:
        store: For the addresses of the nodes.
        token: What the agents ask for.
    """

    def __init__(self, store: Store, token: str) -> None:
        self._store, self._token = store, token
        self._session: aiohttp.ClientSession | None = None

    def get(
        self, node: str, path: str, params: Mapping[str, str] | None = None, *, total_s: float | None = None
    ) -> aiohttp.client._RequestContextManager:
        """Begin a request to a node's agent; use it as an async context manager.

        Args:
            node: Name of the node.
            path: Path and nothing else.
            params: Query.
            total_s: Seconds for the whole answer; None for streams.

        Raises:
            ApiError: The node is unknown or has published no address.
        """
        url = f"{self._address(node)}{path}"
        timeout = aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S)
        headers = {"Authorization": f"Bearer {self._token}"}
        return self._open().get(url, params=params, headers=headers, timeout=timeout)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False)
        return self._session

    def _address(self, name: str) -> str:
        """Return the base URL of an agent."""
        node = self._store.get(NODES, "", name)
        if node is None:
            raise refusals.not_found(NODES, name)
        status = node.get("status") or {}
        addresses: list[Mapping[str, str]] = status.get("addresses") or []
        address = next((item["address"] for item in addresses if item.get("type") == "InternalIP"), "")
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        if not address or not port:
            raise refusals.internal(f"node {name} has published no address of its agent yet")
        return f"http://{address}:{port}"
