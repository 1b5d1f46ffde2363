"""A relay between client and server that counts the bytes which pass, and can be cut."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

PIECE_BYTES = 1 << 16


class Relay:
    """Relays connections from `address` to a server. `up` and `down` count the bytes to and from the server."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self.server = (host, int(port))
        self.up = self.down = 0
        self._limits: dict[str, int] = {}
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self.when_cut: Callable[[], object] = lambda: None
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, *, up: int | None = None, down: int | None = None) -> None:
        """Breaks all connections once so many more bytes have come; the last of them do not pass. New connections hold."""
        with self._lock:
            if up is not None:
                self._limits["up"] = self.up + up
            if down is not None:
                self._limits["down"] = self.down + down

    def cut(self) -> None:
        """Breaks all connections now."""
        with self._lock:
            ends, self._ends = self._ends, []
            self.cuts += 1
        for end in ends:
            shut(end)

    def close(self) -> None:
        shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self.server) as server:
            with self._lock:
                self._ends += [client, server]
            down = threading.Thread(target=self._pass_on, args=(server, client, "down"), daemon=True)
            down.start()
            self._pass_on(client, server, "up")
            down.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if self._count(way, len(piece)):
                    self.when_cut()
                    self.cut()
                else:
                    target.sendall(piece)
        shut(source)
        shut(target)

    def _count(self, way: str, count: int) -> bool:
        """Counts what passed; True if that was the limit."""
        with self._lock:
            passed = getattr(self, way) + count
            setattr(self, way, passed)
            if passed < self._limits.get(way, passed + 1):
                return False
            del self._limits[way]
            return True


def shut(end: socket.socket) -> None:
    """Ends both ways of a socket that may have ended; its owner closes it."""
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
