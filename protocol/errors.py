"""Errors in bytes from the wire.

    ProtocolError
    ├── FrameError          too short for a header, or without the magic bytes
    ├── VersionError        an unsupported version of the wire
    ├── UnknownKindError    an unknown message kind or body type
    ├── TooLargeError       longer than the limit
    └── BodyError           not msgpack, or not of the shape of its type

Decoding a frame, however malformed, raises nothing else.
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """The bytes are not a message of this protocol."""


class FrameError(ProtocolError):
    """The frame is too short for a header, or does not start with the magic bytes."""


class VersionError(ProtocolError):
    """The frame has an unsupported version of the wire."""


class UnknownKindError(ProtocolError):
    """The frame's kind, or the type of its body, is unknown."""


class TooLargeError(ProtocolError):
    """The frame is longer than `MAX_FRAME_BYTES`."""


class BodyError(ProtocolError):
    """The body is not msgpack, or not of the shape of its type."""
