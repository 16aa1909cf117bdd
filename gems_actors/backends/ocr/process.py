"""The process that reads texts: `python -m gems_actors.backends.ocr.process`, pictures on stdin and lines on stdout.

A picture is its length, 4 bytes big-endian, and its file; the answer to it is framed alike: JSON, either
`{"lines": [...]}` or `{"error": "..."}`. An empty picture has no lines, and tells whether the package can be used.
It ends with its standard input, and so with the process that started it.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO, Final

MAX_THREADS: Final = 4
"""Maximum threads for one picture, so that a large host is not filled by a small model."""


def main() -> None:
    """Read pictures until the end of standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    serve(sys.stdin.buffer, answers, _open_reader())


def _open_reader() -> Callable[[bytes], list[str]]:
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError as error:  # its OpenCV needs libGL, which a host without a screen may lack
        return partial(
            _fail, f"{error}; install the package with it, or opencv-python-headless in place of opencv-python"
        )
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(data: bytes) -> list[str]:
        found, _ = engine(data) if data else (None, None)
        return in_reading_order([(box, str(text)) for box, text, _ in found or ()])

    return read


def _fail(reason: str, data: bytes) -> list[str]:
    raise ImportError(reason)


def in_reading_order(found: Sequence[tuple[Sequence[Sequence[float]], str]]) -> list[str]:
    """Return texts from top to bottom and, within a line, from left to right, as seen along the lines of a turned sign.

    Args:
        found: texts, each with the corners of its box: top left, top right, bottom right, bottom left.
    """
    along = sum(box[1][0] - box[0][0] for box, _ in found), sum(box[1][1] - box[0][1] for box, _ in found)
    angle = math.atan2(along[1], along[0])
    placed = []
    for box, text in found:
        x, y = (sum(corner[axis] for corner in box) / 4 for axis in (0, 1))
        height = math.dist(box[0], box[3])
        across = y * math.cos(angle) - x * math.sin(angle)
        placed.append((across, x * math.cos(angle) + y * math.sin(angle), height, text))
    lines: list[list[tuple[float, float, float, str]]] = []
    for item in sorted(placed):
        if lines and item[0] - lines[-1][0][0] < min(item[2], lines[-1][0][2]) / 2:
            lines[-1].append(item)
        else:
            lines.append([item])
    return [text for line in lines for _, _, _, text in sorted(line, key=lambda item: item[1])]


def serve(pictures: BinaryIO, answers: BinaryIO, read: Callable[[bytes], list[str]]) -> None:
    """Answer each picture with the lines that `read` finds in it."""
    while header := pictures.read(4):
        data = pictures.read(int.from_bytes(header))
        try:
            told: dict[str, object] = {"lines": read(data)}
        except Exception as error:  # decoders and models raise anything on foreign bytes
            told = {"error": f"{type(error).__name__}: {error}"[:500]}
        body = json.dumps(told).encode()
        answers.write(len(body).to_bytes(4) + body)
        answers.flush()


if __name__ == "__main__":
    main()
