"""A port for a server that is told which: the kernel gives it to no connection meanwhile, as it does with those of `bind` to 0."""

import secrets
import socket
from contextlib import suppress
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")  # of connections


def free_port() -> int:
    """One at which nobody listens."""
    end = int(RANGE.read_text().split()[0])
    start = 10_000
    assert start < end
    while True:
        port = start + secrets.randbelow(end - start)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
