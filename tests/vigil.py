"""Clients change a registry while watches of it are cut and its two servers are killed and stopped, and its database is replaced by
older copies of itself; then what each watch was told is compared with the log.

`python tests/vigil.py [SECONDS] [SEED]`; the tests run the short form. Each round begins with a new registry.
"""

import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import grpc
from conftest import Refusal, RunningServer
from podium.v1.events_pb2 import Event
from relay import Relay
from replay import read_events
from watched import ALIASES, CHOICES, MODELS, STAGES, compare
from watcher import SECONDS, Watcher
from wire import request_of

HEARTBEAT = 0.25
ROUND_SECONDS = 20.0


class Vigil:
    """One registry from its start to its end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.data = folder / "data"
        self.servers = [RunningServer(self.data, "--heartbeat", str(HEARTBEAT), "--grace", "1") for _ in range(2)]
        self.histories: list[list[Event]] = []
        self.relays = [Relay(self.servers[place % 2].address) for place in range(3)]
        self.watchers: list[Watcher] = []
        self.faults = self.changes = 0
        self.running = threading.Event()
        self.closing = threading.Event()
        self.over = threading.Event()
        self.failures: list[Exception] = []
        self.changing = [threading.Lock() for _ in range(3)]

    def run(self, seconds: float) -> None:
        """Some life with faults, and then the reckoning."""
        try:
            for model in MODELS:
                self.servers[0].stub.CreateModel(request_of("CreateModel", name=model, lifecycle="permissive"))
                self.servers[0].stub.RegisterVersion(request_of("RegisterVersion", model=model))
            self.back_up()
            for place, choice in enumerate(CHOICES * 2):
                self.watchers.append(Watcher([self.relays[place % 3]], choice, self.random.random(), HEARTBEAT))
            clients = [threading.Thread(target=self.work, args=(self.random.random(), lock), daemon=True) for lock in self.changing]
            keeper = threading.Thread(target=self.keep, daemon=True)
            self.running.set()
            for thread in (*self.watchers, *clients, keeper):
                thread.start()
            self.suffer(seconds)
            self.closing.set()
            for client in clients:
                client.join(SECONDS)
            self.reckon()
        finally:
            self.end()
        assert "Traceback" not in self.servers[0].output()  # of both

    def suffer(self, seconds: float) -> None:
        """One fault after the other."""
        faults = [self.cut, self.cut, self.cut_later, self.kill, self.restart, self.stall, self.replace_under, self.replace]
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.failures:
            self.await_changes(self.random.choice([5, 50, 200]))
            self.random.choice(faults)()
            self.faults += 1
        if self.failures:
            raise self.failures[0]

    def await_changes(self, count: int) -> None:
        wanted = self.changes + count
        end = time.monotonic() + SECONDS
        while self.changes < wanted and not self.failures:
            assert time.monotonic() < end, "the clients stand still"
            self.closing.wait(0.005)

    # Faults.

    def cut(self) -> None:
        self.random.choice(self.relays).cut()

    def cut_later(self) -> None:
        self.random.choice(self.relays).cut_after(down=self.random.randint(1, 20_000))

    def kill(self) -> None:
        server = self.random.choice(self.servers)
        server.kill()
        self.start(server)

    def restart(self) -> None:
        server = self.random.choice(self.servers)
        server.stop()
        self.start(server)

    def stall(self) -> None:
        server = self.random.choice(self.servers)
        server.process.send_signal(signal.SIGSTOP)
        self.closing.wait(self.random.choice([0.1, 4 * HEARTBEAT + 0.5]))
        server.process.send_signal(signal.SIGCONT)

    def replace_under(self) -> None:
        """The database falls back to an older state of itself while the servers run."""
        self.still()
        self.read_history()
        self.servers[0].database.restore(self.folder / "older")
        if self.random.random() < 0.5:
            self.back_up()
        self.running.set()

    def replace(self) -> None:
        """The same between two lives of the servers."""
        self.still()
        self.read_history()
        for server in self.servers:
            server.kill()
        self.servers[0].database.replace(self.folder / "older")
        for server in self.servers:
            self.start(server)
        self.running.set()

    def still(self) -> None:
        """No client changes anything any more."""
        self.running.clear()
        for lock in self.changing:
            with lock:  # what was under way has been answered
                pass

    def back_up(self) -> None:
        self.servers[0].database.back_up(self.folder / "older")

    def read_history(self) -> None:
        """What happened so far, before the end of it is cut, or at the end."""
        self.histories.append(read_events(self.servers[0].stub))

    def start(self, server: RunningServer) -> None:
        server.start()
        host, _, port = server.address.rpartition(":")
        for place, relay in enumerate(self.relays):
            if self.servers[place % 2] is server:
                relay.server = (host, int(port))
                relay.cut()

    # Threads.

    def work(self, seed: float, lock: threading.Lock) -> None:
        """A client that changes things until the end; whoever has its lock has it wait."""
        choice = random.Random(seed)
        while not self.closing.is_set():
            self.running.wait(1)
            with lock:
                if self.running.is_set():
                    try:
                        self.change(choice)
                    except grpc.RpcError as error:
                        self.judge(error)
                    except ValueError:  # the channel of a server that was ended
                        pass

    def judge(self, error: grpc.RpcError) -> None:
        reason = Refusal(error).reason
        gone = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        if not gone and reason not in ("ALIAS_NOT_FOUND", "TOO_MANY"):
            self.failures.append(error)

    def change(self, choice: random.Random) -> None:
        model, alias, stage = choice.choice(MODELS), choice.choice(ALIASES), choice.choice(STAGES)
        stub, kind = choice.choice(self.servers).stub, choice.randrange(12)
        method, fields = "SetAlias", {"reference": f"{model}:{choice.choice(['1', '1', '2'])}", "alias": alias}
        if kind == 0:
            method, fields = "RegisterVersion", {"model": model, "record": {"author": str(choice.random())}, "aliases": [alias]}
        elif kind == 1:
            method, fields = "DeleteAlias", {"model": model, "alias": alias}
        elif kind < 4:
            method, fields = "TransitionStage", {"reference": f"{model}:1", "stage": stage}
        elif kind == 4:
            method, fields = "AddNote", {"reference": f"{model}:1", "text": "a note"}
        elif fields["reference"].endswith("2"):
            fields["reference"] = f"{model}@latest"
        getattr(stub, method)(request_of(method, **fields), timeout=SECONDS)
        self.changes += 1

    def keep(self) -> None:
        """Ends dead streams."""
        while not self.over.wait(HEARTBEAT):
            for watcher in self.watchers:
                watcher.cancel_if_dead()

    # The reckoning.

    def reckon(self) -> None:
        """Every watch comes to the end of the log, and was told what is in it, and nothing else."""
        last = self.servers[0].stub.SetAlias(request_of("SetAlias", reference=f"{MODELS[0]}:1", alias="the-end")).position
        for watcher in self.watchers:
            watcher.wait_for(last)
        self.read_history()
        for watcher in self.watchers:
            watcher.close()
            compare(watcher, self.histories)

    def end(self) -> None:
        self.closing.set()
        self.running.set()
        for server in self.servers:
            server.process.send_signal(signal.SIGCONT)
        for watcher in self.watchers:
            watcher.close()
        self.over.set()
        for relay in self.relays:
            relay.close()
        for server in self.servers:
            if server.process.returncode is None:
                server.stop()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(1_000_000)
    print(f"keeping watch over registries that suffer for {seconds:g} s, seed {seed}", flush=True)
    end, streams, events, faults, rounds = time.monotonic() + seconds, 0, 0, 0, 0
    while (left := end - time.monotonic()) > 0:
        with tempfile.TemporaryDirectory(prefix="podium-vigil-") as folder:
            vigil = Vigil(Path(folder), seed + rounds)
            vigil.run(min(left, ROUND_SECONDS))
        rounds += 1
        faults += vigil.faults
        streams += sum(watcher.streams for watcher in vigil.watchers)
        events += sum(len(segment.events) for watcher in vigil.watchers for segment in watcher.segments)
        if sys.stdout.isatty():
            print(f"\r{rounds} rounds, {faults} faults, {streams} streams, {events} events", end="", flush=True)
    print(f"\r{rounds} rounds, {faults} faults, {streams} streams, {events} events")
    print("nothing was lost, doubled, out of order or of two histories")


if __name__ == "__main__":
    main()
