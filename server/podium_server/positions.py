"""Positions: a revision and the random nonce stored with it, as one opaque string of 22 characters.

The nonce tells two histories apart that have the same revision, as a restored backup and what it replaced do.
"""

import base64
import binascii
import struct
from typing import NamedTuple

from podium_server.errors import InvalidArgument

_LAYOUT = struct.Struct(">Q8s")


class Position(NamedTuple):
    """A place in one history: after `revision` (0: before the first), which has this 8-byte nonce."""

    revision: int
    nonce: bytes

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(_LAYOUT.pack(self.revision, self.nonce)).rstrip(b"=").decode()


def parse_position(text: str, field: str = "at_least") -> Position:
    """Parses what `str` of a Position gave."""
    try:
        position = Position(*_LAYOUT.unpack(base64.b64decode(text + "==", altchars=b"-_", validate=True)))
    except (binascii.Error, struct.error, ValueError):
        position = None
    if position is None or str(position) != text or position.revision >= 2**63:
        raise InvalidArgument(f"{text[:80]!r} is not a position", field=field)
    return position
