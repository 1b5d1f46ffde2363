"""Switches a rollout's folder as asked, line by line on stdin, each in a process that is killed before one of its steps."""

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from podium.rollout import Rollout
from podium.v1.resolve_pb2 import Target

STEPS = {"os.rename", "os.remove", "os.rmdir", "os.symlink", "os.mkdir"}


def switch(place, target, source, log):
    """What a sidecar does at its start."""
    with Rollout(Path(place)) as rollout:
        rollout.switch(Target(**target), Path(source))
        if not rollout.is_told:
            with Path(log).open("a") as file:
                file.write(f"{target['digest']}\n")
            rollout.told()
        rollout.prune(2)


def die_at(last):
    """Kills this process before the step of that number: whatever changes a folder, or opens a file to write."""
    steps = itertools.count(1)

    def count(event, arguments):
        is_step = event in STEPS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR))
        if is_step and next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.fsync = lambda _: None  # no power fails here
        die_at(asked.pop("step"))
        switch(**asked)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "done", flush=True)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
