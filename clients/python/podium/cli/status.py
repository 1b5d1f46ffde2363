"""podium status: whether the server is there, and what it is."""

from typing import TYPE_CHECKING

import click

from podium.cli.output import facts, safe, size, when
from podium.cli.session import Command, Session, pass_session

if TYPE_CHECKING:
    from podium.v1.server_pb2 import GetServerInfoResponse


@click.command(cls=Command)
@pass_session
def status(session: Session, /) -> None:
    """Say what the server is, and what it holds."""
    with session.registry() as registry:
        info = registry.info()
    session.answer(info, lambda: _text(info))


def _text(info: "GetServerInfoResponse") -> str:
    free = f", {size(info.free_bytes)} free" if info.HasField("free_bytes") else ""
    return f"podium {safe(info.version)}\n" + facts(
        [
            ("registry", info.registry_uid),
            ("models", f"{info.model_count:,}"),
            ("versions", f"{info.version_count:,}"),
            ("stored", f"{size(info.stored_bytes)}{free}"),
            ("database", info.database),
            ("blobs", f"{info.blobs}{', can be read directly' if info.signs_downloads else ''}"),
            ("lifecycles", ", ".join(lifecycle.name for lifecycle in info.lifecycles)),
            ("position", info.position),
            ("clock", when(info.time)),
        ]
    )
