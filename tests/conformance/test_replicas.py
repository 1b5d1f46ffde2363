"""Two servers of one registry that are given as a list: whatever becomes of one of them, no operation of any client fails."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count, pairwise
from pathlib import Path
from threading import Event

import apsw
import pytest
from following import HEARTBEAT, SECONDS
from free_ports import free_port
from streams import MIB, until

from conformance.content import manifest_digest
from conformance.languages import LANGUAGES

ROUNDS = 2  # that each client has done in peace, and after each fault
QUESTIONS = 10  # from one look at a watch to the next
ESTABLISHED = "01"


class Worker:
    """A driver whose work is done again and again in a thread, until `end`. `done` is how often it was."""

    def __init__(self, threads, driver, work, *arguments):
        self.driver = driver
        self.done = 0
        self._stop = Event()
        self._running = threads.submit(self._run, work(driver, *arguments))

    def _run(self, work):
        for has_come_further in work:
            self.done += has_come_further
            if self._stop.is_set():
                return

    def goes_on(self, before):
        """Whether it has done enough since; raises what ended it."""
        if self._running.done():
            self._running.result()
        return self.done >= before + ROUNDS

    def end(self):
        self._stop.set()
        self._running.result(SECONDS)


def ask(driver, verb, **arguments):
    answer = driver.ask(do=verb, **arguments)
    assert "ok" in answer, (driver.language, verb, answer)
    return answer["ok"]


def publish(driver, folder, numbers):
    """Registers versions of `m` that become champion, each of which the same client sees at once."""
    folder.mkdir()
    for number in count():
        (folder / "n").write_text(str(number))
        pushed = ask(driver, "push", model="m", path=str(folder), aliases=["champion"])
        assert ask(driver, "resolve", reference="m@champion")["number"] == pushed["number"]
        numbers.append(pushed["number"])
        yield True


def carry(driver, folder):
    """Sends files there and fetches them."""
    folder.mkdir()
    while True:
        (folder / "content").write_bytes(os.urandom(8 * MIB))
        pushed = ask(driver, "push", model="large", path=str(folder))
        path = ask(driver, "pull", reference=f"large:{pushed['number']}")["path"]
        assert manifest_digest(path) == manifest_digest(folder)
        yield True


def watch(driver, steps):
    """Reads what champion means by a watch, a follower and questions, none of which goes back behind the others."""
    ask(driver, "watch", handle="w", references=["m@champion"])
    steps.append(ask(driver, "next", handle="w", seconds=SECONDS))
    ask(driver, "follow", handle="f", reference="m@champion")
    newest = seen(steps)[-1]
    while True:
        step = ask(driver, "next", handle="w", seconds=0.01)
        has_come_further = "timeout" not in step
        if has_come_further:
            steps.append(step)
            newest = max(newest, *seen([step]))
        for _ in range(QUESTIONS):
            number = ask(driver, "resolve", reference="m@champion")["number"]
            assert number >= newest
            newest = number
        yield has_come_further


def seen(steps):
    """The numbers that a watch said, in its order."""
    said = [one for step in steps for one in (step.get("snapshot") or step["changes"])]
    return [one["number"] if "number" in one else one["after"] for one in said]


class Load:
    """Three clients of a language at work, and what they did."""

    def __init__(self, threads, drivers, folder):
        self.numbers, self.steps = [], []
        publisher, carrier, watcher = drivers
        self._workers = [Worker(threads, publisher, publish, folder / "m", self.numbers)]
        until(lambda: self._workers[0].goes_on(0))
        self._workers.append(Worker(threads, carrier, carry, folder / "large"))
        self._workers.append(Worker(threads, watcher, watch, self.steps))

    def goes_on(self):
        """Returns when each client has done more than was under way."""
        before = [worker.done for worker in self._workers]
        until(lambda: not [worker for worker, done in zip(self._workers, before, strict=True) if not worker.goes_on(done)])

    def end(self):
        """Ends the work; then what was seen of champion must be what was done to it, each once and in order."""
        *others, watcher = self._workers
        for worker in others:
            worker.end()
        watcher.end()
        last = self.numbers[-1]
        assert self.numbers == list(range(1, last + 1))
        reached = ask(watcher.driver, "wait", handle="f", seconds=SECONDS, state="connected", number=last)
        assert "timeout" not in reached, reached
        while seen(self.steps)[-1] != last:
            self.steps.append(ask(watcher.driver, "next", handle="w", seconds=SECONDS))
        assert all(one + 1 == other for one, other in pairwise(seen(self.steps))), seen(self.steps)


@pytest.fixture
def replicas(start_server):
    """Two servers over one folder, each of which comes back at its address."""
    options = [("--listen", f"127.0.0.1:{free_port()}", *HEARTBEAT) for _ in range(2)]
    both = [start_server(*one) for one in options]
    yield both
    assert "Traceback" not in both[0].output()


@pytest.fixture
def load(request, languages, replicas, tmp_path):
    """The clients of one language at work; in the end, nothing of what they did has failed."""
    drivers = [languages.start(request.getfixturevalue("language")) for _ in range(3)]
    url = ",".join(server.address for server in replicas)
    with ThreadPoolExecutor(len(drivers)) as threads:
        try:
            for driver in drivers:
                ask(driver, "connect", url=url, cache=str(tmp_path / "cache"))
            load = Load(threads, drivers, tmp_path)
            load.goes_on()
            yield load
            load.end()
            for driver in drivers:
                driver.end()
        finally:
            for driver in drivers:
                driver.kill()


def connections(server):
    """How many connections a server has: as the kernel says, so nobody has to be asked."""
    port = f":{int(server.address.rpartition(':')[2]):04X}"
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    return sum(row[1].endswith(port) and row[3] == ESTABLISHED for row in rows)


@contextmanager
def nobody_writes(server):
    """A process that stands still amid a transaction would hold the lock of SQLite, whatever clients do; PostgreSQL cuts it off."""
    if not server.database.is_in_folder:
        yield
        return
    with closing(apsw.Connection(str(server.database.path))) as connection:
        connection.set_busy_timeout(SECONDS * 1000)
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def in_turn(replicas, load, fault, mend):
    """Does this to one server and then to the other, while the clients are at work and have the other one to turn to."""
    for server in replicas:
        until(lambda: all(connections(one) >= 3 for one in replicas))
        fault(server)
        load.goes_on()
        mend(server)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_operation_fails_when_one_server_is_killed(replicas, load, language):
    in_turn(replicas, load, lambda server: server.kill(), lambda server: server.start())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_operation_fails_in_a_rolling_restart(replicas, load, language):
    in_turn(replicas, load, lambda server: server.stop(), lambda server: server.start())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_operation_fails_when_one_server_stands_still(replicas, load, language):
    def stop(server):
        with nobody_writes(server):
            server.process.send_signal(signal.SIGSTOP)

    in_turn(replicas, load, stop, lambda server: server.process.send_signal(signal.SIGCONT))
