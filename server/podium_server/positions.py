"""Positions: a revision and the random nonce stored with it, as one opaque string of 32 characters.

The nonce tells two histories apart that have the same revision, as a restored backup and what it replaced do. Hex digits sort as
the revisions do: so a client whose replies overtake each other can tell which position is the newer one.
"""

import struct
from typing import NamedTuple

from podium_server.errors import InvalidArgument

_LAYOUT = struct.Struct(">Q8s")


class Position(NamedTuple):
    """A place in one history: after `revision` (0: before the first), which has this 8-byte nonce."""

    revision: int
    nonce: bytes

    def __str__(self) -> str:
        return _LAYOUT.pack(self.revision, self.nonce).hex()


def parse_position(text: str, field: str = "at_least") -> Position:
    """Parses what `str` of a Position gave."""
    try:
        position = Position(*_LAYOUT.unpack(bytes.fromhex(text)))
    except (struct.error, ValueError):
        position = None
    if position is None or str(position) != text or position.revision >= 2**63:
        raise InvalidArgument(f"{text[:80]!r} is not a position", field=field)
    return position
