"""A reference that is followed: its version now, with verified files, in memory, whatever becomes of the registry."""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from podium.cache import Cache
from podium.current import Current, State, current_of, same_version
from podium.errors import InvalidArgument, PodiumError, Unavailable
from podium.holding import Held, pull_and_hold, verify_and_hold
from podium.last_known import LastKnown, Record
from podium.newest import Newest, Values
from podium.puller import Puller
from podium.reader import Reader
from podium.standing import Standing
from podium.transfers import Crew
from podium.transport import Transport
from podium.v1.resolve_pb2 import ResolveVersionRequest, Target
from podium.waiting import wait_for
from podium.watch_filters import followed
from podium.watching import Step, Watch

log = logging.getLogger("podium")

AWAY_SECONDS = 2.0  # how long a registry that is away is waited for where a last known version is there
LEAVING_SECONDS = 5.0  # how long `close` waits for a thread, which may be in a callback

OnChange = Callable[[Current], object]


class Follower:
    """What one reference means, kept up to date by its threads. `podium.follow` makes one; `close` ends it.

    `current` is the version now: a plain attribute, replaced only when all files of the next one are verified and on this disk.
    `state` says how far that can be relied on, `warnings` why what the reference means may not serve, and `problem` why what it
    means is not what `current` is (a pull that failed, and is tried again), else None. All may be read anywhere, at any time.

    A forked child has its own that goes on, as its parent's does. A `use` block does not reach from one to the other.
    """

    current: Current

    def __init__(
        self,
        transport: Transport,
        cache: Cache,
        reference: str,
        *,
        timeout: float | None,
        on_change: OnChange | None,
        for_serving: bool,
        direct: bool,
    ) -> None:
        self.reference = reference
        self.state = State.STALE
        self.warnings: tuple[str, ...] = ()
        self.problem: str | None = None
        self._filter, self._for_serving = followed(reference), for_serving
        self._transport, self._cache, self._direct = transport, cache, direct
        self._on_change = on_change
        self._record = Record(cache.followed_path, transport.address, reference, for_serving)
        self._newest = Newest[Current]()
        self._changed = threading.Condition()
        self._closed = False
        self._standing = Standing()  # what the registry said last,
        self._failure: Exception | None = None  # and why that cannot be had
        self._target: Target | None = None  # what is current,
        self._held: Held | None = None  # and its files
        self._told: Target | None = None  # what was current when `on_change` was called last
        self._written: Target | None = None  # what the record says
        known = self._record.read()
        self._position = known.position if known else ""
        self._begin()
        try:
            self._start(known, timeout)
        except BaseException:
            self.close()
            raise
        _followers[self] = self._go_on

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def changes(self) -> Values[Current]:
        """An iterator for `for` and `async for`: the current version, then each that takes its place, until `close`.

        It waits for the next one. A slow reader gets the newest, and none that was replaced meanwhile. Where only a stage or
        warnings changed, `current` says so and the iterator does not.
        """
        return self._newest.values()

    @contextmanager
    def use(self) -> Iterator[Current]:
        """The current version, whose files stay on this disk until the block ends, whatever becomes current meanwhile."""
        with self._changed:
            if self._held is None:
                raise self._is_closed()
            current, held = self.current, self._held.again()
        try:
            yield current
        finally:
            held.release()

    def wait_for(self, wanted: State | Callable[["Follower"], bool], timeout: float | None = None) -> bool:
        """Waits up to `timeout` seconds for a state, or until `wanted(follower)` is true, and says whether it is.

        `wanted` is asked after each change, should be quick, and calls nothing of the registry. `close` ends the wait.
        """

        def holds() -> bool:
            return self.state is wanted if isinstance(wanted, State) else wanted(self)

        with self._changed:
            wait_for(self._changed, lambda: self._closed or holds(), timeout)
            return holds()

    def close(self) -> None:
        """Ends the threads, the watch and the iterators, and the hold on the files. `current` may still be read."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._stand(replace(self._standing, connected=False))
        _followers.pop(self, None)
        self._reader.close()
        self._puller.close()
        self._newest.close()
        self._reader.join(LEAVING_SECONDS)
        self._puller.join(LEAVING_SECONDS)
        self._remember()
        with self._changed:
            held, self._held = self._held, None
        if held:
            held.release()

    def _is_closed(self) -> PodiumError:
        return PodiumError(f"{self.reference} is not followed any more: this follower is closed")

    # How it begins.

    def _start(self, known: LastKnown | None, timeout: float | None) -> None:
        """Returns once there is a current version; see `Registry.follow`."""
        if timeout is None:
            timeout = AWAY_SECONDS if known else self._transport.timeout
        while not self._arrived(timeout) and not (known and self._adopt(known)):
            self._raise_why_not(timeout)

    def _begin(self) -> None:
        self._puller = Puller(self._bring, self._fail)
        self._reader = Reader(self._open_watch, self._apply, self._lose)
        self._puller.start()
        self._reader.start()

    def _arrived(self, timeout: float) -> bool:
        """Whether there is a current version, after as much patience as makes sense: a pull may take long."""

        def decided() -> bool:
            return bool(self._held or self._failure or self._closed or not self._standing.target)

        with self._changed:
            if wait_for(self._changed, lambda: self._standing.meaning or self._failure or self._closed, timeout):
                wait_for(self._changed, decided)
            return self._held is not None

    def _adopt(self, known: LastKnown) -> bool:
        """Begins with the last known version, if all its bytes are there."""
        held = verify_and_hold(self._cache, known)
        with self._changed:
            if held and not self._held:
                self._set(held, known.target)
            elif held:
                held.release()
            return self._held is not None

    def _raise_why_not(self, timeout: float) -> None:
        if self._failure:
            raise self._failure
        if self._closed:
            raise self._is_closed()
        if not self._standing.meaning:
            away = f"the server at {self._transport.address} did not answer within {timeout:g} s"
            raise self._reader.watch.error or Unavailable(away)
        # The reference means nothing, and why is best said by the server itself; unless it means something by now.
        request = ResolveVersionRequest(reference=self.reference, for_serving=self._for_serving, at_least=self._position)
        self._transport.call(lambda stub: stub.ResolveVersion, request)

    # What the reader calls.

    def _open_watch(self) -> Watch:
        return Watch(
            self._transport,
            [self._filter],
            at_least=max(self._position, self._transport.seen.newest),
            for_serving=self._for_serving,
            on_connection=self._connect,
        )

    def _connect(self, connected: bool) -> None:  # noqa: FBT001  a Watch tells it
        with self._changed:
            self._stand(replace(self._standing, connected=connected and not self._closed))
        if connected:
            self._puller.hurry()

    def _apply(self, step: Step) -> None:
        with self._changed:
            before, standing = self._standing, replace(self._standing.after(step), connected=not self._closed)
            target = standing.target
            self._position = step.position
            if not same_version(before.target, target):
                self.problem = self._failure = None
            if self._held and target and same_version(self._target, target):
                self._set(self._held, target)
            self._stand(standing)
        self._puller.want(target)

    def _lose(self, error: Exception) -> None:
        with self._changed:
            if isinstance(error, InvalidArgument) and "at_least" in error.fields:
                self._position = ""  # the record has none
            else:
                self._failure = error
            self._stand(replace(self._standing, connected=False))

    # What the puller calls.

    def _bring(self, target: Target, crew: Crew) -> None:
        """Makes this version the current one, if it still is what the reference means."""
        with self._changed:
            is_here = self._held is not None and same_version(self._target, target)
        if is_here:
            self._remember()
            self._call_back()
            return
        held = pull_and_hold(self._transport, self._cache, target, crew, direct=self._direct)
        with self._changed:
            old, wanted = self._held, self._standing.target
            if self._closed or not wanted or not same_version(wanted, target):
                held.release()
                return
            self._set(held, wanted)
        if old:
            old.release()
        self._remember()
        self._call_back()

    def _call_back(self) -> None:
        """Tells what is current, unless that was told. A child that was forked amid of it is told again."""
        with self._changed:
            current, target, told = self.current, self._target, self._told
        if not target or not told or same_version(target, told):
            return
        try:
            if self._on_change is not None:
                self._on_change(current)
        except Exception:
            log.exception("what is called when %s changes failed", self.reference)
        self._told = target

    def _fail(self, target: Target, error: Exception) -> None:
        problem = f"{target.model}:{target.number} cannot be had: {error}"
        with self._changed:
            if not same_version(self._standing.target, target):
                return
            new, self.problem, self._failure = self.problem != problem, problem, error
            self._changed.notify_all()
        if new:
            log.warning("%s: %s", self.reference, problem)

    # What is true now.

    def _set(self, held: Held, target: Target) -> None:
        """Under the lock: this is current."""
        moved = not same_version(self._target, target)
        self.current = current_of(self.reference, held.path, target)
        self._held, self._target, self._told = held, target, self._told or target
        self.problem = self._failure = None
        self._newest.put(self.current, tell=moved)
        self._changed.notify_all()

    def _stand(self, standing: Standing) -> None:
        """Under the lock: these are the facts, and who waits for a state looks again."""
        self._standing, self.state = standing, standing.state
        self.warnings = standing.meaning.warnings if standing.meaning else ()
        self._changed.notify_all()

    def _remember(self) -> None:
        """Writes what is current, for the next start, unless that is written already."""
        with self._changed:
            held, target, position = self._held, self._target, self._reader.watch.position or self._position
        if held and target and (target != self._written or self._closed):
            try:
                self._record.write(LastKnown(target, held.files, position))
                self._written = target
            except OSError as error:
                log.warning("%s: what is current cannot be written down for the next start: %s", self.reference, error)

    def _go_on(self) -> None:
        """In a forked child, which has neither the threads nor the locks of its parent."""
        self._changed = threading.Condition()
        self._newest.begin_again(self.current)
        held, self._held = self._held, None
        if held and held.digest == self.current.digest:
            with suppress(OSError):  # then it is pulled again
                self._held = replace(held, hold=self._cache.hold(held.digest, _give_up))
        with self._changed:
            self._position = self._reader.watch.position or self._position
            self._stand(replace(self._standing, connected=False))
        self._begin()


def _give_up(_seconds: float) -> None:
    raise BlockingIOError("somebody removes this version")


_followers: dict[Follower, Callable[[], None]] = {}


def _close_all() -> None:
    for follower in tuple(_followers):
        follower.close()


def _go_on_in_child() -> None:
    for follower, go_on in tuple(_followers.items()):
        try:
            go_on()
        except Exception:
            log.exception("%s is not followed in a forked child", follower.reference)


atexit.register(_close_all)
os.register_at_fork(after_in_child=_go_on_in_child)
