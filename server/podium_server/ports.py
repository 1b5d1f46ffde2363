"""The port that a server listens on: free, or said in one line to be taken, which gRPC says in many."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def reserved(address: str) -> Iterator[str]:
    """Holds a free port; the address with its number, also for port 0. Ends this process if another one listens there.

    Sockets with SO_REUSEPORT may listen there meanwhile, and no others. What holds it never listens, so it is given no connections.
    """
    host, _, port = address.rpartition(":")
    with ExitStack() as held:
        try:
            number = _hold_all(host.strip("[]"), int(port), held)
        except OSError as error:
            raise SystemExit(f"podium serve: cannot listen on {address}: {error.strerror}") from None
        yield f"{host}:{number}"


def _hold_all(host: str, port: int, held: ExitStack) -> int:
    """A name may have several addresses, of which this machine has some: one port on all of these."""
    found = False
    for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            port = held.enter_context(_hold(family, (place[0], port, *place[2:]))).getsockname()[1]
            found = True
        except OSError as error:
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                raise
    if not found:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    return port


def _hold(family: socket.AddressFamily, place: tuple[str | int, ...]) -> socket.socket:
    with socket.socket(family, socket.SOCK_STREAM) as first:
        # What an earlier server leaves behind for a minute does not count. So two may be bound, but only one can listen:
        # from then on the port is ours, and the holder joins before anybody else may.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(place)
        first.listen()
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder = socket.socket(family, socket.SOCK_STREAM)
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            holder.setsockopt(socket.SOL_SOCKET, option, 1)
        holder.bind(first.getsockname())
        # From here on it lets in only who has SO_REUSEPORT too.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    return holder
