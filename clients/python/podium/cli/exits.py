"""From an exception to one line on stderr and an exit code."""

import dataclasses
import json
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from podium.cli.output import safe

if TYPE_CHECKING:
    from podium.errors import PodiumError

FAILED, USAGE, NOT_FOUND, REFUSED, CONFLICT, UNAVAILABLE, DAMAGED = range(1, 8)
INTERRUPTED, BROKEN_PIPE = 130, 141

EXIT_CODES = f"""\b
Exit codes:
  0    done
  {FAILED}    failed: any other error
  {USAGE}    usage: the command line is wrong
  {NOT_FOUND}    not found: no such model, version, alias or file
  {REFUSED}    refused: a rule or a limit says no
  {CONFLICT}    conflict: it exists already, or somebody else was first
  {UNAVAILABLE}    unavailable: the server is not there, overloaded or full; may work later
  {DAMAGED}    damaged: bytes are not what their digest says, or a directory differs
  {INTERRUPTED}  interrupted by Ctrl-C
"""

_NEXT_STEP = {
    "MODEL_NOT_FOUND": "`podium models` lists those there are",
    "VERSION_NOT_FOUND": "`podium versions NAME` lists those there are",
    "ALIAS_NOT_FOUND": "`podium alias ls NAME` lists those there are",
    "STAGE_EMPTY": "`podium versions NAME` says who is in which stage",
    "MODEL_EXISTS": "`podium model edit` changes it",
    "FILE_IS_EXTERNAL": "`podium manifest REF --json` says where it is",
    "STORAGE_FULL": "free space on the server, then run this again: it goes on where it stopped",
    "BLOB_DAMAGED": "push the same files again to put the good bytes back",
}


@dataclass(frozen=True)
class Failure:
    """What went wrong: the words for people, the rest for machines."""

    exit_code: int
    message: str
    status: str = ""
    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def resumable(what: str) -> Iterator[None]:
    """Says to whoever presses Ctrl-C that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.Abort(f"; the same {what} goes on where it stopped") from None


def report(error: BaseException, *, as_json: bool) -> int:
    """Says on stderr, in one line, what went wrong and what to do about it, and returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    _drain_stdout()
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    failure = _explain(error)
    if os.environ.get("PODIUM_TRACE"):
        traceback.print_exception(error, file=sys.stderr)
    as_text = "podium: " + safe(failure.message)
    click.echo(json.dumps({"error": dataclasses.asdict(failure)}) if as_json else as_text, err=True)
    return failure.exit_code


def _drain_stdout() -> None:
    """If stdout cannot take what it has, it forgets it: Python's own last flush would complain once more."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: BaseException) -> Failure:
    if isinstance(error, click.ClickException):
        return Failure(error.exit_code, _of_click(error))
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return Failure(INTERRUPTED, f"interrupted{error}")
    from podium.errors import PodiumError

    if isinstance(error, PodiumError):
        return _of_podium(error)
    if isinstance(error, UnicodeEncodeError):
        return Failure(USAGE, f"{error.object!r} is not UTF-8")
    if isinstance(error, OSError):
        return Failure(FAILED, ": ".join(str(part) for part in (error.filename, error.strerror or error) if part))
    return Failure(FAILED, f"this is a bug: {type(error).__name__}: {error} (PODIUM_TRACE=1 shows where)")


def _of_click(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message.rstrip('.')}. See {error.ctx.command_path} --help"
    return message


def _of_podium(error: "PodiumError") -> Failure:
    status = error.code.name if error.code else ""
    next_step = _NEXT_STEP.get(error.reason, "").replace("NAME", error.metadata.get("model", "NAME"))
    message = f"{error}; {next_step}" if next_step else str(error)
    return Failure(_code_of(error), message, status, error.reason, error.metadata, error.fields)


def _code_of(error: "PodiumError") -> int:
    from podium import errors

    codes = {
        NOT_FOUND: (errors.NotFound,),
        REFUSED: (errors.InvalidArgument, errors.FailedPrecondition, errors.OutOfRange, errors.PushRefused),
        CONFLICT: (errors.AlreadyExists, errors.Conflict),
        UNAVAILABLE: (errors.Unavailable, errors.ResourceExhausted),
        DAMAGED: (errors.DataLoss, errors.DamagedFile, errors.HostileServer),
    }
    if error.reason == "TOO_LARGE":  # waiting does not help
        return REFUSED
    return next((code for code, kinds in codes.items() if isinstance(error, kinds)), FAILED)
