"""A disk that is full on demand, for a folder of a running process."""

import os
import resource
import subprocess
from pathlib import Path


class SmallDisk:
    """A tmpfs where it can be mounted, which takes root; else a limit on the size of the process's files, which fails alike."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted = _mount("-t", "tmpfs", "-o", f"size={size}", "none", str(folder))

    def resize(self, size: int, pid: int) -> None:
        """Sets how many bytes there are; a limit holds for each file of the process."""
        if self.mounted:
            assert _mount("-o", f"remount,size={size}", str(self.folder))
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def close(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        else:
            resource.prlimit(os.getpid(), resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
