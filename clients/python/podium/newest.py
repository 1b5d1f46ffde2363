"""A value that is replaced now and then, for those who wait for the next one in a thread or on an event loop."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Generic, Self, TypeVar, cast

from podium.waiting import wait_for

Value = TypeVar("Value")


class Newest(Generic[Value]):
    """The newest value, once there is one, until `close`."""

    def __init__(self) -> None:
        self._turn = 0
        self._value: Value | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._wakes: set[Callable[[], None]] = set()

    def begin_again(self, value: Value) -> None:
        """In a forked child, with the value that it has: what other threads held or did is void."""
        self._changed = threading.Condition()
        self._wakes = set()
        self.put(value, tell=value is not self._value)

    def put(self, value: Value, *, tell: bool = True) -> None:
        """Replaces the value; unless `tell`, only those who have not had this one yet see that."""
        with self._changed:
            self._value = value
            self._turn += tell
            self._wake()

    def close(self) -> None:
        """There will be no other."""
        with self._changed:
            self._closed = True
            self._wake()

    def values(self) -> "Values[Value]":
        """The value now, then each that replaces it."""
        return Values(self)

    def wait(self, seen: int) -> tuple[int, Value]:
        """The turn and value after the turn that was seen; StopIteration at the end."""
        with self._changed:
            wait_for(self._changed, lambda: self._closed or self._turn > seen)
            if self._closed:
                raise StopIteration
            return self._turn, cast("Value", self._value)

    async def wait_async(self, seen: int) -> tuple[int, Value]:
        """The same on an event loop, of which no thread waits; StopAsyncIteration at the end."""
        loop = asyncio.get_running_loop()
        while True:
            woken = asyncio.Event()
            wake = partial(_call_soon, loop, woken.set)
            with self._changed:
                if self._closed:
                    raise StopAsyncIteration
                if self._turn > seen:
                    return self._turn, cast("Value", self._value)
                self._wakes.add(wake)
            try:
                await woken.wait()
            finally:
                with self._changed:
                    self._wakes.discard(wake)

    def _wake(self) -> None:
        self._changed.notify_all()
        for wake in self._wakes:
            wake()


class Values(Generic[Value]):
    """An iterator for `for` and `async for`: a slow reader gets the newest value, and none that was replaced meanwhile."""

    def __init__(self, newest: Newest[Value]) -> None:
        self._newest = newest
        self._seen = 0

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Value:
        self._seen, value = self._newest.wait(self._seen)
        return value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Value:
        self._seen, value = await self._newest.wait_async(self._seen)
        return value


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
        loop.call_soon_threadsafe(call)
