"""Events that actors and the router publish."""

from __future__ import annotations

from protocol.messages.memory import AnyRecord
from protocol.messages.values import Candidate, Event, ImageRef, Round


class ActorJoined(Event, frozen=True, kw_only=True):
    """An actor is ready for requests."""

    name: str
    role: str


class ActorLeft(Event, frozen=True, kw_only=True):
    """An actor left or was lost."""

    name: str
    role: str
    reason: str


class StepTaken(Event, frozen=True, kw_only=True):
    """A trajectory took a step; carries the record that memory keeps."""

    record: AnyRecord


class ImageDrawn(Event, frozen=True, kw_only=True):
    """An image was drawn and is not judged yet."""

    round: Round
    candidate: Candidate
    image: ImageRef
