"""A process whose clock is wrong: what is in its environment, by Debian's libfaketime. Its clock that only measures goes right."""

from pathlib import Path

HOURS = ("+1h", "-1h")


def wrong_clock(offset: str) -> dict[str, str]:
    """The environment of a process whose clock is off by so much; FileNotFoundError if this machine has no libfaketime."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"))
    if not found:
        raise FileNotFoundError("libfaketime is missing. On Debian: apt-get install faketime")
    return {"LD_PRELOAD": str(found[0]), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
