"""The short form of scripts/chaos."""

import random

import postgres
import pytest
from chaos.faults import CUTS, FAULTS
from chaos.round import Round
from clocks import HOURS, wrong_clock

SEED = 20_261_122
COPIED, REPLACED = CUTS

try:
    postgres.program("postgres")
    wrong_clock(HOURS[0])
except FileNotFoundError as missing:  # scripts/test says it aloud
    pytest.skip(str(missing), allow_module_level=True)


def survive(folder, faults):
    print(f"seed {SEED}")
    one = Round(folder, SEED, longest=0.6)
    one.run((fault,) for fault in faults)
    assert not one.violations, "\n".join(one.violations)
    assert one.injected.total() == len(faults)
    assert any(call.lost for call in one.load.calls) and one.load.blobs
    return one


def test_every_fault_once(tmp_path):
    faults = list(FAULTS)
    random.Random(SEED).shuffle(faults)
    survive(tmp_path, faults)


def test_postgres_becomes_an_older_copy_of_itself_and_goes_on(tmp_path):
    one = survive(tmp_path, [COPIED, REPLACED, "replica: kill -9", COPIED, "PostgreSQL: kill -9", REPLACED])
    assert sum(watcher.cuts_told for watcher in one.watchers) > len(one.watchers)
