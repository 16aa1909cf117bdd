"""Bodies to bytes and back; the only module that knows msgpack, and the registry of message types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import inspect

from protocol import messages as m
from protocol.bounds import fit_to_bounds
from protocol.envelope import HEADER_BYTES, Header, pack_header, unpack_header
from protocol.errors import BodyError, TooLargeError, UnknownKindError
from protocol.limits import MAX_FRAME_BYTES

ReplyT = TypeVar("ReplyT", bound=m.Reply)

BODIES: Mapping[str, type[m.Body]] = {
    body.__name__: body for body in (*m.LINK_BODIES, *m.REQUESTS, *m.REPLIES, *m.EVENTS, *m.RECORDS)
}
"""Built-in message types by their names on the wire."""

_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")
"""31 characters fit the shortest form of a msgpack text, the only one that `peek_type` reads."""

_encode = msgspec.msgpack.Encoder().encode
_decode_record: Callable[[bytes], m.AnyRecord] = msgspec.msgpack.Decoder(m.AnyRecord).decode


class _Tagged(msgspec.Struct):
    """Any body, of which only the type is read."""

    type: str


_decode_any = msgspec.msgpack.Decoder().decode
_decode_tag = msgspec.msgpack.Decoder(_Tagged).decode


def _decoder_of(types: Mapping[str, type[m.Body]]) -> Callable[[bytes], m.Body]:
    decoder: msgspec.msgpack.Decoder[m.Body] = msgspec.msgpack.Decoder(Union[tuple(types.values())])  # noqa: UP007
    return decoder.decode


class Codec:
    """A registry of message types, and the decoder of bodies of these types.

    A process needs only the types it sends and handles itself: routers pass bodies on without decoding them.
    """

    def __init__(self, types: Iterable[type[m.Body]] = BODIES.values()) -> None:
        self._types = {kind.__name__: kind for kind in types}
        self._replies: dict[type[m.Request[Any]], type[Any]] = {}
        self._decode = _decoder_of(self._types)

    @property
    def types(self) -> Mapping[str, type[m.Body]]:
        """All registered types by their names on the wire."""
        return MappingProxyType(self._types)

    def register(self, *types: type[m.Body]) -> None:
        """Add requests, replies or events; types that are registered already are skipped.

        Raises:
            TypeError: another type has the same name, name or fields do not fit the wire, or it is no such type.
        """
        known = dict(self._types)
        for kind in types:
            other = known.setdefault(kind.__name__, kind)
            if other is not kind:
                raise TypeError(
                    f"{_path(kind)}: expected a message type with a new name, got the name of {_path(other)}"
                )
            if kind.__name__ not in self._types and not issubclass(kind, m.Request | m.Reply | m.Event):
                raise TypeError(f"{_path(kind)}: expected a subclass of Request, Reply or Event")
            if not _TYPE_NAME.fullmatch(kind.__name__):
                raise TypeError(f"{_path(kind)}: expected a name of at most 31 ASCII letters, digits and underscores")
        if len(known) > len(self._types):
            try:
                self._decode = _decoder_of(known)
            except (TypeError, NameError) as error:
                names = ", ".join(map(_path, types))
                raise TypeError(f"{names}: expected fields that msgspec can decode, got: {error}") from error
            self._types = known

    def register_reply(self, request: type[m.Request[ReplyT]]) -> type[ReplyT]:
        """Register the reply type that a request type declares, and return it.

        Raises:
            TypeError: the request declares none, or the reply cannot be registered.
        """
        reply: type[ReplyT] | None = self._replies.get(request)
        if reply is None:
            reply = _reply_type_of(request)
            self.register(reply)
            self._replies[request] = reply
        return reply

    def decode(self, data: bytes) -> m.Body:
        """Decode a body as the class that its `type` names; unknown fields are skipped.

        Raises:
            UnknownKindError: its type is not registered.
            BodyError: it is not msgpack, or does not have the shape of its type.
        """
        try:
            return self._decode(data)
        except (ValueError, RecursionError) as error:  # every error of msgspec on foreign bytes is a ValueError
            raise self._explain(data, error) from error

    def _explain(self, data: bytes, error: Exception) -> BodyError | UnknownKindError:
        """Return the error for bytes that cannot be decoded: an unknown type, or a broken body."""
        reason = str(error)[:500]  # it may quote the input, which may be long
        try:
            name = _decode_tag(data).type
        except (ValueError, RecursionError):
            return BodyError(f"expected a msgpack map with a `type`, got {data[:64]!r}: {reason}")
        if name not in self._types:
            return UnknownKindError(f"expected a known message type, got {name[:64]!r}")
        return BodyError(f"{name}: {reason}")


CODEC = Codec()
"""The codec of this process; user-defined types are registered here when their actor's class is defined."""

decode_body = CODEC.decode


def encode_body(body: m.Body) -> bytes:
    """Return a body as msgpack, its `type` first.

    Raises:
        BodyError: a value in it does not fit msgpack, such as a text with a lone surrogate, or an object.
    """
    try:
        return _encode(body)
    except UnicodeEncodeError as error:
        raise BodyError(f"{type(body).__name__}: expected text in whole characters: {error}") from error
    except (TypeError, OverflowError, RecursionError) as error:
        raise BodyError(f"{type(body).__name__}: expected values that fit msgpack, got: {error}") from error


def encode_checked(body: m.Body) -> bytes:
    """Return a body as msgpack, after reading it back as its receiver will.

    For what users, models and servers have a say in: msgspec checks bounds only when it decodes.

    Raises:
        BodyError: a field is out of bounds or of another type, or does not fit msgpack.
    """
    data = encode_body(body)
    try:
        _decoder_for(type(body))(data)
    except (
        ValueError,
        RecursionError,
        TypeError,
        NameError,
    ) as error:  # the last two: fields it cannot read
        raise BodyError(f"{type(body).__name__}: {str(error)[:500]}") from error
    return data


@cache
def _decoder_for(kind: type[m.Body]) -> Callable[[bytes], m.Body]:
    return msgspec.msgpack.Decoder(kind).decode


def peek_type(data: bytes) -> str:
    """Return the message type without decoding the body, for access control.

    `type` must be the first key; the decoder later rejects a body that has it twice.

    Raises:
        BodyError: it is not a msgpack map that begins with its `type`.
    """
    head, size_of_map = data[:1], 1
    if head in (b"\xde", b"\xdf"):  # map 16 and map 32; up to 15 pairs the first byte holds their number
        size_of_map = 3 if head == b"\xde" else 5
    elif not head or not 0x81 <= head[0] <= 0x8F:
        raise BodyError(f"expected a msgpack map, got {data[:16]!r}")
    if data[size_of_map : size_of_map + 5] != b"\xa4type":
        raise BodyError(f"expected a body whose first key is `type`, got {data[:16]!r}")
    at = size_of_map + 5
    length = data[at] if at < len(data) else 0
    start, size = (at + 1, length & 0x1F) if length >> 5 == 0b101 else (0, 0)  # type names have at most 31 characters
    if not size or start + size > len(data):
        raise BodyError(f"expected a type's name of at most 31 characters, got {data[:64]!r}")
    return data[start : start + size].decode("ascii", "replace")


def decode_record(data: bytes) -> m.AnyRecord:
    """Decode one record of memory's log; its types are fixed and cannot be extended by `Codec.register`.

    What earlier versions accepted and is now out of bounds is cut to the bound of its field, so that the record can be
    indexed and shown.

    Raises:
        BodyError: it is not a record.
    """
    try:
        return _decode_record(data)
    except (ValueError, RecursionError) as error:
        with suppress(ValueError, RecursionError):
            return cast(m.AnyRecord, msgspec.convert(fit_to_bounds(_decode_any(data), _records()), m.AnyRecord))
        raise BodyError(f"expected a record, got {data[:64]!r}: {str(error)[:500]}") from error


def is_within_bounds(data: bytes) -> bool:
    """Return whether a record of memory's log is shown as it was written: none of its values exceeds today's bounds."""
    try:
        _decode_record(data)
    except (ValueError, RecursionError):
        return False
    return True


@cache
def _records() -> inspect.Type:
    return inspect.type_info(m.AnyRecord)


def encode_message(header: Header, body: m.Body) -> bytes:
    """Return the frame of a message.

    Raises:
        TooLargeError: it would be longer than `MAX_FRAME_BYTES`.
        FrameError: the header does not fit its layout.
    """
    return frame_of(header, encode_body(body))


def frame_of(header: Header, body: bytes) -> bytes:
    """Return the frame of a message whose body is encoded already."""
    return frame_from(pack_header(header), body)


def frame_from(head: bytes, body: bytes) -> bytes:
    """Return the frame of a message whose header and body are encoded already."""
    frame = head + body
    if len(frame) > MAX_FRAME_BYTES:
        raise TooLargeError(f"expected a message of at most {MAX_FRAME_BYTES} bytes, got {len(frame)}")
    return frame


def decode_message(frame: bytes) -> tuple[Header, m.Body]:
    """Decode a whole frame.

    Raises:
        ProtocolError: the frame is not a valid message; no other exception is raised, whatever the bytes are.
    """
    return unpack_header(frame), decode_body(frame[HEADER_BYTES:])


def _reply_type_of(request: type[m.Request[ReplyT]]) -> type[ReplyT]:
    for kind in request.__mro__:
        for base in getattr(kind, "__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, m.Request) and isinstance(arguments[0], type):
                return cast(type[ReplyT], arguments[0])
    raise TypeError(f"{_path(request)}: expected a base like Request[Plan], which names the type of the reply")


def _path(kind: type[Any]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
