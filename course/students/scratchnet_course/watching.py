"""Check a file each time it is saved."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

EVERY = 0.3  # seconds between looks
CLEAR = "\033[2J\033[H"  # the terminal, from its first line


def saves(path: Path, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Yield now, and whenever the file has been saved; for ever."""
    before = None
    while True:
        try:
            found = path.stat()
            now = (found.st_mtime_ns, found.st_size)
        except OSError:  # an editor removes the old file before it writes the new one
            now = before or (0, 0)
        if now != before:
            before = now
            yield
        sleep(EVERY)
