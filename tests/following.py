"""What the tests of watching and following share: registries with versions, a relay with more faults, and patience."""

import re
import shutil
import signal
import socket
import threading
from contextlib import contextmanager, suppress

import podium
import pytest
from relay import PIECE_BYTES, Relay, shut

SECONDS = 60  # after which a test that hangs fails
HEARTBEAT = ("--heartbeat", "0.3")


def name_of(request):
    """A model's name for one test."""
    return "follow/" + re.sub("[^A-Za-z0-9._-]+", ".", request.node.name)[:100].rstrip(".")


def push(registry, model, tmp_path, count=1, *, content=None, **values):
    """Registers versions of which each has a file `n` that says its number, and `content`."""
    for _ in range(count):
        number = sum(1 for _ in registry.versions(model)) + 1 if has_model(registry, model) else 1
        folder = tmp_path / "pushed"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "n").write_text(f"{model} {number}")
        if content is not None:
            (folder / "content").write_bytes(content)
        registry.push(model, folder, lifecycle="permissive", **values)


def has_model(registry, model):
    with suppress(podium.NotFound):
        return bool(registry.model(model))
    return False


def reaches(follower, wanted):
    """Waits until a follower has a version (a number), a state, or whatever a function says."""
    is_it = (lambda one: one.current.number == wanted) if type(wanted) is int else wanted
    assert follower.wait_for(is_it, SECONDS), (wanted, follower.state, follower.problem, follower.current)


def says(current):
    """What the file of a version says."""
    return (current.path / "n").read_text().split()[-1]


@contextmanager
def interrupted():
    """The block ends by Ctrl-C, of which another thread is told: as if it came right before the main thread waits."""
    assert threading.current_thread() is threading.main_thread()
    killer = threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT))
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        yield
    killer.join()


def copy_data(server, copy):
    """Keeps the data of a server that has stopped."""
    shutil.copytree(server.data, copy)
    if not server.database.is_in_folder:
        server.database.back_up(copy)


def remove_data(server):
    """A server that has stopped begins anew."""
    shutil.rmtree(server.data)
    if not server.database.is_in_folder:
        server.database.clear()


def replace_data(server, copy):
    """The data of a server that has stopped becomes what was kept of it earlier."""
    shutil.rmtree(server.data)
    shutil.copytree(copy, server.data)
    if not server.database.is_in_folder:
        server.database.replace(copy)


def start_again(server, relay):
    """Starts a server that has stopped; who connects to the relay finds it."""
    server.start()
    relay.lead_to(server.address)


class FaultyRelay(Relay):
    """A relay that can also fail without a word. `connections` counts those that were made."""

    def __init__(self, server):
        self.connections = 0
        self._dead: set[socket.socket] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._made = threading.Condition()
        super().__init__(server)

    def lead_to(self, server):
        host, _, port = server.rpartition(":")
        self.server = (host, int(port))

    def stall(self):
        """Nothing passes on the connections that there are now, and nobody is told."""
        with self._lock:
            self._dead.update(self._ends)

    def freeze(self):
        """Nothing passes on any connection, also a new one, until `thaw`: then all that waited does."""
        self._flows.clear()

    def thaw(self):
        self._flows.set()

    def half_close(self):
        """Both ends of each connection read that the other will send no more; they may go on sending."""
        with self._lock:
            ends, self._ends = self._ends, []
        for end in ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_WR)

    def wait_for_connections(self, count):
        with self._made:
            assert self._made.wait_for(lambda: self.connections >= count, SECONDS)

    def _connect(self, client):
        with self._made:
            self.connections += 1
            self._made.notify_all()
        super()._connect(client)

    def _pass_on(self, source, target, way):
        with suppress(OSError):
            target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while piece := source.recv(PIECE_BYTES):
                self._flows.wait()
                if source in self._dead:
                    continue
                if self._count(way, len(piece)):
                    self.when_cut()
                    self.cut()
                else:
                    target.sendall(piece)
        shut(source)
        shut(target)
