"""What a test does while a server is, for a moment, without its database."""

from collections.abc import Callable

import grpc
from conftest import Refusal
from streams import until

SECONDS = 60


def is_away(call: grpc.Future) -> bool:
    """Whether a call, or its error, was refused because the server is without its database."""
    return bool(call.exception(SECONDS)) and Refusal(call).reason == "STORAGE_UNAVAILABLE"


def patiently(call: Callable[[], object]):
    """Makes a call again for as long as it is refused so; what it returns."""
    answers: list[object] = []

    def is_answered() -> bool:
        try:
            answers.append(call())
        except grpc.RpcError as error:
            assert is_away(error)
        return bool(answers)

    until(is_answered)
    return answers[0]
