"""What is known about a push without being told: the state of the code, the user, Python, imported libraries.

There is no time in it: the same push twice has the same record.
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from podium.frameworks import imported_libraries, installed_frameworks
from podium.v1.records_pb2 import Library, Source, VersionRecord

GIT_SECONDS = 10.0
MAX_STRING_BYTES, MAX_URI_BYTES = 1_024, 2_048

_OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}


def provenance(path: Path, author: str) -> VersionRecord:
    """The record of a push of `path` as far as this process knows it."""
    framework, dependencies = imported_libraries()
    if framework is None:  # as at the command line: what is there can be told, not which of it made the model
        dependencies += installed_frameworks()
    runtime = Library(name="python", version=platform.python_version())
    source = git_source(path.resolve()) or git_source(_program_folder())
    return VersionRecord(author=author, source=source, runtime=runtime, framework=framework, dependencies=dependencies)


def git_source(path: Path) -> Source | None:
    """The state of the work tree that `path` is in, None if it is in none.

    Files that git does not track make no tree dirty: what was trained usually lies among them.
    """
    folder = path if path.is_dir() else path.parent
    status = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no")
    if status is None:
        return None
    lines = status.splitlines()
    told = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# ") and line.count(" ") > 1)
    return Source(
        repository=_one_line(without_credentials(_remote(folder, told.get("branch.upstream", ""))), MAX_URI_BYTES),
        commit="" if told.get("branch.oid", "(").startswith("(") else told["branch.oid"],
        branch="" if told.get("branch.head", "(").startswith("(") else _one_line(told["branch.head"], MAX_STRING_BYTES),
        dirty=any(not line.startswith("#") for line in lines),
    )


def without_credentials(url: str) -> str:
    """A remote's URL without what could log in: a user's name over HTTP, passwords, queries."""
    if "://" not in url:
        return re.sub("^[^/@]*:[^/@]*@", "", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    user, _, host = parts.netloc.rpartition("@")
    user = "" if parts.scheme.startswith("http") else user.partition(":")[0]
    return urlunsplit((parts.scheme, f"{user}@{host}" if user else host, parts.path, "", ""))


def _remote(folder: Path, upstream: str) -> str:
    """The URL of the remote that the branch follows, else of origin, else of the first."""
    listed = _git(folder, "config", "--get-regexp", r"^remote\..*\.url$") or ""
    pairs = (line.partition(" ") for line in reversed(listed.splitlines()))
    urls = {key.removeprefix("remote.").removesuffix(".url"): url for key, _, url in pairs}
    followed = [name for name in urls if upstream.startswith(f"{name}/")]
    wanted = [*followed, "origin", *sorted(urls)]
    return next((urls[name] for name in wanted if name in urls), "")


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None if it fails, is not there or takes too long."""
    # A hook that runs us says where its own repository is; a monitor that the repository's configuration names is a program.
    environment = {key: value for key, value in os.environ.items() if key not in _OF_A_HOOK}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603  no shell, and nothing that a server said
            command,
            env=environment | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def _program_folder() -> Path:
    """Where the program lies that is running; the current folder for a notebook, and for a program that is installed."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    program = Path(file).resolve() if file else None
    if program is None or _is_installed(program):
        return Path()
    return program.parent


def _is_installed(program: Path) -> bool:
    homes = {Path(sys.prefix).resolve(), Path(__file__).resolve().parent}
    return not homes.isdisjoint(program.parents) or not {"site-packages", "dist-packages"}.isdisjoint(program.parts)


def _one_line(text: str, max_bytes: int) -> str:
    """The text, or nothing if a record cannot hold it: a push does not fail over its provenance."""
    return text if text.isprintable() and len(text.encode()) <= max_bytes else ""
