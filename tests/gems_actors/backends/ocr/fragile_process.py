"""A process in place of the one that reads texts: it answers a picture with its own words, or does what they say."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from gems_actors.backends.ocr.process import serve


def read(data: bytes) -> list[str]:
    """Return the words of a picture; `die`, `die once FILE`, `hang` and `fail` are done instead."""
    words = data.decode().split()
    match words:
        case ["die"]:
            os.kill(os.getpid(), signal.SIGKILL)
        case ["die", "once", file] if not Path(file).exists():
            Path(file).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case ["hang"]:
            signal.pause()
        case ["fail"]:
            raise ValueError("no picture")
    return words


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, read)
