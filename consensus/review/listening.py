"""Where the review listens, and under which names it is reached."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Final

from celljury.errors import CelljuryError
from celljury.review.guard import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Sequence

PORT: Final = 8765
N_PORTS: Final = 50
"""Ports that are tried, the one asked for first."""


class PortError(CelljuryError, OSError):
    """No port is free, or the host is none of this machine's addresses."""


def hosts_of(host: str, names: Sequence[str] = ()) -> frozenset[str]:
    """Return the names, in lower case, under which a server on ``host`` may be asked for."""
    found = {name.lower().strip("[]").rstrip(".") for name in names}
    host = host.lower().strip("[]")
    if is_loopback(host):
        return frozenset({host, *LOOPBACK, *found})
    if host in ("0.0.0.0", "::", ""):
        found |= {*LOOPBACK, socket.gethostname().lower()}
        with contextlib.suppress(OSError):
            found |= {
                str(row[4][0]).partition("%")[0].lower() for row in socket.getaddrinfo(socket.gethostname(), None)
            }
        return frozenset(found)
    return frozenset({host, *found})


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    host = host.lower().strip("[]")
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown_host(host: str) -> str:
    """Return the host as it stands in the printed address."""
    host = host.strip("[]")
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the port, or on the next that is free."""
    if not 0 <= port <= 65535:
        message = f"port {port} is none: expected 0-65535 (0 = any free one). Pass another with --port."
        raise PortError(message)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = port if port == 0 else min(port + N_PORTS - 1, 65535)
    for candidate in range(port, last + 1):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, candidate))
            found.listen(128)
        except OSError as error:
            found.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES) and candidate < last:
                continue
            message = f"cannot listen on {host} port {candidate}: {error.strerror or error}. Pass others with --host and --port."
            raise PortError(message) from error
        return found
    raise AssertionError
