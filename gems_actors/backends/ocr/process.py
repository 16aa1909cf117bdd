"""The process that reads texts: `python -m gems_actors.backends.ocr.process`, pictures on stdin and lines on stdout.

A picture is its length, 4 bytes big-endian, and its file; the answer to it is framed alike: JSON, either
`{"lines": [...]}` or `{"error": "..."}`. It ends with its standard input, and so with the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import BinaryIO, Final

MAX_THREADS: Final = 4
"""Maximum threads for one picture, so that a large host is not filled by a small model."""


def main() -> None:
    """Read pictures until the end of standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    serve(sys.stdin.buffer, answers, _open_reader())


def _open_reader() -> Callable[[bytes], list[str]]:
    from rapidocr_onnxruntime import RapidOCR

    threads = min(MAX_THREADS, os.cpu_count() or 1)
    engine = RapidOCR(intra_op_num_threads=threads, inter_op_num_threads=1)

    def read(data: bytes) -> list[str]:
        found, _ = engine(data)
        return [str(text) for _, text, _ in found or ()]

    return read


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
