"""Tells how far long work is: to a callable, or as bars in a terminal or a notebook."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import rich.progress

Report = Callable[[str, int, int], None]
"""Called with the stage (hashing, uploading, downloading or copying), the bytes done and the bytes in all."""

WORTH_A_BAR = 32 << 20  # bytes; less is done before anybody has read the bar


class Meter:
    """Adds up the bytes of one stage, from all threads."""

    def __init__(self, report: Report, stage: str, total: int) -> None:
        self._report, self._stage, self._total = report, stage, total
        self.done = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """So many bytes are done."""
        with self._lock:
            self.done += count
            self._report(self._stage, self.done, self._total)

    def expect(self, count: int) -> None:
        """So many bytes more are to be done."""
        with self._lock:
            self._total += count


@contextmanager
def reporting(progress: "bool | Report | None") -> Iterator[Report]:
    """What `progress=` means: a callable gets the reports; else bars are shown, unless it is False or nobody sees them."""
    if callable(progress):
        yield _in_turn(progress)
    elif progress is False or not _somebody_looks():
        yield lambda _stage, _done, _total: None
    else:
        bars = _Bars()
        try:
            yield _in_turn(bars.show)
        finally:
            bars.close()


def _in_turn(report: Report) -> Report:
    """Reports of several stages come from several threads, but one at a time."""
    lock = threading.Lock()

    def tell(stage: str, done: int, total: int) -> None:
        with lock:
            report(stage, done, total)

    return tell


class _Bars:
    """A bar for each stage that has enough to do."""

    def __init__(self) -> None:
        self._progress: rich.progress.Progress | None = None
        self._tasks: dict[str, rich.progress.TaskID] = {}

    def show(self, stage: str, done: int, total: int) -> None:
        if total < WORTH_A_BAR:
            return
        if self._progress is None:
            self._progress = _start_progress()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage)
        self._progress.update(self._tasks[stage], completed=done, total=total)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def _start_progress() -> "rich.progress.Progress":
    # Most calls show nothing, and these take longer to import than such a call takes.
    from rich import progress as bars  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415

    shown = bars.Progress(
        bars.TextColumn("{task.description:11}"),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    shown.start()
    return shown


def _somebody_looks() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules
