"""The descriptors of this process, as the kernel tells of them."""

import os
from contextlib import suppress
from pathlib import Path


def open_files(directory: Path) -> int:
    """Return how many descriptors this process has open on files of a directory, deleted ones included."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists
            found += os.readlink(f"/proc/self/fd/{number}").startswith(f"{directory}/")
    return found
