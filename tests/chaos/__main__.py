"""Breaks a registry of two replicas, PostgreSQL and a bucket while clients use it, and checks all that they were told."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from chaos.faults import ALL, CUTS, FAULTS
from chaos.round import Round

FAULTS_OF_A_ROUND = 12
TWO_AT_ONCE = 0.3
LONGEST_SECONDS = {2.0: 5, 6.0: 4, 25.0: 1}  # by weight; the last is longer than the timeouts of locks and connections


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)s); a round is finished")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the dice (default: a random one)")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the faults whose name has this text")
    given = parser.parse_args()
    names = [name for name in ALL if given.only in name]
    if not names:
        parser.error(f"no fault has this in its name; there are: {', '.join(ALL)}")
    print(f"breaking registries for {given.minutes:g} minutes, seed {given.seed}", flush=True)
    end, rounds = time.monotonic() + 60 * given.minutes, []
    while time.monotonic() < end:
        rounds.append(play(given.seed + len(rounds), names, len(rounds)))
        show(rounds)
    print("\n", *report(rounds), sep="\n")
    sys.exit(any(one.violations for one in rounds))


def play(seed: int, names: list[str], number: int) -> Round:
    """One round of these faults."""
    folder = Path(tempfile.mkdtemp(prefix="podium-chaos-"))
    dice = random.Random(seed)
    (longest,) = dice.choices([*LONGEST_SECONDS], [*LONGEST_SECONDS.values()])
    one = Round(folder, seed, longest=longest)
    one.run(plan(dice, names, number))
    if one.violations:
        print(f"\nround {number}, seed {seed}, of which the logs are in {folder}:", *one.violations, sep="\n", flush=True)
    else:
        shutil.rmtree(folder)
    return one


def plan(dice: random.Random, names: list[str], number: int) -> list[tuple[str, ...]]:
    """Which faults a round has, some of them two at once; in every second one history is cut, too."""
    single = [name for name in names if name in FAULTS]
    faults = [some(dice, single) for _ in range(FAULTS_OF_A_ROUND)] if single else []
    if any(name in names for name in CUTS) and (number % 2 or not single):
        copied, replaced = ((name,) for name in CUTS)
        faults = [copied, *faults[:4], replaced, *faults[4:8], dice.choice([copied, replaced]), replaced, *faults[8:]]
    return faults


def some(dice: random.Random, names: list[str]) -> tuple[str, ...]:
    """One fault, or two that can be at once: of two places."""
    one, other = dice.choices(names, k=2)
    return (one, other) if dice.random() < TWO_AT_ONCE and place(one) != place(other) else (one,)


def place(fault: str) -> str:
    return fault.partition(":")[0].removesuffix("s")


def show(rounds: list[Round]) -> None:
    faults = sum(one.injected.total() for one in rounds)
    violations = sum(len(one.violations) for one in rounds)
    text = f"{len(rounds)} rounds, {faults} faults, {sum(len(one.load.calls) for one in rounds)} calls, {violations} violations"
    print(f"\r{text}", end="" if sys.stdout.isatty() else "\n", flush=True)


def report(rounds: list[Round]) -> Iterator[str]:
    """What was injected, and what became of it."""
    injected = total(one.injected for one in rounds)
    width = max(map(len, ALL))
    yield f"{'injected':{width}}  times"
    for name in ALL:
        yield f"{name:{width}}  {injected[name]:5}"
    yield ""
    calls = [call for one in rounds for call in one.load.calls]
    ends = Counter("answered" if call.reply else "refused with a reason" if call.refusal else "left" for call in calls)
    yield f"{len(calls)} calls: {told(ends)}; {sum(call.lost > 0 for call in calls)} of them met a fault"
    yield f"the longest wait for an answer: {max(call.seconds for call in calls if call.reply or call.refusal):.1f} s"
    yield f"streams of uploads: {told(total(Counter(one.load.uploads) for one in rounds))}"
    watchers = [watcher for one in rounds for watcher in one.watchers]
    events = sum(len(segment.events) for watcher in watchers for segment in watcher.segments)
    yield f"watches: {sum(watcher.streams for watcher in watchers)} streams, {events} events"
    yield f"told that history was cut: {sum(watcher.cuts_told for watcher in watchers)} times"
    yield f"violations: {sum(len(one.violations) for one in rounds)}"


def total(counters: Iterable[Counter[str]]) -> Counter[str]:
    return sum(counters, Counter())


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common())


if __name__ == "__main__":
    main()
