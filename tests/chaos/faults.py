"""What goes wrong: each fault is a block, in which it holds, and after which it is over but for what came of it."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from clocks import HOURS, wrong_clock
from following import FaultyRelay

from chaos.cluster import Cluster, Replica
from chaos.load import Load


class Scene:
    """Where faults happen: the cluster, its clients, and the dice."""

    def __init__(self, cluster: Cluster, load: Load, choice: random.Random, longest: float) -> None:
        self.cluster, self.load, self.random, self.longest = cluster, load, choice, longest
        self.is_one = True  # no other fault holds at the same time

    @property
    def replica(self) -> Replica:
        return self.random.choice(self.cluster.replicas)

    def last(self) -> None:
        """The fault lasts: a moment, or so long that timeouts and leases run out."""
        self.load.closing.wait(self.longest * self.random.choice([0.02, 0.1, 0.4, 1]))

    def go_on(self, count: int = 10) -> None:
        """The clients do, by way of what still works, if anything is sure to."""
        if self.is_one:
            self.load.await_answers(count)


Fault = Callable[[Scene], AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {}
CUTS: dict[str, Fault] = {}


def fault(name: str, faults: dict[str, Fault] = FAULTS) -> Callable[[Callable[[Scene], Iterator[None]]], Fault]:
    """Adds a fault to the table, under the name by which it is counted."""

    def add(happen: Callable[[Scene], Iterator[None]]) -> Fault:
        faults[name] = contextmanager(happen)
        return faults[name]

    return add


# Replicas: as long as one works, the clients go on.


@fault("replica: kill -9")
def kill_replica(scene: Scene) -> Iterator[None]:
    replica = scene.replica
    replica.server.kill()
    scene.go_on()
    yield
    replica.start()


@fault("replica: SIGSTOP")
def stop_replica(scene: Scene) -> Iterator[None]:
    process = scene.replica.server.process
    process.send_signal(signal.SIGSTOP)
    scene.go_on()
    yield
    process.send_signal(signal.SIGCONT)


@fault("replica: restart")
def restart_replica(scene: Scene) -> Iterator[None]:
    replica = scene.replica
    replica.server.stop()
    scene.go_on()
    yield
    replica.start()


@fault("replica: restart with a clock an hour wrong")
def set_clock(scene: Scene) -> Iterator[None]:
    replica = scene.replica
    server, right = replica.server, replica.server.environment
    for environment in ({**right, **wrong_clock(scene.random.choice(HOURS))}, right):
        server.kill()
        server.environment = environment
        replica.start()
        if environment is not right:
            scene.go_on(30)
            yield


@fault("replicas: kill -9 of both at once")
def kill_replicas(scene: Scene) -> Iterator[None]:
    for replica in scene.cluster.replicas:
        replica.server.kill()
    yield
    for replica in scene.cluster.replicas:
        replica.start()


# PostgreSQL and the bucket.


@fault("PostgreSQL: kill -9")
def kill_postgres(scene: Scene) -> Iterator[None]:
    scene.cluster.postgres.kill()
    yield
    scene.cluster.postgres.start()


@fault("PostgreSQL: SIGSTOP")
def stop_postgres(scene: Scene) -> Iterator[None]:
    scene.cluster.postgres.pause()
    yield
    scene.cluster.postgres.go_on()


@fault("PostgreSQL: restart")
def restart_postgres(scene: Scene) -> Iterator[None]:
    scene.cluster.postgres.end()
    yield
    scene.cluster.postgres.start()


@fault("PostgreSQL: kill -9 of one of its processes")
def kill_backend(scene: Scene) -> Iterator[None]:
    os.kill(scene.random.choice(scene.cluster.postgres.children()), signal.SIGKILL)
    yield


@fault("bucket: kill -9")
def kill_bucket(scene: Scene) -> Iterator[None]:
    scene.cluster.bucket.kill()
    yield
    scene.cluster.bucket.start()


@fault("bucket: SIGSTOP")
def stop_bucket(scene: Scene) -> Iterator[None]:
    process = scene.cluster.bucket.process.popen
    process.send_signal(signal.SIGSTOP)
    yield
    process.send_signal(signal.SIGCONT)


# Connections.

BETWEEN: dict[str, Callable[[Replica], FaultyRelay]] = {
    "clients - replica": lambda replica: replica.relay,
    "replica - PostgreSQL": lambda replica: replica.to_postgres,
    "replica - bucket": lambda replica: replica.to_bucket,
}


def add_faults_between(where: str, relay_of: Callable[[Replica], FaultyRelay]) -> None:
    @fault(f"{where}: cut")
    def cut(scene: Scene) -> Iterator[None]:
        relay_of(scene.replica).cut()
        yield

    @fault(f"{where}: cut in the middle of a message")
    def cut_later(scene: Scene) -> Iterator[None]:
        way = scene.random.choice(["up", "down"])
        relay_of(scene.replica).cut_after(**{way: scene.random.randint(1, 50_000)})
        yield

    @fault(f"{where}: stalled, then late")
    def freeze(scene: Scene) -> Iterator[None]:
        relay = relay_of(scene.replica)
        relay.freeze()
        yield
        relay.thaw()

    @fault(f"{where}: stalled, then cut")
    def stall(scene: Scene) -> Iterator[None]:
        relay = relay_of(scene.replica)
        relay.stall()
        yield
        relay.cut()


for where, relay_of in BETWEEN.items():
    add_faults_between(where, relay_of)


# History is cut.


@fault("PostgreSQL: restart, and a copy of it kept", CUTS)
def back_up(scene: Scene) -> Iterator[None]:
    scene.cluster.postgres.end()
    scene.cluster.back_up()
    yield
    scene.cluster.postgres.start()


@fault("PostgreSQL: replaced by the older copy of itself", CUTS)
def fall_back(scene: Scene) -> Iterator[None]:
    scene.cluster.postgres.end(scene.random.choice([signal.SIGINT, signal.SIGQUIT]))
    scene.cluster.fall_back()
    yield
    scene.cluster.postgres.start()


ALL = {**FAULTS, **CUTS}
