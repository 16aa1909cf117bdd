"""The parts of a body of `multipart/form-data`, in memory: libraries write large files to disk. Pure.

Source: RFC 7578, and the escapes of names in the WHATWG's "multipart/form-data encoding algorithm".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gems_actors.gateway.api_errors import ApiError

_BOUNDARY: Final = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER: Final = re.compile(r';\s*(name|filename)="((?:[^"\\\r\n]|\\.)*)"', re.IGNORECASE)
_ESCAPES: Final = {"%22": '"', "%0D": "\r", "%0A": "\n"}
_MAX_HEAD_BYTES: Final = 8192
_MAX_PARTS: Final = 100
_PLAIN: Final = ("", "binary", "8bit", "7bit")
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
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise _unreadable("a boundary in its content-type, got none")
    parts = [_part_of(body, start, end) for start, end in _places_in(body, (boundary[1] or boundary[2]).encode())]
    return [part for part in parts if part.data or not part.is_file]


def _places_in(body: bytes, boundary: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each part begins, after the line of its boundary, and where it ends."""
    first, between = b"--" + boundary, b"\r\n--" + boundary
    at = 0 if body.startswith(first) else body.find(between) + 2
    if at == 1:
        raise _unreadable("parts between boundaries, got none")
    at += len(first)
    for _ in range(_MAX_PARTS):
        if body[at : at + 2] == b"--":
            return
        start = body.find(b"\r\n", at, at + 100) + 2
        end = body.find(between, start - 2)  # the end of the line may be that of an empty part
        if start == 1 or end < 0 or body[at : start - 2].strip(b" \t"):
            raise _unreadable("a part that ends with the boundary, got one cut short")
        yield start, end
        at = end + len(between)
    raise _unreadable(f"up to {_MAX_PARTS} parts, got more")


def _part_of(body: bytes, start: int, end: int) -> FormPart:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + _MAX_HEAD_BYTES))
    if head_end < 0:
        raise _unreadable(f"a head of up to {_MAX_HEAD_BYTES} bytes before each part, got none")
    try:
        lines = body[start:head_end].decode().split("\r\n")
    except UnicodeDecodeError as error:
        raise _unreadable("heads of parts in UTF-8, got other bytes") from error
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    disposition = headers.get("content-disposition", "")
    found = {key.lower(): value for key, value in _PARAMETER.findall(disposition)}
    if not disposition.lower().startswith("form-data") or "name" not in found:
        raise _unreadable(f"parts with a name, got {disposition[:80]!r}")
    if (encoding := headers.get("content-transfer-encoding", "").lower()) not in _PLAIN:
        raise _unreadable(f"parts without content-transfer-encoding, got {encoding[:80]!r}")
    return FormPart(_unescaped(found["name"]), body[head_end + 4 : end], "filename" in found)


def _unescaped(name: str) -> str:
    plain = re.sub(r"\\(.)", r"\1", name)
    return re.sub("%22|%0D|%0A", lambda match: _ESCAPES[match[0]], plain)


def _unreadable(expected: str) -> ApiError:
    return ApiError(400, f"body: expected a form with {expected}", code="invalid_form")
