"""Notices what other processes commit to the same database, and hands it to the view."""

import logging
import threading
import time

from podium_server import metrics
from podium_server.database import Connection, Database, Tail, check_registry, storage_error
from podium_server.dependencies import Dependency
from podium_server.history import Revision, read_since
from podium_server.ledger import Ledger
from podium_server.positions import Position
from podium_server.view import Snapshot, View, load

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.2


class Tailer:
    """A thread that runs until `close`."""

    def __init__(self, database: Database, standing: Dependency, view: View, ledger: Ledger) -> None:
        self._database = database
        self._standing = standing
        self._view = view
        self._ledger = ledger
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tailer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        tail = self._database.tail()
        while not self._stop.is_set():
            self._ledger.idle.wait(AGAIN_SECONDS)  # what this process is committing the ledger itself hands over
            try:
                self._look(tail)
            except Exception as error:
                metrics.STORAGE_ERRORS.labels("tailer").inc()
                known = storage_error(error)  # of which the standing tells
                level = logging.DEBUG if known else logging.ERROR
                log.log(level, "what others commit cannot be read, and is asked for again: %s", error, exc_info=not known)
                self._stop.wait(AGAIN_SECONDS)
        tail.connection.close()

    def _look(self, tail: Tail) -> None:
        with self._standing.asking():
            is_news, now = tail.wait(), time.monotonic()
            head = self._read_head(tail.connection) if is_news and self._ledger.idle.is_set() else None
        if is_news:
            if head is None or not self._is_caught_up(tail.connection, head):
                return
            tail.caught_up()
        self._view.confirm(now)

    def _read_head(self, connection: Connection) -> Position:
        registry, *place = connection.one("SELECT registry_uid, revision, nonce FROM head") or ("", 0, b"")
        check_registry(registry, self._view.registry)
        return Position(*place)

    def _is_caught_up(self, connection: Connection, head: Position) -> bool:
        """Whether the view has, or is about to have, all that there is; hands over what it lacks."""
        posted = self._view.posted
        if head == posted:
            return True

        def news() -> list[Revision] | Snapshot:
            revisions = read_since(connection, posted)
            return load(connection) if revisions is None else revisions

        found = connection.read(news)
        if isinstance(found, Snapshot):
            log.warning("the history of the database was cut: the view starts again at revision %d", found.position.revision)
            self._view.replace(posted, found)
        else:
            self._view.post(posted, found)
        return False
