"""etcd as Debian has it, and the few requests of its API that are measured."""

import re
import subprocess
from pathlib import Path

from peer_process import PeerProcess, free_port

GET = "/etcdserverpb.KV/Range"  # of one key and not serializable: linearizable, as by default
PUT = "/etcdserverpb.KV/Put"
WATCH = "/etcdserverpb.Watch/Watch"


def version() -> str:
    """Its version, as 3.4.23."""
    try:
        said = subprocess.run(["etcd", "--version"], check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise SystemExit("etcd is missing. On Debian: apt-get install etcd-server") from None
    found = re.search(r"etcd Version: (\S+)", said)
    return found.group(1) if found else "?"


def start(folder: Path) -> PeerProcess:
    """Starts a cluster of one over a folder; a commit is on the disk before it is answered, as the default is."""
    port, peers = free_port(), f"http://127.0.0.1:{free_port()}"
    clients = f"http://127.0.0.1:{port}"
    command = [
        "etcd", "--name", "bench", "--data-dir", str(folder), "--logger", "zap", "--log-level", "error",
        "--listen-client-urls", clients, "--advertise-client-urls", clients,
        "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"bench={peers}",
    ]  # fmt: skip
    return PeerProcess(command, port, folder.with_name(folder.name + ".log"))


def get(key: str) -> bytes:
    """A RangeRequest of one key."""
    return _field(1, key.encode())


def put(key: str, value: bytes) -> bytes:
    """A PutRequest."""
    return _field(1, key.encode()) + _field(2, value)


def watch(key: str) -> bytes:
    """A WatchRequest that creates one watch of one key."""
    return _field(1, _field(1, key.encode()))


def _field(number: int, contents: bytes) -> bytes:
    """A field as protobuf writes it: all that these messages need of it, so that etcd's own are not needed."""
    return bytes([number << 3 | 2]) + _varint(len(contents)) + contents


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)
