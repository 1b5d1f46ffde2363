"""Moves a registry as it is to another database, another store of blobs, or both; and sees that all of it has arrived.

Nothing is written to the source. While its database is copied no server uses it; blobs, which never change, are copied from under
running servers too, so that only what came last is left to copy when they have stopped.
"""

from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple, TypeVar

from podium_server.blobs import open_store
from podium_server.database import Connection
from podium_server.database.unfinished import Copied, drop_mark
from podium_server.moving.databases import open_copy, open_source, read_head
from podium_server.moving.errors import CannotMove
from podium_server.moving.files import Ask, Count, Damaged, Files, count_blobs
from podium_server.moving.places import Place, check
from podium_server.moving.rows import Compared, Tell, adopt_head, compare_rows, copy_rows, count_rows
from podium_server.rows import Reader

__all__ = ["Moved", "Place", "Progress", "move"]

T = TypeVar("T")

Progress = Callable[[str, int], Tell]
"""Called when something begins, with its name and how many rows, or bytes of files, that is; what it returns is told of parts."""


class Moved(NamedTuple):
    """What was moved and verified. Without tables the database stays where it is, without a count the blobs do."""

    what: Copied
    tables: list[Compared]
    blobs: Count | None
    damaged: list[Damaged]

    @property
    def is_whole(self) -> bool:
        """Whether the copy is the same as its source."""
        return not self.damaged and not any(table.difference for table in self.tables)


def move(source: Place, target: Place, progress: Progress, *, read_back: bool) -> Moved:
    """Copies what `target` names, or goes on with that, and verifies it: blobs by their size or, read back, by their digest.

    A database that the copy is made in serves no one until all is verified. CannotMove, CopyFailed, StorageUnavailable, StorageFull
    or a StoreError; whatever it was, the same again goes on where it stopped.
    """
    check(source, target)
    database = open_source(source.database)
    if target.database:
        with closing(database.hold()) as held:
            return _move_all(held, source, target, progress, read_back=read_back)

    def ask(question: Callable[[Reader], T]) -> T:
        return database.read(lambda: question(database))

    what = ask(read_head)
    return Moved(what, [], *_move_blobs(ask, source, target, progress, read_back=read_back))


def _move_all(held: Connection, source: Place, target: Place, progress: Progress, *, read_back: bool) -> Moved:
    def ask(question: Callable[[Reader], T]) -> T:
        return question(held)

    blobs: Count | None = None
    damaged: list[Damaged] = []
    what, counts = read_head(held), count_rows(held)
    connection, is_finished = open_copy(target.database, what)
    with closing(connection):
        if not is_finished:
            adopt_head(held, connection)
            copy_rows(held, connection, counts, progress("copying rows", sum(counts)))
        if target.blobs:
            blobs, damaged = _move_blobs(ask, source, target, progress, read_back=read_back)
        moved = Moved(what, compare_rows(held, connection, progress("checking rows", sum(counts))), blobs, damaged)
        if moved.is_whole and not is_finished:
            drop_mark(connection)
    return moved


def _move_blobs(ask: Ask, source: Place, target: Place, progress: Progress, *, read_back: bool) -> tuple[Count, list[Damaged]]:
    store, count, registry = open_store(target.blobs), ask(count_blobs), ask(read_head).registry_uid
    if (owner := store.owner(registry)) != registry:
        raise CannotMove(f"--to names a store with the blobs of another registry, {owner}")
    files = Files(ask, open_store(source.blobs), store)
    damaged = files.copy(progress("copying files", count.size_bytes))
    return count, damaged or files.check(progress("checking files", count.size_bytes), read_back=read_back)
