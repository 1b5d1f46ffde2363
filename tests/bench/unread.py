"""A watcher that reads nothing while 100,000 changes pass: what the server keeps for it, and whether it then gets all of them."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import resolve
from generator import Generator, write_bodies
from podium.v1.aliases_pb2 import SetAliasRequest
from podium.v1.events_pb2 import EVENT_KIND_ALIAS
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from podium.v1.watch_pb2 import WatchFilter, WatchRequest
from processes import Process, podium
from table import Row, alone

CALLERS = 64
CHANGES = 100_096  # of each caller as many to as fro
MIB = 1 << 20
# The client's end takes 64 KiB, and then nothing more is sent.
SMALL_WINDOW = [("grpc.use_local_subchannel_pool", 1), ("grpc.http2.lookahead_bytes", 65_536), ("grpc.http2.bdp_probe", 0)]


def measure(generator: Generator, folder: Path) -> Iterator[Row]:
    """By how much more the server grows than by as many changes without the watcher: caches grow anyway."""
    with podium(folder / "unread") as server, grpc.insecure_channel(server.address, options=SMALL_WINDOW) as channel:
        model = resolve.fill(server.address)[0]
        request = WatchRequest(filters=[WatchFilter(model=model, kinds=[EVENT_KIND_ALIAS])])
        _change(generator, folder, server, model)
        without = _change(generator, folder, server, model)
        stream = RegistryServiceStub(channel).Watch(request)
        next(stream)
        above = _change(generator, folder, server, model) - without
        count = 0
        for message in stream:
            count += len(message.events)
            if count >= CHANGES:
                break
        stream.cancel()
    beside = f"and then it got {count:,}"
    yield alone("watcher that reads nothing for 100,000 changes: memory", "MiB", above, at_most=4, beside=beside)


def _change(generator: Generator, folder: Path, server: Process, model: str) -> float:
    """Moves an alias for each caller to and fro, so that every call is a change; by how many MiB the server grew."""
    before = server.resident_bytes()
    moves = (
        SetAliasRequest(reference=f"{model}:{1 + turn // CALLERS % 2}", alias=f"alias-{turn % CALLERS}") for turn in range(CHANGES)
    )
    bodies = write_bodies(folder / "moves", (move.SerializeToString() for move in moves))
    generator.run(server.address, "SetAlias", bodies, CALLERS, every=True)
    return (server.resident_bytes() - before) / MIB
