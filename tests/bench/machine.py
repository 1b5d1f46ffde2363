"""Says what machine and versions the figures come from."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import apsw

PACKAGES = ("podium", "grpcio", "protobuf", "peewee", "apsw", "google-crc32c")
GIB = 1 << 30


def describe(folder: Path) -> dict[str, str]:
    """Describes this machine, the file system of a folder, and what else is running."""
    return {
        "cpu": f"{os.cpu_count()} × {_field('/proc/cpuinfo', 'model name')}",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": f"{file_system(folder)} on {folder}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "sqlite": apsw.sqlite_lib_version(),
        "go": subprocess.run(["go", "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout.strip(),
        "load average before": f"{os.getloadavg()[0]:.2f}",
    }


def file_system(folder: Path) -> str:
    """Returns the type of the file system that a folder is on."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [mount for mount in mounts if folder.resolve().is_relative_to(mount[1])]
    return max(above, key=lambda mount: len(mount[1]))[2]


def free_bytes(folder: Path) -> int:
    """Returns how many bytes may still be written to a folder, 0 if there is no such folder."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return 0
    return found.f_bavail * found.f_frsize


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
