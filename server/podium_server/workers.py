"""Several servers behind one port, for all cores of a machine: a parent that starts them, and starts again who dies.

Each is a program of its own, for gRPC and fork do not go together. Its settings come by a pipe, since `ps` would show them on its
command line; and once the pipe ends it drains, be it that the parent was told to stop, or that it was killed.
"""

import asyncio
import logging
import pickle
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import click

from podium_server.ports import reserved
from podium_server.settings import Settings

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.1
MAX_AGAIN_SECONDS = 5.0

# Without -P, a file of the folder that this happens to run in could take a library's place.
_COMMAND = (sys.executable, "-P", "-m", "podium_server", "worker")


def announce(line: str) -> None:
    """Says on stdout that all is ready, to whoever waits for it; or who started this process has gone, which is no fault."""
    try:
        click.echo(line)
    except BrokenPipeError:
        sys.stdout = None  # otherwise Python tries once more at the end


# The parent.


async def supervise(settings: Settings) -> int:
    """Keeps the workers running until SIGTERM or SIGINT, or until none can start; the worst of their exit codes."""
    with reserved(settings.listen) as listen:
        workers = Workers(replace(settings, listen=listen))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, workers.stop)
        await asyncio.gather(*(workers.keep(number) for number in range(1, settings.workers + 1)))
    return workers.worst


class Workers:
    """The children of this process. `worst` is the worst exit code of those that were told to stop."""

    def __init__(self, settings: Settings) -> None:
        self.worst = 0
        self._settings = settings
        self._stopping = asyncio.Event()
        self._running: dict[int, Process] = {}
        self._serving: set[int] = set()
        self._is_ready = False

    def stop(self) -> None:
        """Lets all drain at once."""
        self._stopping.set()
        for process in self._running.values():
            assert process.stdin is not None
            process.stdin.close()

    async def keep(self, number: int) -> None:
        """Runs a worker, and again whenever it has ended, until all stop."""
        pause = AGAIN_SECONDS
        while not self._stopping.is_set():
            code, served = await self._run(number)
            if self._stopping.is_set() or (code > 0 and not served and not self._serving):
                self._end(code)
                return
            pause = AGAIN_SECONDS if served else min(2 * pause, MAX_AGAIN_SECONDS)
            log.error("worker %d ended %s, and is started again in %g s", number, _told(code), pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    def _end(self, code: int) -> None:
        """What one worker cannot none can, unless others serve: all end, as a server by itself does. An operator sees that."""
        self.worst = max(self.worst, 128 - code if code < 0 else code)
        self.stop()

    async def _run(self, number: int) -> tuple[int, bool]:
        """Runs a worker once: its exit code, and whether it came as far as to serve."""
        process = await self._start(number)
        if process is None:
            return 1, False
        self._running[number] = process
        if self._stopping.is_set():
            self.stop()
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line:
            self._serves(number, process.pid, line.decode())
        code = await process.wait()
        del self._running[number]
        self._serving.discard(number)
        return code, bool(line)

    async def _start(self, number: int) -> Process | None:
        try:
            # In a group of its own: Ctrl-C in a terminal is for the parent alone.
            process = await asyncio.create_subprocess_exec(*_COMMAND, str(number), stdin=PIPE, stdout=PIPE, process_group=0)
        except OSError as error:
            log.error("worker %d cannot be started: %s", number, error.strerror)  # noqa: TRY400
            return None
        assert process.stdin is not None
        process.stdin.write(pickle.dumps((self._settings, bool(self._serving))))
        return process

    def _serves(self, number: int, pid: int, line: str) -> None:
        log.info("worker %d serves: process %d", number, pid)
        self._serving.add(number)
        if not self._is_ready and len(self._serving) == self._settings.workers:
            self._is_ready = True
            announce(line.rstrip())


def _told(code: int) -> str:
    return f"by signal {-code}" if code < 0 else f"with code {code}"


# A worker.


def is_worker() -> bool:
    """Whether this process was started to be one."""
    return sys.argv[1:2] == [_COMMAND[-1]]


def told() -> tuple[Settings, int, bool]:
    """The settings of this worker, its number, and whether others serve already."""
    try:
        settings, others_serve = pickle.load(sys.stdin.buffer)  # noqa: S301  the parent's
        return settings, int(sys.argv[2]), others_serve
    except EOFError:  # it has ended already
        raise SystemExit from None


def when_parent_ends(stop: Callable[[], None]) -> None:
    """Calls this once the parent wants this worker to stop, or has gone."""
    loop = asyncio.get_running_loop()

    def ended() -> None:
        loop.remove_reader(sys.stdin)
        stop()

    loop.add_reader(sys.stdin, ended)
