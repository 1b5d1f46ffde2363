"""Processes that run beside a test, and are waited for by what they print."""

import os
import queue
import signal
import subprocess
import threading
from contextlib import suppress

PATIENCE_SECONDS = 60


class Process:
    """A process whose lines are read as they come: `line` is the next of stdout, `error` the next of stderr."""

    def __init__(self, command, **options):
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        streams["env"] = {**(options.get("env") or os.environ), "PYTHONFAULTHANDLER": "1"}
        self.popen = subprocess.Popen([str(part) for part in command], text=True, encoding="utf-8", **streams)
        self.pid = self.popen.pid
        self._out, self._err = queue.Queue(), queue.Queue()
        self._readers = [
            threading.Thread(target=_read, args=(stream, lines), daemon=True)
            for stream, lines in ((self.popen.stdout, self._out), (self.popen.stderr, self._err))
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with suppress(ProcessLookupError):
            self.popen.kill()
        self.popen.wait()
        self._join()

    def line(self):
        return self._next(self._out)

    def error(self):
        return self._next(self._err)

    def wait(self):
        """The exit code, once it has ended."""
        try:
            code = self.popen.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)  # where Python says where its threads are
            self.popen.wait(PATIENCE_SECONDS)
            self._join()
            raise AssertionError("it does not end:\n" + "\n".join(self.rest()[1])) from None
        self._join()
        return code

    def end(self, number=signal.SIGTERM):
        """The exit code after this signal."""
        self.popen.send_signal(number)
        return self.wait()

    def rest(self):
        """What was printed and not read yet, of stdout and stderr, by a process that has ended."""
        return tuple([line for line in iter(lines.get_nowait, None) if line] for lines in (self._out, self._err))

    def _join(self):
        for reader in self._readers:
            reader.join(PATIENCE_SECONDS)

    def _next(self, lines):
        try:
            line = lines.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            raise AssertionError("it says nothing") from None
        if line is None:
            lines.put(None)  # for the next who asks
            raise AssertionError(f"it has ended: {self.popen.poll()}, {self.rest()}")
        return line


def _read(stream, lines):
    if stream is not None:
        with stream:
            for line in stream:
                lines.put(line.removesuffix("\n"))
    lines.put(None)
