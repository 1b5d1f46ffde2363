"""podium follow and podium materialize: a folder that any serving system can read, kept at what a reference means."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from podium.cli.output import safe, to_json
from podium.cli.session import Command, Session, direct_option, pass_session

if TYPE_CHECKING:
    from podium import Current, Follower, Registry
    from podium.rollout import Naming, Rollout

AGAIN_SECONDS = 5.0  # after what failed here; a pull has pauses of its own
PATIENCE_SECONDS = 5.0  # after which it is said that the registry is away

naming_option = click.option(
    "--folders",
    "naming",
    type=click.Choice(["version", "number"]),
    default="version",
    show_default=True,
    help="What a version's folder is called. Serving systems that want numbers get numbers.",
)
folder = click.Path(file_okay=False, path_type=Path)


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.option("--into", "directory", metavar="DIR", required=True, type=folder, help="The folder.")
@click.option("--exec", "command", metavar="CMD", help="A shell command to run after each switch; see below.")
@click.option("--keep", type=click.IntRange(min=1), default=2, show_default=True, metavar="N", help="How many versions to keep.")
@naming_option
@direct_option
@pass_session
def follow(
    session: Session, /, reference: str, directory: Path, command: str | None, keep: int, naming: "Naming", *, direct: bool
) -> None:
    """Keep DIR/current at the version that REF means, until SIGTERM, which ends it with exit code 0.

    REF is an alias, a stage or @latest. Each version is a folder DIR/VERSION, whole from the moment it is there;
    DIR/current is a link that moves in one step. A version that cannot be had leaves everything as it is, and is tried
    again. While the registry is away, and over restarts, DIR stays as it is.

    CMD finds PODIUM_REFERENCE, PODIUM_MODEL, PODIUM_VERSION, PODIUM_NUMBER, PODIUM_DIGEST and PODIUM_PATH in its
    environment, and its output goes to stderr. It runs at least once after each switch, also if this process was killed
    in between; if it fails, it is run again.
    """
    from podium.rollout import Rollout

    logging.getLogger("podium").addHandler(_Lines())
    with _ends_on_sigterm(), session.registry(direct=direct) as registry, Rollout(directory, naming=naming) as rollout:
        keeper = Keeper(session, rollout, command, keep)
        with keeper.start(registry, reference) as follower:
            keeper.run(follower)


@click.command(cls=Command)
@click.argument("reference", metavar="REF")
@click.argument("directory", metavar="DIR", type=folder)
@naming_option
@direct_option
@pass_session
def materialize(session: Session, /, reference: str, directory: Path, naming: "Naming", *, direct: bool) -> None:
    """Make DIR/current the version that REF means now, as `podium follow` does, once: for an init container.

    Print the version's folder. A version that may not serve is refused.
    """
    from podium.rollout import Rollout

    with session.registry(direct=direct) as registry, Rollout(directory, naming=naming) as rollout:
        target = registry.resolve(reference, for_serving=True)
        switched = rollout.switch(target, registry.pull(f"{target.model}@{target.digest}"))
        path = str(rollout.path)
    session.answer({"reference": reference, "target": target, "path": path, "switched": switched}, path)


class Keeper:
    """Moves a rollout along with a follower, and says what happens: a line a switch on stdout, all else on stderr."""

    def __init__(self, session: Session, rollout: "Rollout", command: str | None, keep: int) -> None:
        self._session = session
        self._rollout = rollout
        self._command = command
        self._keep = keep
        self._said = ""

    def start(self, registry: "Registry", reference: str) -> "Follower":
        """The follower; a registry that is away is waited for."""
        from podium import Unavailable

        while True:
            try:
                return registry.follow(reference, timeout=PATIENCE_SECONDS)
            except Unavailable as error:
                self._say(f"{error}; waiting for it")

    def run(self, follower: "Follower") -> None:
        """Until somebody ends it."""
        while True:
            seen = (follower.current, follower.state, follower.problem)
            fault = self._place(follower)
            self._say(fault or follower.problem or _text_of(follower))

            def news(follower: "Follower", seen: object = seen) -> bool:
                return (follower.current, follower.state, follower.problem) != seen

            follower.wait_for(news, AGAIN_SECONDS if fault else None)

    def _place(self, follower: "Follower") -> str:
        """Makes everything as it should be, and says why that could not be."""
        from podium import PodiumError

        try:
            with follower.use() as current:
                before = self._rollout.current
                if self._rollout.switch(current, current.path):
                    self._announce(current, before.version if before else "")
                if not self._rollout.is_told:
                    self._run_command(current)
                    self._rollout.told()
            self._rollout.prune(self._keep)
        except BrokenPipeError:  # of stdout: nobody listens any more
            raise
        except (OSError, PodiumError) as error:
            return f"{error}; it is tried again"
        return ""

    def _announce(self, current: "Current", before: str) -> None:
        folder = self._rollout.path
        if self._session.json:
            line = to_json({**asdict(current), "path": str(folder), "previous_version": before})
        else:
            line = safe(f"{current.reference} → {current.version}{f', was {before}' if before else ''}  {folder}")
        click.echo(line)

    def _run_command(self, current: "Current") -> None:
        from podium import PodiumError

        if not self._command:
            return
        told = {
            "PODIUM_REFERENCE": current.reference,
            "PODIUM_MODEL": current.model,
            "PODIUM_VERSION": current.version,
            "PODIUM_NUMBER": str(current.number),
            "PODIUM_DIGEST": current.digest,
            "PODIUM_PATH": str(self._rollout.path.absolute()),
        }
        # What the server said is in its environment only, never in the text that the shell reads. Stdout is for our own lines.
        shell = subprocess.run(["/bin/sh", "-c", self._command], env={**os.environ, **told}, stdout=sys.stderr, check=False)  # noqa: S603
        if shell.returncode:
            raise PodiumError(f"{self._command!r} ended with exit code {shell.returncode}")

    def _say(self, text: str) -> None:
        """Says it once, until something else is said."""
        if text != self._said:
            click.echo(f"podium: {safe(text or 'all is well again')}", err=True)
        self._said = text


class _Lines(logging.Handler):
    """What the client logs, as lines like ours; but not what `Follower.problem` says, which the keeper says."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        with suppress(OSError):  # nobody listens, which is no reason to end the thread that it comes from
            if " cannot be had: " not in text:
                click.echo(f"podium: {safe(text)}", err=True)


def _text_of(follower: "Follower") -> str:
    texts = {
        "stale": "the registry does not answer; what is there stays",
        "gone": f"{follower.reference} means nothing any more; what is there stays",
        "unservable": f"{follower.reference} may not serve ({'; '.join(follower.warnings)}); what is there stays",
        "restored": "the registry was restored to an older state, or is another one; DIR is what it says now",
    }
    return texts.get(follower.state.value, "")


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    def end(*_: object) -> None:
        sys.exit(0)  # no Exception: nobody on the way takes it for an error

    before: Callable[..., object] | int | None = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
