"""The drivers of all languages: how each is built, once a session, and how one is talked to."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGES = ("python", "go", "java")
ANSWER_SECONDS = 120  # for any verb, beside the seconds that it is told to wait
END_SECONDS = 30
NEEDS = {"go": ("go",), "java": ("java", "mvn")}
# Java takes the encoding of file names from the locale; a race in Go ends the driver.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "GORACE": "halt_on_error=1"}


class Languages:
    """Makes drivers: `start("go")` is a new process, `get("go")` one that is shared until it has failed."""

    def __init__(self, folder):
        self._folder = folder
        self._commands = {}
        self._shared = {}

    def start(self, language, **environment):
        if language not in self._commands:
            self._commands[language] = self._make(language)
        command = self._commands[language]
        if isinstance(command, str):
            pytest.fail(command)
        return Driver(language, command, self._folder, environment)

    def get(self, language):
        driver = self._shared.get(language)
        if driver is None or driver.process.poll() is not None:
            self.forget(language)
            self._shared[language] = driver = self.start(language)
        return driver

    def forget(self, language):
        """Whatever state the shared driver is in, the next one is new."""
        if driver := self._shared.pop(language, None):
            driver.kill()

    def close(self):
        """Ends the shared drivers, which must have nothing to complain about."""
        for language in list(self._shared):
            self._shared.pop(language).end()

    def _make(self, language):
        """The command of a driver; a text if it cannot be built."""
        if missing := [name for name in NEEDS.get(language, ()) if shutil.which(name) is None]:
            skip(f"the {language.title()} client is not tested: this machine has no {' and no '.join(missing)}")
        try:
            return getattr(self, f"_make_{language}")()
        except subprocess.CalledProcessError as error:
            return f"the {language.title()} driver cannot be built: {error.cmd}\n{error.stdout}"

    def _make_python(self):
        return [sys.executable, "-W", "error", Path(__file__).with_name("driver.py")]

    def _make_go(self):
        binary = self._folder / "go-driver"
        build(["go", "build", "-race", "-o", binary, "./internal/driver"], ROOT / "clients/go")
        return [binary]

    def _make_java(self):
        project = ROOT / "clients/java"
        target = project / "target"
        path = target / "class-path"
        if not path.exists() or newest(project / "pom.xml", project / "src", ROOT / "protos") > path.stat().st_mtime:
            maven = ["mvn", "-q", "-B", "process-test-classes"]
            try:
                build([*maven, "-o"], project)
            except subprocess.CalledProcessError:
                build(maven, project)
            path.touch()
        # A copy: whoever builds meanwhile replaces classes that are not loaded yet.
        classes = [shutil.copytree(target / name, self._folder / name) for name in ("test-classes", "classes")]
        classes = os.pathsep.join([*map(str, classes), path.read_text().strip()])
        return ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", classes, "dev.podium.Driver"]


class Driver:
    """A driver process. `ask(do=…)` is one question and its answer; `send` and `answer` are its halves."""

    def __init__(self, language, command, folder, environment):
        self.language = language
        home = Path(tempfile.mkdtemp(prefix=f"{language}-", dir=folder))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PODIUM_")}
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, **ENVIRONMENT, "HOME": str(home), **environment},
            cwd=home,
        )
        self.pid = self.process.pid
        self._answers = queue.Queue()
        self._complaints = deque(maxlen=40)  # the last lines of stderr
        self._patience = deque()  # in seconds, of the answers that are waited for
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for reader in self._readers:
            reader.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.end()
        else:
            self.kill()

    def ask(self, **question):
        self.send(**question)
        return self.answer()

    def send(self, **question):
        self._patience.append(ANSWER_SECONDS + question.get("seconds", 0))
        with suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()

    def answer(self):
        try:
            line = self._answers.get(timeout=self._patience.popleft())
        except queue.Empty:
            self.process.kill()
            pytest.fail(f"the {self.language} driver does not answer\n{self.complaints()}")
        if not line:
            pytest.fail(f"the {self.language} driver has ended: {self.process.wait(END_SECONDS)}\n{self.complaints()}")
        return json.loads(line)

    def complaints(self):
        return b"".join(self._complaints.copy()).decode(errors="replace")

    def end(self):
        """Closes its stdin, after which it must close everything and end; again does nothing."""
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        try:
            code = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"the {self.language} driver does not end\n{self.complaints()}")
        self._leave()
        assert code == 0, f"the {self.language} driver ended with {code}\n{self.complaints()}"

    def kill(self):
        """Ends it at once, if it has not ended."""
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self._leave()

    def _leave(self):
        for reader in self._readers:
            reader.join(END_SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self):
        for line in self.process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def _listen(self):
        for line in self.process.stderr:
            self._complaints.append(line)


def skip(why):
    """Where everything must be tested, what is missing is a failure."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)


def build(command, folder):
    print(*command)
    subprocess.run(command, cwd=folder, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def newest(*places):
    """When anything there was last written to."""
    files = (path for place in places for path in [place, *place.rglob("*")])
    return max(path.stat().st_mtime for path in files)
