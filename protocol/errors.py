"""What can be wrong with bytes that came over the wire.

    ProtocolError
    ├── FrameError          too short to hold a header, or no frame of ours
    ├── VersionError        a version of the wire that this side does not speak
    ├── UnknownKindError    a message kind or body type that this side does not know
    ├── TooLargeError       longer than the limit
    └── BodyError           not msgpack, or not of the shape its type promises

A fuzzed frame raises one of these and never anything else.
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """The bytes are not a message of this protocol."""


class FrameError(ProtocolError):
    """The frame is too short for a header, or does not begin like one of ours."""


class VersionError(ProtocolError):
    """The frame is of a version of the wire that this side does not speak."""


class UnknownKindError(ProtocolError):
    """The frame's kind, or the type of its body, is not known to this side."""


class TooLargeError(ProtocolError):
    """The frame is longer than `MAX_FRAME_BYTES`."""


class BodyError(ProtocolError):
    """The body is not msgpack, or not of the shape that its type promises."""
