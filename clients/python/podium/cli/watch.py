"""podium watch: what happens to aliases and stages, as it happens."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from podium.cli.events import KINDS, change, subject
from podium.cli.output import numbered, safe, to_json, when
from podium.cli.session import Command, Session, pass_session
from podium.v1.events_pb2 import Absence, Event

if TYPE_CHECKING:
    from podium import PodiumError
    from podium.v1.watch_pb2 import Reference
    from podium.watching import Step


@click.command(cls=Command)
@click.argument("references", metavar="[REF]...", nargs=-1)
@click.option("--since", default="", metavar="POSITION", help="What came after this position, instead of what is now.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)), help="Only of this kind. Repeatable.")
@click.option("--for-serving", is_flag=True, help="Withhold versions that may not serve.")
@pass_session
def watch(session: Session, /, references: Sequence[str], since: str, kinds: Sequence[str], *, for_serving: bool) -> None:
    """Print what aliases and stages mean, and then a line for each change, until Ctrl-C.

    REF is fraud@champion, fraud#production, fraud@latest, or a model for all of its aliases and stages; in a model's
    name * stands for any characters but /, and ** for any. Without REF it is everything. Nothing is missed when the
    server restarts or the connection breaks.

    With --json a line is {"reference": …} or {"event": …}. A line with a "position" says that all up to there was
    said: give the last one to --since to go on after it.
    """
    with session.registry() as registry:
        steps = registry.watch(
            *references,
            kinds=[KINDS[kind] for kind in kinds],
            since=since,
            for_serving=for_serving,
            on_connection=lambda connected: _say_connection(steps.error, connected=connected),
        )
        with steps:
            for step in steps:
                lines = _documents(step) if session.json else _lines(step)
                click.echo("".join(f"{line}\n" for line in lines), nl=False)
                sys.stdout.flush()


def _say_connection(error: "PodiumError | None", *, connected: bool) -> None:
    if not connected:
        click.echo(f"podium: {safe(error or 'the connection is lost')}; it goes on when the server is there", err=True)


def _documents(step: "Step") -> Iterator[str]:
    from podium.watching import Snapshot

    key = "reference" if isinstance(step, Snapshot) else "event"
    items: Sequence[Any] = step.references if isinstance(step, Snapshot) else step.events
    documents: list[dict[str, object]] = [{key: item} for item in items] or [{}]
    documents[-1]["position"] = step.position
    if isinstance(step, Snapshot) and step.restored:
        documents[0]["restored"] = True
    return map(to_json, documents)


def _lines(step: "Step") -> Iterator[str]:
    from podium.watching import Snapshot

    if isinstance(step, Snapshot):
        if step.restored:
            click.echo("podium: the registry was restored to an older state, or is another one: this is what it says now", err=True)
        for reference in sorted(step.references, key=subject):
            yield f"{safe(subject(reference))} = {_meaning(reference)}"
    else:
        for event in step.events:
            why = " ".join((event.reason or event.text).split())[:80]
            parts = (when(event.time), subject(event), _change(event), event.actor, why)
            yield "  ".join(safe(part) for part in parts if part)


def _meaning(reference: "Reference") -> str:
    return numbered(reference.target) if reference.HasField("target") else _withheld(reference)


def _change(event: Event) -> str:
    if event.absence == Absence.ABSENCE_UNSERVABLE:
        return _withheld(event)
    if event.absence == Absence.ABSENCE_GONE and not event.HasField("before"):  # what was withheld before
        return "gone"
    return change(event)


def _withheld(item: "Reference | Event") -> str:
    return f"withheld: {safe('; '.join(item.warnings))}"
