"""Events, which only inform: nobody waits for one, and nothing depends on its arrival."""

from __future__ import annotations

from protocol.messages.memory import AnyRecord
from protocol.messages.values import Candidate, Event, ImageRef, Round


class ActorJoined(Event, frozen=True, kw_only=True):
    """An actor is ready for requests."""

    name: str
    role: str


class ActorLeft(Event, frozen=True, kw_only=True):
    """An actor is gone."""

    name: str
    role: str
    reason: str


class StepTaken(Event, frozen=True, kw_only=True):
    """A trajectory took a step; carries the very record that memory keeps."""

    record: AnyRecord


class ImageDrawn(Event, frozen=True, kw_only=True):
    """An image is there and not judged yet."""

    round: Round
    candidate: Candidate
    image: ImageRef
