"""Threads that work in the context of whoever hands them something: what they log and trace belongs to the call that asked."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")


class Threads(ThreadPoolExecutor):
    """So many threads, with a name. asyncio hands work to an executor without the context, other than `asyncio.to_thread`."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See Executor.submit."""
        return super().submit(copy_context().run, fn, *args, **kwargs)
