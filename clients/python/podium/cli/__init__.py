"""The `podium` command. What only some commands need is imported when they run: `podium resolve` starts fast."""

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper


def main() -> None:
    """The entry point: runs the command line and exits with one of the codes that `podium --help` lists."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code. Whatever goes wrong is one line on stderr, never a trace."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # it may be closed
            stream.reconfigure(errors="backslashreplace")  # a locale that cannot say `…` is no error
    try:
        _run(arguments)
        if sys.stdout:
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  a user never gets a trace
        from podium.cli.exits import report

        return report(error, as_json="--json" in arguments)
    return 0


def _run(arguments: Sequence[str]) -> None:
    from click.shell_completion import shell_complete

    from podium.cli.app import app

    if completion := os.environ.get("_PODIUM_COMPLETE"):
        shell_complete(app, {}, "podium", "_PODIUM_COMPLETE", completion)
    else:
        with app.make_context("podium", list(arguments)) as context:
            app.invoke(context)
