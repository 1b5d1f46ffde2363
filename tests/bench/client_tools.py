"""The clients of other languages, each measured from inside a program that uses it: client_go here, Java's Measure."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
JAVA = HERE.parents[1] / "clients" / "java"


@dataclass(frozen=True)
class Tool:
    """A program that makes one measurement for each run."""

    language: str
    command: tuple[str, ...]

    def measure(self, what: str, address: str, cache: Path, *arguments: object) -> dict[str, Any]:
        """Runs it; what went wrong ends the benchmark."""
        command = [*self.command, what, address, str(cache), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"no figure of {self.language}'s {what}: {done.stderr}")
        out: dict[str, Any] = json.loads(done.stdout)
        return out


def go_tool(folder: Path) -> Tool:
    """Builds Go's into a folder."""
    binary = folder / "client_go"
    subprocess.run(["go", "build", "-o", str(binary), "."], cwd=HERE / "client_go", check=True)
    return Tool("Go", (str(binary),))


def java_tool() -> Tool:
    """Compiles Java's where Maven does."""
    maven = shutil.which("mvn")
    if maven is None:
        raise SystemExit("mvn is missing, for the Java client. On Debian: apt-get install maven")
    subprocess.run([maven, "-q", "-B", "-DskipTests", "test-compile"], cwd=JAVA, check=True)
    target = JAVA / "target"
    path = ":".join([str(target / "test-classes"), str(target / "classes"), (target / "class-path").read_text().strip()])
    return Tool("Java", ("java", "-cp", path, "dev.podium.Measure"))
