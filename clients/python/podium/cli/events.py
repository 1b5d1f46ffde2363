"""podium events: what happened, and who did it."""

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import click

from podium.cli.output import Column, numbered, when, word
from podium.cli.session import Command, Session, pass_session
from podium.v1.events_pb2 import Event, EventKind

if TYPE_CHECKING:
    from podium.v1.watch_pb2 import Reference

KINDS = {word(EventKind, number): number for number in EventKind.values()[1:]}


@click.command(cls=Command)
@click.argument("name", required=False)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only of this kind. Repeatable.")
@click.option("--after", default="", metavar="POSITION", help="Only what came after this position (see --json).")
@click.option("--oldest-first", is_flag=True, help="Else the newest come first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@pass_session
def events(
    session: Session, /, name: str | None, kinds: Sequence[str], after: str, *, oldest_first: bool, limit: int | None
) -> None:
    """List what happened to the model NAME, or to all: who, when, why."""
    with session.registry() as registry:
        found = registry.events(name, kinds=[KINDS[kind] for kind in kinds], newest_first=not oldest_first, after=after)
        session.rows(islice(found, limit), _COLUMNS)


def subject(event: "Event | Reference") -> str:
    """What it happened to, as a reference where it is one."""
    sign = {EventKind.EVENT_KIND_ALIAS: "@", EventKind.EVENT_KIND_LATEST: "@", EventKind.EVENT_KIND_STAGE: "#"}
    return event.model + (sign.get(event.kind, ":") + event.name if event.name else "")


def change(event: Event) -> str:
    """What happened, in a few words."""
    if event.kind == EventKind.EVENT_KIND_VERSION_TRANSITIONED:
        return _transition(event)
    if event.after.HasField("target") or event.before.HasField("target"):
        return _movement(event)
    return word(EventKind, event.kind).removeprefix("model-").removeprefix("version-").replace("-", " ")


def _transition(event: Event) -> str:
    before, after = event.before.version.stage or "no stage", event.after.version.stage or "no stage"
    return f"{before} → {after}" + (" (rollback)" if event.rollback else "")


def _movement(event: Event) -> str:
    before = numbered(event.before.target) if event.before.HasField("target") else ""
    if not event.after.HasField("target"):
        return f"gone, was {before}"
    after = numbered(event.after.target)
    if before == after:
        return f"→ {after}, now {event.after.target.stage or 'in no stage'}"
    return f"→ {after}" + (f", was {before}" if before else "")


_COLUMNS: tuple[Column[Event], ...] = (
    Column("REVISION", lambda event: event.revision, right=True),
    Column("TIME", lambda event: when(event.time)),
    Column("WHO", lambda event: event.actor),
    Column("WHAT", subject),
    Column("CHANGE", change),
    Column("WHY", lambda event: " ".join((event.reason or event.text).split())[:80]),
)
