"""Keeps the process that reads texts running, and sends it one picture after another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Final

import msgspec
import structlog
import trio

from gems_actors.errors import BackendError, ConfigError

PROCESS_MODULE: Final = "gems_actors.backends.ocr.process"
_PACKAGE: Final = "rapidocr_onnxruntime"
_TRIES: Final = 2
"""Processes that may die over one picture before it fails."""
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_log = structlog.get_logger()


class _Answer(msgspec.Struct):
    lines: tuple[str, ...] = ()
    error: str = ""


@asynccontextmanager
async def open_ocr(module: str = PROCESS_MODULE) -> AsyncIterator[OcrReader]:
    """Open a reader, whose process ends with the context.

    Raises:
        ConfigError: the extra `ocr` is not installed, or cannot be used.
    """
    if module == PROCESS_MODULE and find_spec(_PACKAGE) is None:
        raise ConfigError(
            "verify.text: expected the extra `ocr` to be installed for ocr, got none; "
            "pip install 'gems-actors[ocr]', or set verify.text to model"
        )
    reader = OcrReader(module)
    try:
        await reader.check()
        yield reader
    finally:
        await reader.close()


class OcrReader:
    """Reads the texts in pictures, one picture at a time."""

    def __init__(self, module: str) -> None:
        """Use a Python module that runs as the process."""
        self._module = module
        self._process: trio.Process | None = None
        self._reading = trio.Lock()

    async def check(self) -> None:
        """Start the process, because tasks would draw pictures in vain and fail where it cannot read them.

        Raises:
            ConfigError: the package cannot be imported.
        """
        try:
            answer = await self._exchange(b"")
        except (trio.BrokenResourceError, EOFError):  # it died, and is replaced with the first picture
            return
        if answer.error:
            raise ConfigError(f"verify.text: expected a package that reads texts, got {answer.error}")

    async def read(self, data: bytes) -> tuple[str, ...]:
        """Return the lines of text in an encoded picture, from top to bottom; none if there is no text.

        Raises:
            BackendError: the picture cannot be read, or the process died over it twice.
        """
        async with self._reading:
            for _ in range(_TRIES):
                try:
                    answer = await self._exchange(data)
                except (trio.BrokenResourceError, EOFError):
                    _log.warning("ocr_process_ended")
                    continue
                if answer.error:
                    raise BackendError(f"verify.text: expected the texts of a picture, got {answer.error}")
                return answer.lines
        raise BackendError(f"verify.text: expected the texts of a picture, got the end of {_TRIES} processes")

    async def close(self) -> None:
        """End the process, if one runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        await stream.aclose()

    async def _exchange(self, data: bytes) -> _Answer:
        """Return the answer of the process, which is replaced if the exchange breaks off."""
        if self._process is None:
            command = [sys.executable, "-P", "-m", self._module]
            self._process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        is_complete = False
        try:
            assert self._process.stdin is not None
            await self._process.stdin.send_all(len(data).to_bytes(4) + data)
            size = int.from_bytes(await self._receive(4))
            if size > _MAX_ANSWER_BYTES:
                raise EOFError
            answer = msgspec.json.decode(await self._receive(size), type=_Answer)
            is_complete = True
        finally:
            if not is_complete:
                await self.close()
        return answer

    async def _receive(self, count: int) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        data = b""
        while len(data) < count:
            part = await self._process.stdout.receive_some(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data
