"""podium transition: a version moves to another stage."""

import click

from podium.cli.output import named, safe
from podium.cli.session import Command, Session, pass_session


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("stage")
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept with the event.")
@click.option("--archive-existing", is_flag=True, help="Archive the other versions that are in STAGE.")
@click.option("--expect", "expected_stage", metavar="S", help="Only if REF is in this stage now ('': in none); else exit code 5.")
@click.option("--rollback", is_flag=True, help="This takes back a replacement; some moves are legal only so.")
@pass_session
def transition(
    session: Session,
    /,
    reference: str,
    stage: str,
    *,
    reason: str,
    archive_existing: bool,
    expected_stage: str | None,
    rollback: bool,
) -> None:
    """Move REF to STAGE, if its model's lifecycle has that way."""
    with session.registry() as registry:
        moved = registry.transition(
            reference,
            stage,
            reason=reason,
            expected_stage=expected_stage,
            archive_existing=archive_existing,
            rollback=rollback,
        )
    archived = ", ".join(f"{safe(moved.version.model)}:{number}" for number in moved.archived_numbers)
    session.answer(moved, named(moved.version) + f"  {safe(moved.version.stage)}" + (f", archived {archived}" if archived else ""))
