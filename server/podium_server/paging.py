"""Pages: keyset tokens, which continue after the last item seen, and replies that fit one message."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import Message

from podium_server.errors import InvalidArgument
from podium_server.limits import check_page_size

MAX_PAGE_BYTES = 3 << 20

Key = tuple[Any, ...]
M = TypeVar("M", bound=Message)


class Page:
    """One page of a list request: `size` items at most, after the item with key `after` (None: from the start).

    A key has one value of each of `types`, which are str or int (0 to 2^63 - 1).
    """

    def __init__(self, request: Message, *types: type) -> None:
        self.size = check_page_size(request.page_size)  # type: ignore[attr-defined]  # every list request has one
        self._of = _fingerprint(request)
        self._types = list(types)
        self.after = self._parse(request.page_token) if request.page_token else None  # type: ignore[attr-defined]

    def cut(self, items: Iterable[tuple[Key, M]]) -> tuple[list[M], str]:
        """Takes what fits of (key, message) pairs, of which there is one more than `size` if there is more; and the next token."""
        taken: list[M] = []
        room = MAX_PAGE_BYTES
        last: Key = ()
        for key, message in items:
            room -= message.ByteSize()
            if taken and (room < 0 or len(taken) == self.size):
                return taken, self._token(last)
            taken.append(message)
            last = key
        return taken, ""

    def _token(self, key: Key) -> str:
        content = self._of + json.dumps(key, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    def _parse(self, token: str) -> Key:
        try:
            content = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            key = tuple(json.loads(content[8:]))
            sound = content[:8] == self._of and self._token(key) == token
        except (binascii.Error, ValueError, TypeError, RecursionError):
            sound = False
        if not sound or [type(value) for value in key] != self._types or not all(map(_can_be, key)):
            raise InvalidArgument("this is not a page token of this request", field="page_token")
        return key


def _can_be(value: Any) -> bool:
    return 0 <= value < 2**63 if isinstance(value, int) else "\0" not in value  # no text of PostgreSQL has that


def _fingerprint(request: Message) -> bytes:
    """What a token belongs to: the kind of request and what it asks for, without where it stands and how much it takes."""
    question = type(request)()
    question.CopyFrom(request)
    for field in ("page_token", "page_size", "at_least"):
        question.ClearField(field)
    content = request.DESCRIPTOR.full_name.encode() + question.SerializeToString(deterministic=True)
    return hashlib.sha256(content).digest()[:8]
