"""One registry, from its start to its end: clients, watches and followers at work, faults, and the reckoning."""

import random
import shutil
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import grpc
import podium
from conftest import Refusal
from following import push
from google.protobuf.message import Message
from podium.v1.events_pb2 import Event
from podium.v1.registry_service_pb2_grpc import RegistryServiceStub
from replay import Replay, read_events
from watched import CHOICES, MODELS, compare
from watcher import Watcher
from wire import request_of

from chaos.blobs import check_blobs
from chaos.checker import History, violations
from chaos.cluster import HEARTBEAT, SECONDS, Cluster
from chaos.faults import ALL, Scene
from chaos.followers import NAME, Followed
from chaos.load import FOLLOWED, Load


class Round:
    """`injected` counts the faults by name, `violations` says what cannot be."""

    def __init__(self, folder: Path, seed: int, *, longest: float) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.injected: Counter[str] = Counter()
        self.violations: list[str] = []
        self.cluster = Cluster(folder)
        self.load = Load(self.cluster, self.random)
        self.scene = Scene(self.cluster, self.load, self.random, longest)
        relays = [replica.relay for replica in self.cluster.replicas]
        self.watchers = [Watcher(relays, choice, self.random.random(), HEARTBEAT) for choice in CHOICES]
        self.followed: list[Followed] = []
        self.over = threading.Event()

    def run(self, faults: Iterable[tuple[str, ...]]) -> None:
        """Some life with these faults, one after the other, some of them at once."""
        try:
            self.begin()
            for names in faults:
                self.load.await_answers(self.random.choice([5, 20, 50]))
                self.suffer(names)
            self.load.await_answers(20)
            self.load.close()
            self.reckon()
        except Exception as error:
            self.violations.append("".join(traceback.format_exception(error)))
        finally:
            self.end()

    def suffer(self, names: tuple[str, ...]) -> None:
        """Some faults at once. What comes first in the table is over last: a replica starts where all that it needs is there."""
        self.scene.is_one = len(names) == 1
        with ExitStack() as stack:
            for name in sorted(names, key=[*ALL].index):
                stack.enter_context(ALL[name](self.scene))
                self.injected[name] += 1
            self.scene.last()

    def begin(self) -> None:
        for model in MODELS:
            self.ask("CreateModel", name=model, lifecycle="permissive")
            for number in range(3):
                self.ask("RegisterVersion", model=model, record={"author": f"first {number}"})
        with podium.connect(self.cluster.replicas[0].server.address) as registry:
            push(registry, FOLLOWED, self.folder, 3)
            registry.set_alias(FOLLOWED, NAME, 1)
        for place, replica in enumerate(self.cluster.replicas):
            self.followed.append(Followed(replica.relay.address, self.folder / f"cache-{place}"))
        for watcher in self.watchers:
            watcher.start()
        threading.Thread(target=self.keep, daemon=True).start()
        self.began_at = read_events(self.cluster.replicas[0].server.stub)[-1].revision
        self.load.start()

    def keep(self) -> None:
        """Ends dead streams."""
        while not self.over.wait(HEARTBEAT):
            for watcher in self.watchers:
                watcher.cancel_if_dead()

    def ask(self, method: str, **fields: object) -> Message:
        """Asks the first replica directly."""
        return getattr(self.cluster.replicas[0].server.stub, method)(request_of(method, **fields), timeout=SECONDS)

    # The reckoning.

    def reckon(self) -> None:
        """All comes to its end, and is what the logs say that it must be."""
        stubs = [replica.server.stub for replica in self.cluster.replicas]
        self.see(lambda: check_blobs(self.load.blobs, self.cluster.began[-1], stubs))
        for number in (1, 2):
            self.ask("SetAlias", reference=f"{FOLLOWED}:{number}", alias=NAME)
        last = self.ask("SetAlias", reference=f"{MODELS[0]}:1", alias="the-end").position
        end = time.monotonic() + SECONDS  # for all of them together
        for watcher in self.watchers:
            self.see(lambda watcher=watcher: watcher.wait_for(last, max(1, end - time.monotonic())))
        for followed in self.followed:
            self.see(lambda followed=followed: followed.reach(2))
        log = read_events(stubs[0])
        for stub in stubs:
            self.see(lambda stub=stub: Replay(log).agree(stub))
            self.see(lambda stub=stub: self.check_cut(stub, log))
        self.close_clients()
        self.violations += self.cluster.stop()
        self.compare([*self.cluster.past_histories(), log])

    def check_cut(self, stub: RegistryServiceStub, log: list[Event]) -> None:
        """A position that is no longer in history is refused."""
        told = {call.reply.position for call in self.load.calls if call.method == "SetAlias" and call.reply}
        for position in sorted(told - {event.position for event in log}):
            try:
                reply = stub.ResolveVersion(request_of("ResolveVersion", reference=f"{FOLLOWED}@{NAME}", at_least=position))
            except grpc.RpcError as error:
                assert Refusal(error).reason == "POSITION_UNKNOWN"
            else:
                raise AssertionError(f"{position} was cut, and is answered with {reply}")

    def compare(self, logs: list[list[Event]]) -> None:
        """What everybody was told was so, in one history or the other."""
        calls = self.load.calls
        told = [History(log, epoch, self.began_at, calls) for log, epoch in zip(logs, self.cluster.epochs, strict=True)]
        self.violations += violations(told, calls)
        for watcher in self.watchers:
            self.see(lambda watcher=watcher: compare(watcher, logs))
        for followed in self.followed:
            self.see(lambda followed=followed: followed.explain(logs))

    def see(self, check: Callable[[], object]) -> None:
        """Makes a check; whatever comes of it, the next ones are made too."""
        try:
            check()
        except Exception as error:
            self.violations.append("".join(traceback.format_exception(error)))

    def close_clients(self) -> None:
        for one in (*self.watchers, *self.followed):
            one.close()

    def end(self) -> None:
        self.load.closing.set()
        self.close_clients()
        self.over.set()
        self.cluster.close()
        if not self.violations:
            shutil.rmtree(self.folder / "gcs")
