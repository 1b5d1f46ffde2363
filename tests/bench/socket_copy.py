"""The floor of a transfer: two processes and a TCP socket, doing the hashing and writing that a registry must do and nothing else.

Stored: the sender reads and hashes its files before it sends them, as a push does; the receiver takes SHA-256 over the whole and
CRC32C of every MiB, writes, fsyncs, renames, and fsyncs the folder. Fetched: the sender reads and checks every MiB's CRC32C; the
receiver hashes, writes, fsyncs and renames. Both ends are straight loops, a MiB at a time.
Run as `socket_copy.py FOLDER`, it is the server's end: prints its port, then serves one connection after the other.
"""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

MIB = 1 << 20


def pieces(source: BinaryIO | socket.socket, size: int) -> Iterator[bytes]:
    """Yields `size` bytes in pieces of a MiB."""
    while size:
        wanted = min(size, MIB)
        piece = source.recv(wanted, socket.MSG_WAITALL) if isinstance(source, socket.socket) else source.read(wanted)
        if len(piece) != wanted:
            raise EOFError
        yield piece
        size -= wanted


def write_durable(target: Path, contents: Iterable[bytes]) -> str:
    """Writes a file that is there whole or not at all, and returns its SHA-256 in hex."""
    digest = hashlib.sha256()
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb", buffering=0) as file:
        for piece in contents:
            digest.update(piece)
            file.write(piece)
        os.fsync(file.fileno())
    partial.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    return digest.hexdigest()


class ServerEnd:
    """Keeps what was stored last, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[tuple[Path, list[int]]] = []

    def serve(self, peer: socket.socket) -> None:
        """Does what the peer's first line asks for."""
        sizes = json.loads(peer_line(peer))
        answer = self.store(peer, sizes) if sizes else self.fetch(peer)
        peer.sendall(json.dumps(answer).encode() + b"\n")

    def store(self, peer: socket.socket, sizes: list[int]) -> list[str]:
        """Receives files; returns their digests."""
        self.files = [(self.folder / str(number), []) for number in range(len(sizes))]
        return [write_durable(path, self.received(peer, size, sums)) for (path, sums), size in zip(self.files, sizes, strict=True)]

    def received(self, peer: socket.socket, size: int, sums: list[int]) -> Iterator[bytes]:
        """Yields one file's pieces and keeps their checksums."""
        for piece in pieces(peer, size):
            sums.append(google_crc32c.value(piece))
            yield piece

    def fetch(self, peer: socket.socket) -> list[str]:
        """Sends the files that were stored last."""
        for path, sums in self.files:
            with path.open("rb", buffering=0) as file:
                for piece, expected in zip(pieces(file, path.stat().st_size), sums, strict=True):
                    if google_crc32c.value(piece) != expected:
                        raise ValueError(path)
                    peer.sendall(piece)
        return []


def peer_line(peer: socket.socket) -> bytes:
    """Reads one line byte by byte: what follows it must stay in the socket."""
    line = b""
    while not line.endswith(b"\n"):
        byte = peer.recv(1)
        if not byte:
            raise EOFError
        line += byte
    return line


def push(port: int, files: list[Path]) -> None:
    """The client's end of a store."""
    digests = []
    for path in files:
        digest = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            for piece in pieces(file, path.stat().st_size):
                digest.update(piece)
        digests.append(digest.hexdigest())
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(json.dumps([path.stat().st_size for path in files]).encode() + b"\n")
        for path in files:
            with path.open("rb", buffering=0) as file:
                for piece in pieces(file, path.stat().st_size):
                    peer.sendall(piece)
        if json.loads(peer_line(peer)) != digests:
            raise ValueError("the copy differs")


def pull(port: int, folder: Path, files: list[Path]) -> None:
    """The client's end of a fetch of files that were stored before, into an existing folder."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"[]\n")
        for number, path in enumerate(files):
            write_durable(folder / str(number), pieces(peer, path.stat().st_size))
        peer_line(peer)


def main(folder: Path) -> None:
    """Serves until it is ended."""
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    end = ServerEnd(folder)
    while True:
        peer, _ = listener.accept()
        with peer:
            end.serve(peer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
