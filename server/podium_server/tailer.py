"""Notices what other processes commit to the same database, and hands it to the view.

SQLite's `data_version` changes whenever another connection has committed: asking for it 200 times a second costs about 3 % of
a core and shows a commit within about 6 ms.
"""

import logging
import threading

from podium_server.database import Connection, Database
from podium_server.history import read_since
from podium_server.ledger import Ledger
from podium_server.view import View, load

log = logging.getLogger(__name__)

POLL_SECONDS = 0.005


class Tailer:
    """A thread that polls until `close`."""

    def __init__(self, database: Database, view: View, ledger: Ledger) -> None:
        self._database = database
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
        connection = Connection(self._database)
        seen: object = None
        while not self._stop.wait(POLL_SECONDS):
            try:
                version = connection.one("PRAGMA data_version")
                # What this process is committing the ledger itself hands over.
                if version != seen and not self._ledger.committing and self._is_caught_up(connection):
                    seen = version
            except Exception:
                log.exception("the tailer could not read the log; it goes on")
                self._stop.wait(1.0)
        connection.close()

    def _is_caught_up(self, connection: Connection) -> bool:
        """Whether the view has, or is about to have, all that there is; hands over what it lacks."""
        posted = self._view.posted
        if connection.one("SELECT revision, nonce FROM head") == tuple(posted):
            return True
        connection.run("BEGIN")
        try:
            revisions = read_since(connection, posted)
            snapshot = load(connection) if revisions is None else None
        finally:
            connection.run("COMMIT")
        if snapshot is not None:
            log.warning("the history of the database was cut: the view starts again at revision %d", snapshot.position.revision)
            self._view.replace(posted, snapshot)
        else:
            self._view.post(posted, revisions or [])
        return False
