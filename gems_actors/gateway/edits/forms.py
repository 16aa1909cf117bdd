"""The parts of a body of `multipart/form-data`, in memory.

Starlette's own parser writes files of more than a megabyte to disk, where they would outlive a killed gateway. So this
module uses the parser below it, which hands over bytes as it finds them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gems_actors.gateway.api_errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_HEAD_BYTES: Final = 8192
_MAX_PARTS: Final = 100
_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""What browsers write in names. Source: WHATWG, "multipart/form-data encoding algorithm"."""
_PLAIN: Final = (b"", b"binary", b"8bit", b"7bit")
"""Transfer encodings that leave the bytes as they are."""


@dataclass(frozen=True, slots=True)
class FormPart:
    """A field or a file of a form."""

    name: str
    data: bytes
    is_file: bool


def parse_form(body: bytes, content_type: str) -> list[FormPart]:
    """Return the parts of a form in their order; files that a browser's form leaves empty are left out.

    Raises:
        ApiError: the body is not such a form.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise _unreadable("a boundary in its content-type, got none")
    collector = _Collector()
    try:
        parser = MultipartParser(boundary, collector.callbacks(), max_header_size=_MAX_HEAD_BYTES)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(
            400, f"body: expected a form of multipart/form-data, got: {error}", code="invalid_form"
        ) from error
    if not collector.has_ended:
        raise _unreadable("parts between boundaries, the last one complete, got less")
    return [part for part in collector.parts if part.data or not part.is_file]


class _Collector:
    """Collects the parts that a parser finds."""

    def __init__(self) -> None:
        self.parts: list[FormPart] = []
        self.has_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._name: list[bytes] = []
        self._value: list[bytes] = []
        self._data: list[bytes] = []

    def callbacks(self) -> MultipartCallbacks:
        """Return what a parser is to call."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.append(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.append(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        if len(self.parts) == _MAX_PARTS:
            raise _unreadable(f"up to {_MAX_PARTS} parts, got more")
        self._headers, self._data = {}, []

    def _end_header(self) -> None:
        self._headers[b"".join(self._name).lower()] = b"".join(self._value)
        self._name, self._value = [], []

    def _end(self) -> None:
        header = self._headers.get(b"content-disposition", b"")
        disposition, parameters = parse_options_header(header)
        if disposition != b"form-data" or b"name" not in parameters:
            raise _unreadable(f"parts with a name, got {header[:80].decode(errors='replace')!r}")
        if (encoding := self._headers.get(b"content-transfer-encoding", b"").strip().lower()) not in _PLAIN:
            raise _unreadable(
                f"parts without content-transfer-encoding, got {encoding[:80].decode(errors='replace')!r}"
            )
        try:
            name = re.sub("%22|%0D|%0A", lambda match: _ESCAPES[match[0]], parameters[b"name"].decode())
        except UnicodeDecodeError as error:
            raise _unreadable("names of parts in UTF-8, got other bytes") from error
        self.parts.append(FormPart(name, b"".join(self._data), b"filename" in parameters))

    def _finish(self) -> None:
        self.has_ended = True


def _unreadable(expected: str) -> ApiError:
    return ApiError(400, f"body: expected a form with {expected}", code="invalid_form")
