"""The one place where a change is committed: one thread, one transaction for all that wait, one revision for each mutation.

The head row is taken first and every check is made under it, so revisions have no gaps and are in the order of commit, and no
reply depends on anything that another writer could have changed. Replies go out only after the view has the events.
"""

import asyncio
import hashlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast

from google.protobuf.message import Message
from peewee import DatabaseError

from podium_server import metrics, tables
from podium_server.database import Connection, Database, Head, Row, check_registry, storage_error
from podium_server.dependencies import Dependency
from podium_server.errors import InvalidArgument, Overloaded, RequestIdReused, StorageUnavailable, one_line
from podium_server.history import Event, Revision, read_since
from podium_server.limits import MAX_REQUEST_ID_BYTES
from podium_server.positions import Position
from podium_server.rows import Table, insert_statement
from podium_server.tracing import span
from podium_server.view import Snapshot, View, load

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
MAX_GROUP = 256
LARGE_BYTES = 64 * 1024
MAX_VALUES = 48  # of one statement: those with more psycopg analyses each time, which takes longer than another statement
FORGET_EVERY = 64  # revisions; at once far more are forgotten than have come since
REQUEST_KEPT_MICROSECONDS = 24 * 3600 * 1_000_000

T = TypeVar("T")


class Caller(NamedTuple):
    """Who calls which method: `actor` is what the client says, `peer` its address."""

    actor: str
    peer: str
    method: str


class Transaction:
    """What a mutation sees: the database under the head lock, its own revision, and two times in microseconds since the epoch.

    `now` is that of the events, which never goes back; `clock` is the clock's, by which leases and request ids run out.
    """

    def __init__(self, connection: Connection, work: "_Work", position: Position, now: int, clock: int) -> None:
        self.one, self.all, self.run, self.many = connection.one, connection.all, connection.run, connection.many
        self.caller = work.caller
        self.now = now
        self.clock = clock
        self.revision = position.revision
        self.etag = position.nonce.hex()
        self.events: list[Event] = []
        self._request = work.request
        self._nonce = position.nonce

    def insert(self, table: type[Table], *rows: Row) -> None:
        """Inserts rows: the values of all columns in the order of the table's declaration, without a generated id.

        Many rows a statement: between two steps of the database the event loop may take the interpreter.
        """
        count = MAX_VALUES // len(rows[0]) if rows else 1
        for start in range(0, len(rows), count):
            few = rows[start : start + count]
            self.run(insert_statement(table, len(few)), *chain.from_iterable(few))

    def event(
        self,
        kind: int,
        model: str,
        model_uid: str,
        name: str,
        *,
        before: Message | None = None,
        after: Message | None = None,
        text: str | None = None,
    ) -> None:
        """Says what the mutation does. The states are EventState messages; reason and rollback are the request's."""
        request = self._request
        self.events.append(
            Event(
                self.revision, len(self.events), self.now, kind, model, model_uid, name, self.caller.actor, self.caller.peer,
                request.request_id, getattr(request, "reason", ""), text, getattr(request, "rollback", False),
                _serialized(before), _serialized(after), self._nonce,
            )
        )  # fmt: skip


def _serialized(state: Message | None) -> bytes | None:
    return None if state is None else state.SerializeToString()


class _Work(NamedTuple):
    """Something that waits for the writer. Without a request it is a write that has no revision."""

    change: Callable[[Transaction], Any]
    caller: Caller
    request: Any
    content: bytes
    future: asyncio.Future[Any]
    context: Context  # the call's, for what is logged and traced


class Ledger:
    """Commits mutations one group after the other and tells the view.

    `idle` is not set while this process has a commit under way that the view is about to get.
    """

    def __init__(self, database: Database, standing: Dependency, view: View) -> None:
        self._database = database
        self._standing = standing
        self._view = view
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        metrics.LEDGER_WAITING.set_function(self._queue.qsize)
        self._closed = False
        self.idle = threading.Event()
        self.idle.set()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    async def commit(self, request: Message, caller: Caller, mutation: Callable[[Transaction], Message]) -> bytes:
        """Runs a mutation and returns its reply, serialized and with its position, once it is durable and in the view.

        A `request_id` that this caller has used for this method gives the earlier reply; RequestIdReused if the content differs.
        """
        _check_request_id(request.request_id)  # type: ignore[attr-defined]  # every mutation's request has one
        content = b""
        if request.request_id:  # type: ignore[attr-defined]
            large = request.ByteSize() > LARGE_BYTES
            content = await asyncio.to_thread(_content, request) if large else _content(request)
        with span("ledger"):
            return cast(bytes, await self._wait(mutation, caller, request, content))

    async def write(self, change: Callable[[Transaction], T]) -> T:
        """Runs a write that is no event and takes no revision, and returns what it returns once it is durable."""
        with span("ledger"):
            return cast(T, await self._wait(change, Caller("", "", ""), None, b""))

    async def close(self) -> None:
        """Commits what waits, then ends the writer."""
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _wait(
        self, change: Callable[[Transaction], Any], caller: Caller, request: Message | None, content: bytes
    ) -> asyncio.Future[Any]:
        if self._closed:
            raise StorageUnavailable("the server is stopping: try again")
        self._standing.check()
        if self._queue.qsize() >= MAX_WAITING:
            raise Overloaded("too many changes wait to be committed: try again later", retry_after_seconds=1)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(_Work(change, caller, request, content, future, copy_context()))
        return future

    def _run(self) -> None:
        connection = self._database.connect_writer(ahead=True)
        while (group := self._take()) is not None:
            metrics.LEDGER_GROUP.observe(len(group))
            outcomes = self._outcomes(connection, group)
            self.idle.set()
            self._loop.call_soon_threadsafe(_answer, group, outcomes)
        connection.close()

    def _outcomes(self, connection: Connection, group: list[_Work]) -> list[Any]:
        """Commits a group. What the database itself refuses may be known only later, and not of whom: then each is tried alone."""
        try:
            with metrics.LEDGER_SECONDS.time():
                outcomes = self._commit(connection, group)
            self._view.confirm(time.monotonic())
            return outcomes
        except Exception as error:  # noqa: BLE001  whatever it was, those who wait are told and the writer goes on
            if told := storage_error(error):
                metrics.STORAGE_ERRORS.labels("ledger").inc()
                log.error("%d changes were not committed: %s", len(group), one_line(error))  # noqa: TRY400
                return [told] * len(group)
            if len(group) == 1 or not isinstance(error, DatabaseError):
                return [error] * len(group)
        each: list[Any] = []
        for work in group:  # until the database goes away: nobody waits for that as often as there are changes
            each += each[-1:] if each and storage_error(each[-1]) else self._outcomes(connection, [work])
        return each

    def _commit(self, connection: Connection, group: list[_Work]) -> list[Any]:
        """Commits a group and tells the view: the outcomes."""
        try:
            head = connection.take_head()
            check_registry(head.registry, self._view.registry)
            self.idle.clear()  # not before: while another writer is waited for, the tailer goes on
            posted = self._view.posted
            news, outcomes = _Group(connection, posted, head).run(group)
        except BaseException:
            connection.rollback()
            raise
        if isinstance(news, Snapshot):
            self._view.replace(posted, news)
        else:
            self._view.post(posted, news)
        return outcomes

    def _take(self) -> list[_Work] | None:
        work = self._queue.get()
        group: list[_Work] = []
        while work is not None:
            group.append(work)
            if len(group) == MAX_GROUP or self._queue.empty():
                return group
            work = self._queue.get()
        if group:
            self._queue.put(None)
            return group
        return None


def _answer(group: list[_Work], outcomes: list[Any]) -> None:
    for work, outcome in zip(group, outcomes, strict=True):
        if work.future.done():  # the caller has gone
            continue
        if isinstance(outcome, Exception):
            work.future.set_exception(outcome)
        else:
            work.future.set_result(outcome)


class _Group:
    """One transaction for all the work that waited."""

    def __init__(self, connection: Connection, posted: Position, head: Head) -> None:
        self._connection = connection
        self._posted = posted
        self._revisions: list[Revision] = []
        self._head = Position(head.revision, head.nonce)
        self._clock = head.clock
        self._now = max(head.time, head.clock)

    def run(self, group: list[_Work]) -> tuple[list[Revision] | Snapshot, list[Any]]:
        """Runs and commits the work: what the view does not know yet (all of it, if history was cut) and the outcomes."""
        # Revisions of other processes; what they did is before what this group does.
        earlier = [] if self._head == self._posted else read_since(self._connection, self._posted)
        outcomes = [work.context.run(self._run, work) for work in group]
        if self._revisions:
            self._connection.run("UPDATE head SET revision = ?, nonce = ?, time = ?", *self._head, self._now)
        if self._head.revision % FORGET_EVERY < len(self._revisions):
            self._forget_requests()
        news = load(self._connection) if earlier is None else earlier + self._revisions
        self._connection.commit(news=bool(self._revisions))
        return news, outcomes

    def _run(self, work: _Work) -> Any:
        self._connection.run("SAVEPOINT work")
        try:
            with span("ledger change"):
                outcome = self._write(work) if work.request is None else self._mutate(work)
        except DatabaseError:
            raise
        except Exception as error:
            if storage_error(error):
                raise
            self._connection.run("ROLLBACK TO work")
            outcome = error  # its caller is told, and the others of the group go on
        self._connection.run("RELEASE work")
        return outcome

    def _write(self, work: _Work) -> Any:
        transaction = Transaction(self._connection, work, self._head, self._now, self._clock)
        outcome = work.change(transaction)
        assert not transaction.events, "a write has no revision"
        return outcome

    def _mutate(self, work: _Work) -> bytes:
        request_id: str = work.request.request_id
        replayed = self._replay(work) if request_id else None
        if replayed is not None:
            return replayed
        position = Position(self._head.revision + 1, os.urandom(8))
        transaction = Transaction(self._connection, work, position, self._now, self._clock)
        reply = work.change(transaction)
        if not transaction.events:
            position = self._head
        reply.position = str(position)
        serialized: bytes = reply.SerializeToString()
        if request_id:
            self._connection.run(
                "INSERT INTO request (actor, method, request_id, content, reply, time) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (actor, method, request_id) DO UPDATE SET "
                "content = excluded.content, reply = excluded.reply, time = excluded.time",
                work.caller.actor, work.caller.method, request_id, work.content, serialized, self._clock,
            )  # fmt: skip
        if transaction.events:
            transaction.insert(tables.Event, *transaction.events)
            self._revisions.append(Revision(position, transaction.events))
            self._head = position
        return serialized

    def _replay(self, work: _Work) -> bytes | None:
        row = self._connection.one(
            "SELECT content, reply FROM request WHERE actor = ? AND method = ? AND request_id = ? AND time > ?",
            work.caller.actor, work.caller.method, work.request.request_id, self._clock - REQUEST_KEPT_MICROSECONDS,
        )  # fmt: skip
        if row is None:
            return None
        if row[0] != work.content:
            raise RequestIdReused(
                "this request_id was used for a request with other content: make up a new one", field="request_id"
            )
        return cast(bytes, row[1])

    def _forget_requests(self) -> None:
        self._connection.run(
            "DELETE FROM request WHERE (actor, method, request_id) IN "
            "(SELECT actor, method, request_id FROM request WHERE time <= ? ORDER BY time LIMIT 1000)",
            self._clock - REQUEST_KEPT_MICROSECONDS,
        )


def _content(request: Message) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _check_request_id(request_id: str) -> None:
    if len(request_id) > MAX_REQUEST_ID_BYTES or not ((request_id.isascii() and request_id.isprintable()) or not request_id):
        raise InvalidArgument("a request_id has 1 to 128 printable ASCII characters", field="request_id")
