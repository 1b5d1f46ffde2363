"""The short form of scripts/vigil."""

from vigil import Vigil

SEED = 20_261_121


def test_watches_of_a_registry_that_suffers(tmp_path):
    print(f"seed {SEED}")
    vigil = Vigil(tmp_path, SEED)
    vigil.run(seconds=10)
    assert vigil.faults
    assert all(watcher.segments for watcher in vigil.watchers)
