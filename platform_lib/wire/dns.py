"""Which address does a host name mean? Names that carry their address are resolved here, without DNS."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, ip_address

from platform_lib.errors import Unreachable

_ZONES = (".sslip.io", ".nip.io", ".localtest.me")
_DOTTED = re.compile(r"(?:^|[.-])(\d{1,3}(?:\.\d{1,3}){3})$")
_DASHED = re.compile(r"(?:^|[.-])(\d{1,3}(?:-\d{1,3}){3})$")


def address_in(name: str) -> str | None:
    """Return the address that a name carries or stands for, or None when DNS must be asked.

    Source: sslip.io: ``app.127.0.0.1.sslip.io`` and ``app-127-0-0-1.sslip.io`` mean 127.0.0.1.
    """
    name = name.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".localtest.me")):
        return "127.0.0.1"
    for zone in _ZONES[:2]:
        if name.endswith(zone):
            return _carried(name.removesuffix(zone))
    try:
        return str(ip_address(name))
    except ValueError:
        return None


def _carried(text: str) -> str | None:
    """Read the address at the end of a name; the dotted form wins, as at sslip.io."""
    for pattern in (_DOTTED, _DASHED):
        found = pattern.search(text)
        if found:
            try:
                return str(IPv4Address(found.group(1).replace("-", ".")))
            except ValueError:
                return None
    return None


def resolve(name: str) -> str:
    """Return an address for a name; asks the system only when the name does not carry one.

    Raises:
        Unreachable: The system knows no address.
    """
    carried = address_in(name)
    if carried is not None:
        return carried
    try:
        return str(socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Unreachable(
            f"host {name} - no address, one was expected: {error}",
            hint="use a name that carries its address, such as app.127.0.0.1.sslip.io",
            url=name,
        ) from error
