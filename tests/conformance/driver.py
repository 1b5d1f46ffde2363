"""The Python client behind the driver protocol of README.md: one JSON object a line on stdin, its answer on stdout."""

import json
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from queue import Empty, SimpleQueue

import podium

TARGET = [field.name for field in fields(podium.Current) if field.name not in ("reference", "path")]


class WrongUse(Exception):
    """Whoever drives asks for what no driver does."""


class Items:
    """An iterator whose next item is waited for for some seconds; what comes too late is the answer to the next question."""

    def __init__(self, iterator):
        self._iterator = iterator
        self._found = SimpleQueue()
        self._asked = False

    def next(self, seconds):
        if not self._asked:
            self._asked = True
            threading.Thread(target=self._read, daemon=True).start()
        try:
            item, error = self._found.get(timeout=seconds)
        except Empty:
            return None
        self._asked = False
        if error:
            raise error
        return item

    def _read(self):
        try:
            self._found.put((next(self._iterator), None))
        except Exception as error:
            self._found.put((None, error))


class Driver:
    """One client, and what was opened with it by handle. Each public method is a verb."""

    def __init__(self):
        self._registry = None
        self._opened = {}
        self._items = {}

    def connect(self, url, cache, actor=None, timeout_seconds=30, direct=False):
        self.close()
        self._registry = podium.connect(url, cache=cache, actor=actor, timeout=timeout_seconds, direct=direct)
        return {}

    def push(self, model, path, **options):
        pushed = self._registry.push(model, path, **options)
        version = {
            name: getattr(pushed.version, name) for name in ("model", "number", "version", "digest", "record_digest", "stage")
        }
        did = {name: getattr(pushed, name) for name in ("created", "files", "size_bytes", "uploaded_bytes")}
        return {**version, **did, "left_out": list(pushed.left_out)}

    def pull(self, reference, to=None):
        return {"path": str(self._registry.pull(reference, to).absolute())}

    def resolve(self, reference, for_serving=False, at_least=""):
        return target(self._registry.resolve(reference, for_serving=for_serving, at_least=at_least))

    def watch(self, handle, references, **options):
        watch = self._registry.watch(*references, **options)
        self._keep(handle, watch, watch)
        return {}

    def next(self, handle, seconds):
        found = self._next(handle, seconds)
        return step(found) if found else {"timeout": True}

    def position(self, handle):
        opened = self._get(handle)
        position = opened.position if isinstance(opened, podium.Watch) else opened._reader.watch.position or opened._position
        return {"position": position}

    def follow(self, handle, reference, for_serving=True, seconds=None):
        follower = self._registry.follow(reference, for_serving=for_serving, timeout=seconds)
        self._keep(handle, follower, None)
        return current(follower.current)

    def current(self, handle):
        return current(self._get(handle).current)

    def change(self, handle, seconds):
        self._items[handle] = self._items[handle] or Items(self._get(handle).changes())
        found = self._next(handle, seconds)
        return current(found) if found else {"timeout": True}

    def wait(self, handle, seconds, state=None, number=None):
        follower = self._get(handle)

        def holds(one):
            return state in (None, one.state) and number in (None, one.current.number)

        return {**({} if follower.wait_for(holds, seconds) else {"timeout": True}), **self.state(handle)}

    def state(self, handle):
        follower = self._get(handle)
        return {
            "state": str(follower.state),
            "problem": follower.problem or "",
            "warnings": list(follower.warnings),
            "number": follower.current.number,
        }

    def close(self, handle=None):
        if handle is not None:
            self._get(handle).close()
            del self._opened[handle], self._items[handle]
        elif self._registry:
            self._registry.close()
            self._registry, self._opened, self._items = None, {}, {}
        return {}

    def usage(self):
        return {"tasks": threading.active_count()}

    def _keep(self, handle, opened, iterator):
        if handle in self._opened:
            self._opened[handle].close()
        self._opened[handle] = opened
        self._items[handle] = iterator and Items(iterator)

    def _get(self, handle):
        if handle not in self._opened:
            raise WrongUse(f"nothing is called {handle!r}")
        return self._opened[handle]

    def _next(self, handle, seconds):
        self._get(handle)
        return self._items[handle].next(seconds)


def target(found):
    return {name: getattr(found, name) for name in TARGET} | {"warnings": list(found.warnings)}


def current(found):
    return {"reference": found.reference, "path": str(Path(found.path).absolute()), **target(found)}


def step(found):
    if isinstance(found, podium.Snapshot):
        said = {"snapshot": [reference(one) for one in found.references], "restored": found.restored}
    else:
        said = {"changes": [event(one) for one in found.events]}
    return {**said, "position": found.position}


def reference(found):
    said = {name: getattr(found, name) for name in ("model", "model_uid", "name")}
    kind, absence = podium.EventKind.Name(found.kind), podium.Absence.Name(found.absence)
    meant = {"number": found.target.number, "digest": found.target.digest, "warnings": list(found.warnings)}
    return {**said, "kind": kind, "absence": absence, **meant}


def event(found):
    said = {
        name: getattr(found, name) for name in ("revision", "ordinal", "position", "model", "name", "actor", "reason", "rollback")
    }
    kind, absence = podium.EventKind.Name(found.kind), podium.Absence.Name(found.absence)
    return {**said, "kind": kind, "absence": absence, "before": number(found.before), "after": number(found.after)}


def number(state):
    """The number of the version that an event's state is about; 0 if it is about none."""
    return state.version.number or state.target.number


def failure(error):
    if isinstance(error, podium.PodiumError):
        kind, code = type(error).__name__, error.code.name if error.code else ""
        said = {"reason": error.reason, "fields": error.fields, "metadata": error.metadata}
        return {"kind": kind, "code": code, **said, "message": str(error)}
    return {"kind": "Local", "code": "", "reason": "", "fields": {}, "metadata": {}, "message": str(error)}


def answer(driver, question):
    verb = question.pop("do", "")
    if verb.startswith("_") or not callable(getattr(driver, verb, None)):
        raise WrongUse(f"there is no verb {verb!r}")
    try:
        return {"ok": getattr(driver, verb)(**question)}
    except StopIteration:
        return {"ok": {"end": True}}
    except (podium.PodiumError, OSError) as error:
        return {"error": failure(error)}


def main():
    driver = Driver()
    try:
        for line in sys.stdin:
            print(json.dumps(answer(driver, json.loads(line))), flush=True)
    except WrongUse as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    finally:
        with suppress(Exception):
            driver.close()


if __name__ == "__main__":
    main()
