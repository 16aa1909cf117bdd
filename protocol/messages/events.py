"""Events that actors and the router publish."""

from __future__ import annotations

from protocol.messages.records import AnyRecord
from protocol.messages.values import Candidate, Event, ImageRef, Name, Round, Text


class ActorJoined(Event, frozen=True, kw_only=True):
    """An actor is ready for requests."""

    name: Name
    role: Name


class ActorLeft(Event, frozen=True, kw_only=True):
    """An actor left or was lost."""

    name: Name
    role: Name
    reason: Text


class StepTaken(Event, frozen=True, kw_only=True):
    """A trajectory took a step; carries the record that memory keeps."""

    record: AnyRecord


class ImageDrawn(Event, frozen=True, kw_only=True):
    """An image was drawn and is not judged yet."""

    round: Round
    candidate: Candidate
    image: ImageRef
