"""What a client has seen: the newest position that any reply had. What it asks next shows at least that, at whichever server."""

import threading
from typing import TypeVar, cast

from google.protobuf.message import Message

from podium.errors import PodiumError
from podium.forks import turns

Request = TypeVar("Request")


class Seen:
    """The newest position, empty before the first. Positions of one history sort as strings, whichever reply comes first."""

    def __init__(self) -> None:
        self.newest = ""
        self._lock = threading.Lock()  # taken only while forks are held back: a child would never get it

    def saw(self, message: object) -> None:
        """Within `turns.calling`: remembers the position of a message, if it has one."""
        position = getattr(message, "position", "")
        if position > self.newest:
            with self._lock:
                self.newest = max(self.newest, position)

    def forget(self, position: str) -> None:
        """Remembers nothing, unless that is another position by now."""
        with turns.calling(), self._lock:
            if self.newest == position:
                self.newest = ""

    def asked_for(self, request: Request) -> tuple[Request, str]:
        """The request with `at_least`, and what that is; as it is, and empty, if it has none or its caller says one."""
        position = self.newest
        if not position or getattr(request, "at_least", None) != "":
            return request, ""
        showing = type(request)()
        cast("Message", showing).CopyFrom(cast("Message", request))
        showing.at_least = position  # type: ignore[attr-defined]  # it has one
        return showing, position


def is_unknown(error: PodiumError) -> bool:
    """Whether the server does not know the position that it was asked for: history was cut, or it is another registry's."""
    return error.reason == "POSITION_UNKNOWN" or "at_least" in error.fields
