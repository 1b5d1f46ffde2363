"""podium cache: what pulls left on this machine, for the next ones."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from podium.cli.output import Column, size
from podium.cli.session import Group, Session, pass_session

if TYPE_CHECKING:
    from podium import Entry

_COLUMNS: "tuple[Column[Entry], ...]" = (
    Column("KIND", lambda entry: entry.kind),
    Column("SIZE", lambda entry: size(entry.size_bytes), right=True),
    Column("LAST USED", lambda entry: f"{datetime.fromtimestamp(entry.last_used, UTC).astimezone():%Y-%m-%d %H:%M:%S}"),
    Column("IN USE", lambda entry: "yes" if entry.in_use else "no"),
    Column("PATH", lambda entry: entry.path),
)


@click.group(cls=Group)
def cache() -> None:
    """List or shrink the cache that all pulls share: $PODIUM_CACHE, else ~/.cache/podium. No server is needed."""


@cache.command("ls")
@pass_session
def list_cache(session: Session, /) -> None:
    """List what the cache holds: versions, files that no version there has any more, and partial downloads.

    Versions share files, so that their sizes do not add up.
    """
    import podium

    entries = sorted(podium.Cache().entries(), key=lambda entry: entry.last_used, reverse=True)
    session.rows(entries, _COLUMNS, _document)


@cache.command
@click.option("--unused-days", type=click.FloatRange(min=0), metavar="N", help="What was not used for N days.  [30]")
@click.option("--all", "everything", is_flag=True, help="Everything that is not in use.")
@pass_session
def prune(session: Session, /, unused_days: float | None, *, everything: bool) -> None:
    """Remove what was not used for 30 days; never what a running process has pulled."""
    import podium

    if everything and unused_days is not None:
        raise click.UsageError("--all and --unused-days exclude each other")
    cache = podium.Cache()
    pruned = cache.prune() if unused_days is None and not everything else cache.prune(unused_days or 0)
    document = {"freed_bytes": str(pruned.freed_bytes), "entries": [_document(entry) for entry in pruned.entries]}
    session.answer(document, f"{size(pruned.freed_bytes)} freed, {len(pruned.entries)} removed")


def _document(entry: "Entry") -> dict[str, object]:
    return {
        "kind": entry.kind,
        "digest": entry.digest,
        "path": str(entry.path),
        "size_bytes": str(entry.size_bytes),  # a string, as protobuf's JSON has 64-bit numbers
        "last_used": datetime.fromtimestamp(entry.last_used, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "in_use": entry.in_use,
    }
