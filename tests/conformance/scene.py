"""What surrounds the driver in a scenario: server, relay, files and cache. Each public method of Scene is a step of a harness."""

import contextlib
import json
import os
import signal
import threading
from collections import Counter
from hashlib import sha256
from pathlib import Path

import podium
from conftest import RunningServer
from following import HEARTBEAT, FaultyRelay, copy_data, remove_data, replace_data
from gcs_servers import BUCKET, StrictFake
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from podium.sealed import FILE_TIME

from conformance.content import copy_start, digest_file, manifest_digest, remove, tree, write
from conformance.hostile import Scripted, serving

SECONDS = 60  # after which something that does not come is missing
NOWHERE = "127.0.0.1:1"
SIGNED = "X-Goog-Signature"


class Faults(FaultyRelay):
    """A relay whose armed cut may also be a stall."""

    stalls = False

    def cut(self):
        stalls, self.stalls = self.stalls, False
        if stalls:
            self.stall()
        else:
            super().cut()


class Scene:
    """A server of its own behind a relay, a cache and a folder, and maybe a bucket; all is gone after `close`."""

    def __init__(self, folder, *, server=True, bucket=False):
        self.folder = folder
        self.cache_folder = folder / "cache"
        self._bucket = StrictFake(folder / "gcs") if bucket else None
        self._reads = Counter()
        self._server = self._serve() if server else None
        self._relay = Faults(self._server.address if self._server else NOWHERE)
        self._cut = threading.Event()
        self._passed = (0, 0, 0)
        self._ends = contextlib.ExitStack()
        self.address = self._relay.address
        self.server_address = self._server.address if self._server else NOWHERE

    def close(self):
        self._ends.close()
        self._relay.close()
        if self._server and self._server.process.returncode is None:
            self._server.kill()
        if self._bucket:
            self._bucket.kill()
        remove(self.folder)

    def _serve(self):
        if not self._bucket:
            return RunningServer(self.folder / "server", *HEARTBEAT)
        blobs = ("--blobs", f"gs://{BUCKET}/blobs")
        return RunningServer(self.folder / "server", *HEARTBEAT, *blobs, environment=self._bucket.account(self.folder))

    # The server.

    def server(self, action):
        """kill, stop, start; pause, resume; save, restore: a copy of its folder, made and put in place while it is stopped."""
        getattr(self, f"_server_{action}")()

    def _server_kill(self):
        self._server.kill()

    def _server_stop(self):
        self._server.stop()
        assert "Traceback" not in self._server.output()

    def _server_start(self):
        self._server.start()
        self._relay.lead_to(self._server.address)

    def _server_pause(self):
        self._server.process.send_signal(signal.SIGSTOP)

    def _server_resume(self):
        self._server.process.send_signal(signal.SIGCONT)

    def _server_save(self):
        self._server.stop()
        copy_data(self._server, self.folder / "copy")
        self._server_start()

    def _server_restore(self):
        self._server.stop()
        replace_data(self._server, self.folder / "copy")
        self._server_start()

    def _server_empty(self):
        self._server.stop()
        remove_data(self._server)
        self._server_start()

    def stored(self, reference, path, how):
        """The server's bytes of a file: `remove` them, or `flip` a bit."""
        (blob,) = (self._server.data / "blobs").rglob(self._digest(reference, path))
        if how == "remove":
            blob.unlink()
        else:
            blob.chmod(0o644)
            flip(blob)

    def registry(self, call, **arguments):
        """A method of the Python client, straight to the server, as somebody else: `call` with these arguments."""
        with podium.connect(self._server.address, actor="admin@there", cache=self.folder / "admin") as registry:
            return plain(getattr(registry, call)(**arguments))

    def hostile(self, **lies):
        """From now on the address leads to a server that lies; see Scripted."""
        self._ends.close()
        self._liar = Scripted(**lies)
        self._relay.lead_to(self._ends.enter_context(serving(self._liar)))
        self._relay.cut()

    def asked(self, method):
        """What the liar was asked by this method: how often, by whom, with how many request ids; what uploads sent from where."""
        calls = self._liar.asked[method]
        return {
            "times": len(calls),
            "actors": sorted({call["actor"] for call in calls}),
            "ids": len({call.get("request_id") for call in calls}),
            "begun": [call["begun"] for call in calls if "begun" in call],
        }

    # The bucket.

    def bucket(self, instead=None, order=None, forget=False, **more):
        """What becomes of the next `count` reads by a URL (see gcs_fake.py); `instead` they get the file of that path in m:1.

        Or all that was ordered is forgotten.
        """
        if forget:
            self._bucket.forget_orders()
            return
        if instead:
            digest = self._digest("m:1", instead)
            more["instead"] = f"blobs/sha256/{digest[:2]}/{digest}"
        self._bucket.order(path=SIGNED, **more, **(order or {}))

    def reads(self):
        """How often the bucket was read since the last time: by URLs, and by the server."""
        now = Counter(self._bucket.reads())
        before, self._reads = self._reads, now
        return {way: now[way] - before[way] for way in now}

    # The relay.

    def relay(self, action, down=None, up=None, then=None, stalls=False):
        """cut, stall, half_close: all connections; away: and new ones fail too; back.

        arm: a cut (or stall) after so many bytes `up` or `down`, `then` something with the server; met: waits for that.
        """
        if action == "arm":
            self._cut.clear()
            self._relay.stalls = stalls
            self._relay.when_cut = lambda: self._meet(then)
            self._relay.cut_after(up=up, down=down)
        elif action == "met":
            assert self._cut.wait(SECONDS), f"only {self._relay.up} bytes went up and {self._relay.down} down"
        elif action == "away":
            self._relay.lead_to(NOWHERE)
            self._relay.cut()
        elif action == "back":
            self._relay.lead_to(self._server.address)
        else:
            getattr(self._relay, action)()

    def _meet(self, then):
        if then:
            self.server(then)
        self._cut.set()

    def passed(self):
        """The bytes and connections that passed the relay since this was asked last."""
        now = (self._relay.up, self._relay.down, self._relay.connections)
        before, self._passed = self._passed, now
        return dict(zip(("up", "down", "connections"), (one - other for one, other in zip(now, before, strict=True)), strict=True))

    # Files.

    def files(self, at, content=(), folders=(), links=(), pipes=()):
        """Makes files (see content), empty folders, links and pipes below a folder of the scenario."""
        place = self.folder / at
        for path, value in dict(content).items():
            write(place / path, value)
        for path in folders:
            (place / path).mkdir(parents=True)
        for path, target in dict(links).items():
            (place / path).symlink_to(target)
        for path in pipes:
            os.mkfifo(place / path)
        return {"path": str(place)}

    def tree(self, at, digests=True):
        """All that is in a folder, without digests where reading it all again takes too long."""
        return tree(at, digests=digests)

    def same(self, one, other):
        """Whether two folders have the same files, byte for byte; folders without files do not count."""
        return {"same": manifest_digest(one) == manifest_digest(other)}

    def left(self):
        """What there is in the scenario's folder beside the cache."""
        return {"names": sorted(path.name for path in self.folder.iterdir() if path != self.cache_folder)}

    def manifest(self, at):
        """The digest of the version that a folder makes."""
        return {"digest": manifest_digest(at)}

    # The cache.

    def cached(self):
        """What is in the cache. `other` is what has no business there between two steps."""
        layout = self.cache_folder / "v1"
        names = {kind: sorted(path.name for path in layout.glob(f"{kind}/*")) for kind in ("trees", "followed")}
        return {
            "versions": [f"sha256:{name}" for name in names["trees"] if "." not in name],
            "files": sorted(path.name for path in layout.glob("blobs/*/*")),
            "partial": {path.name: path.stat().st_size for path in layout.glob("partial/*")},
            "records": len([name for name in names["followed"] if name.endswith(".json")]),
            "other": [name for name in names["trees"] if "." in name]
            + [name for name in names["followed"] if not name.endswith(".json")]
            + [path.name for path in layout.glob("*") if path.name not in ("blobs", "trees", "partial", "followed", "locks")],
        }

    def damage(self, path, how):
        """A file in the cache: `write` to it, `flip` a bit with its time put back, `remove`, `truncate`; `add` one; `unseal` it."""
        place = Path(path)
        place.parent.chmod(0o755)
        if how == "add":
            place.write_text("added")
        elif how == "remove":
            place.unlink()
        else:
            place.chmod(0o644)
            if how == "write":
                place.write_bytes(b"!" * place.stat().st_size)
            elif how == "truncate":
                os.truncate(place, place.stat().st_size // 2)
            elif how == "flip":
                flip(place)
                os.utime(place, (FILE_TIME, FILE_TIME))
            if how != "unseal":
                place.chmod(0o444)
        place.parent.chmod(0o555)

    def partial(self, source, size, reference="", path="", digest_of=""):
        """An earlier process got so many bytes of a file of a version, or of one that is like another; those of `source`."""
        name = digest_file(Path(digest_of)) if digest_of else self._digest(reference, path)
        place = self.cache_folder / "v1/partial" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        copy_start(Path(source), place, size)

    def prune(self):
        """Removes all from the cache that nobody uses; what that was."""
        pruned = podium.Cache(self.cache_folder).prune(0)
        return {
            kind: sorted(entry.digest for entry in pruned.entries if entry.kind == kind) for kind in ("version", "file", "partial")
        }

    def record(self, reference, kind="serving"):
        """What a follower wrote down for the next one."""
        return json.loads(self._record(reference, kind).read_text())

    def spoil(self, change, reference="m@champion"):
        """Changes fields of a record, wherever in it they are; `text` replaces all of it, `target_…` and `file_…` are new ones."""
        place = self._record(reference, "serving")
        content = json.loads(place.read_text())
        parts = {"": content, "target_": content["target"], "file_": content["files"][0]}
        for name, value in change.items():
            prefix = next((one for one, part in parts.items() if name in part or (one and name.startswith(one))), "")
            parts[prefix][name.removeprefix(prefix)] = value
        place.write_text(change.get("text", json.dumps(content)))

    def lose_cache(self):
        """Somebody removes all of it."""
        remove(self.cache_folder)

    def _record(self, reference, kind):
        key = f"{self.address}\n{reference}\n{kind}"
        return self.cache_folder / "v1/followed" / f"{sha256(key.encode()).hexdigest()}.json"

    def _digest(self, reference, path):
        (file,) = [file for file in self.registry("files", reference=reference) if file["path"] == path]
        return file["digest"].removeprefix("sha256:")


def flip(path):
    with path.open("r+b") as file:
        byte = file.read(1)[0]
        file.seek(0)
        file.write(bytes([byte ^ 1]))


def plain(answer):
    """A message, or all messages, as tables."""
    if answer is None or isinstance(answer, str | Path):
        return answer and str(answer)
    if isinstance(answer, podium.Push):
        return {**plain(answer.version), "position": answer.position}
    if isinstance(answer, Message):
        return MessageToDict(answer, preserving_proto_field_name=True)
    return [plain(one) for one in answer]
