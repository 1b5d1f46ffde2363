"""Databases that become older copies of themselves, as by a restored backup or a failover to an older state."""

from contextlib import closing
from pathlib import Path

import apsw

BUSY_MILLISECONDS = 60_000


def back_up(source: Path, target: Path) -> None:
    """Makes one database equal another, in one transaction."""
    with closing(apsw.Connection(str(source))) as read, closing(apsw.Connection(str(target))) as written:
        written.set_busy_timeout(BUSY_MILLISECONDS)
        with written.backup("main", read, "main") as copying:
            copying.step()
