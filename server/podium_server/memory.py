"""How glibc keeps memory: the buffers of chunks stay with the process, in one place for all threads.

By default it gives each buffer of a MiB back to the kernel and takes the next one page by page, 350,000 page faults a GiB of
downloads, and lets every thread hoard what it freed. Other C libraries are left as they are.
"""

import ctypes

KEPT_BYTES = 64 << 20

# From malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_THRESHOLD = 32 << 20


def keep_buffers() -> None:
    """Makes it so, for this process, from now on."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
