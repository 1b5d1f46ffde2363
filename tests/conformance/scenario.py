"""Scenarios: read from scenarios/*.toml, and played step by step with the driver of one language. README.md says what a step is."""

import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from conformance.scene import Scene
from conformance.transcript import Transcript
from conformance.values import Differs, Values

FOLDER = Path(__file__).with_name("scenarios")
UNTIL_SECONDS, AGAIN_SECONDS = 30, 0.05
NEXT_SECONDS = 30  # what `next`, `change` and `wait` get unless they say otherwise
HARNESS = {name for name in vars(Scene) if not name.startswith("_")} - {"close"}
COMPARED = {"tree", "record"}  # steps of the harness whose answers must be the same for all languages
WAITING = {"next", "change", "wait"}
EXPECTED = ("ok", "error")


@dataclass(frozen=True)
class Scenario:
    """A list of steps under a name, which is played for `each`, each time with new names.

    `connect` is what the driver is connected with before the first step, or False; without a `server` there is none, and with a
    `bucket` its blobs are there. What has to be `alone` is not played by two languages at once.
    """

    file: str
    name: str
    steps: list
    each: tuple = (None,)
    connect: object = ()
    server: bool = True
    bucket: bool = False
    alone: bool = False

    def __str__(self):
        return f"{self.file}: {self.name}"


def load():
    """All scenarios there are, in the order of their files."""
    return [
        Scenario(path.stem, name, **values)
        for path in sorted(FOLDER.glob("*.toml"))
        for name, values in tomllib.loads(path.read_text("utf-8")).items()
    ]


def play(scenario, driver, folder):
    """Plays a scenario; returns the driver's answers, as far as they must be the same for all languages."""
    scene = Scene(folder, server=scenario.server, bucket=scenario.bucket)
    try:
        return Play(scene, driver).all(scenario)
    finally:
        scene.close()


class Play:
    """One scenario amid its scene."""

    def __init__(self, scene, driver):
        self._scene, self._driver = scene, driver
        self._places = {"here": str(scene.folder), "cache": str(scene.cache_folder), "url": scene.address}
        self._places["server"] = scene.server_address
        self._transcript = Transcript({f"${name}": value for name, value in self._places.items()})

    def all(self, scenario):
        for each in scenario.each:
            self._values = Values(**self._places, digits="0" * 64, long="x" * 1030)
            self._values.known |= named(self._values.fill(each))
            if scenario.connect is not False:
                connect = {"do": "connect", "url": "$url", "cache": "$cache", "actor": "tester@here", **dict(scenario.connect)}
                self._step(connect, f"connect {'' if each is None else each!r}")
            for place, step in enumerate(scenario.steps):
                self._all(dict(step), f"{'' if each is None else each!r} step {place + 1}, {step['do']}")
        self._driver.ask(do="close")
        return self._transcript.answers

    def _all(self, step, where):
        """Plays one step as often as it says."""
        for each in self._values.fill(step.pop("each", [None])):
            self._values.known |= named(each)
            self._step(step, f"{where} {'' if each is None else each!r}")

    def _step(self, step, where):
        """Plays one step, again and again where it says `until`."""
        end = time.monotonic() + UNTIL_SECONDS
        while True:
            try:
                self._once(dict(step), where)
                return
            except (Differs, FileNotFoundError):
                if not step.get("until") or time.monotonic() > end:
                    raise
            time.sleep(AGAIN_SECONDS)

    def _once(self, step, where):
        step.pop("until", None)
        later, differs = step.pop("later", False), step.pop("differs", ())
        expected = {key: step.pop(key) for key in EXPECTED if key in step} or {"ok": {}}
        step = self._values.fill(step)
        verb = step.pop("do")
        if later:
            self._driver.send(do=verb, **step)
            return
        answer = self._ask(verb, step)
        if "error" in answer and "error" not in expected:
            raise Differs(f"{where} failed: {answer['error']}")
        if "error" in answer:
            check_message(answer["error"], where)
        if expected != {"ok": {}}:
            self._values.match(expected, answer, where)
        if verb not in HARNESS or verb in COMPARED:
            self._transcript.add(where, answer, differs)

    def _ask(self, verb, step):
        if verb in HARNESS:
            return {"ok": getattr(self._scene, verb)(**step)}
        if verb == "answer":
            answer = self._driver.answer()
        elif verb == "events":
            answer = self._events(**step)
        else:
            answer = self._driver.ask(do=verb, **({"seconds": NEXT_SECONDS} if verb in WAITING else {}) | step)
        if "snapshot" in (answer.get("ok") or ()):
            answer["ok"]["snapshot"].sort(key=lambda one: (one["model"], one["kind"], one["name"]))
        return answer

    def _events(self, handle, count):
        """The next changes of a watch, which come one by one or several at once."""
        events, answer = [], {}
        while len(events) < count:
            answer = self._driver.ask(do="next", handle=handle, seconds=NEXT_SECONDS)
            if "changes" not in (answer.get("ok") or ()):
                return answer
            if events and events[-1]["position"] == answer["ok"]["changes"][0]["position"]:
                raise Differs(f"the events of one position came in two steps: {answer}")
            events += answer["ok"]["changes"]
        return {"ok": {"changes": events, "position": answer["ok"]["position"]}}


def named(each):
    """The names that one of several rounds gives: those of a table, else `each`."""
    return each if isinstance(each, dict) else {} if each is None else {"each": each}


def check_message(error, where):
    """An error is whole, and its message is one line."""
    if set(error) != {"kind", "code", "reason", "fields", "metadata", "message"}:
        raise Differs(f"{where}: this is no error: {error}")
    if not error["message"].strip() or len(error["message"].splitlines()) != 1:
        raise Differs(f"{where}: the message is not one line: {error['message']!r}")
