"""podium migrate: a registry, as it is, in another database or another store of blobs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from podium.cli.exits import DAMAGED, REFUSED, UNAVAILABLE, resumable
from podium.cli.output import Column, print_table, size
from podium.cli.serve import needs_server
from podium.cli.session import Command, Session, pass_session

if TYPE_CHECKING:
    from podium_server.moving import Moved, Progress


class _Line(NamedTuple):
    what: str
    number: int
    result: str


class _Refused(click.ClickException):
    exit_code = REFUSED


class _Unavailable(click.ClickException):
    exit_code = UNAVAILABLE


_COLUMNS: "tuple[Column[_Line], ...]" = (
    Column("WHAT", lambda line: line.what),
    Column("COUNT", lambda line: f"{line.number:,}", right=True),
    Column("RESULT", lambda line: line.result),
)


@click.command(cls=Command)
@click.option("--from", "source", metavar="URL|DIR", multiple=True, required=True, help="Where the registry is. Repeatable.")
@click.option("--to", "target", metavar="URL|DIR", multiple=True, required=True, help="Where it goes. Repeatable.")
@click.option("--read-back", is_flag=True, help="Verify files by reading them from where they went, not only by their sizes.")
@pass_session
def migrate(session: Session, /, source: tuple[str, ...], target: tuple[str, ...], *, read_back: bool) -> None:
    """Copy a registry to another database, another store of files, or both, and verify the copy.

    A place is a data folder, which stands for both, or the URL of one: sqlite:///PATH, postgresql://USER@HOST/NAME,
    file:///DIR, gs://BUCKET/PREFIX. What --to names is copied. Digests, revisions, events and positions stay as they
    are. Nothing is written to --from; where its database is copied, its servers must have stopped. The database in --to is empty
    at first, and serves no one until all is verified. What was interrupted goes on where it stopped.
    """
    with needs_server("migrate"):
        from podium_server.moving import Place, move
    with resumable("migrate"), _explained(), _bars() as progress:
        moved = move(Place.parse(source, "--from"), Place.parse(target, "--to"), progress, read_back=read_back)
    if session.json:
        session.answer(_document(moved), "")
    else:
        print_table(_lines(moved), _COLUMNS)
        click.echo(f"registry {moved.what.registry_uid} at position {moved.what.position}")
    if not moved.is_whole:
        raise click.exceptions.Exit(DAMAGED)


def _lines(moved: "Moved") -> Iterator[_Line]:
    for table in moved.tables:
        yield _Line(table.table, table.rows, f"differs at {table.difference}" if table.difference else "the same")
    if moved.blobs:
        there = f"{size(moved.blobs.size_bytes)}, {f'{len(moved.damaged):,} damaged' if moved.damaged else 'all there'}"
        yield _Line("files", moved.blobs.blobs, there)
    for blob in moved.damaged:
        yield _Line(blob.digest, 1, blob.why)


def _document(moved: "Moved") -> dict[str, Any]:
    """64-bit numbers are strings, as in protobuf's JSON."""
    return {
        "registry_uid": moved.what.registry_uid,
        "position": moved.what.position,
        "verified": moved.is_whole,
        "tables": [{"table": one.table, "rows": str(one.rows), "differs_at": one.difference} for one in moved.tables],
        "files": moved.blobs and {"count": str(moved.blobs.blobs), "size_bytes": str(moved.blobs.size_bytes)},
        "damaged": [{"digest": blob.digest, "problem": blob.why} for blob in moved.damaged],
    }


@contextmanager
def _bars() -> "Iterator[Progress]":
    """Shows how far it is, where somebody looks."""
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.TextColumn("{task.description:32}"), bars.BarColumn(), bars.TaskProgressColumn(), bars.TimeRemainingColumn())
    with bars.Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:

        def begin(stage: str, total: int) -> partial[None]:
            amount = size(total) if stage.endswith("files") else f"{total:,}"
            return partial(shown.advance, shown.add_task(f"{stage}, {amount}", total=total))

        yield begin


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever went wrong is one line."""
    from podium_server.blobs.errors import StoreError, UnsupportedStore
    from podium_server.errors import InvalidArgument, PodiumError
    from podium_server.moving.errors import CannotMove, CopyFailed

    try:
        yield
    except (CannotMove, InvalidArgument, UnsupportedStore) as error:
        raise _Refused(str(error)) from error
    except CopyFailed as error:
        raise click.ClickException(str(error)) from error
    except (PodiumError, StoreError) as error:
        raise _Unavailable(str(error)) from error
