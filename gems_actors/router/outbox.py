"""What the dispatcher has decided to send, in order. Pure."""

from __future__ import annotations

from gems_actors import errors
from protocol import messages as m
from protocol.codec import encode_message
from protocol.envelope import Header, Kind


class Outbox:
    """Messages to send."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []
        """The recipient's identity and the frame of each."""

    def take(self) -> list[tuple[bytes, bytes]]:
        """Return all messages, and forget them."""
        messages, self.messages = self.messages, []
        return messages

    def forward(self, identity: bytes, frame: bytes) -> None:
        """Send a frame as it is."""
        self.messages.append((identity, frame))

    def send(self, identity: bytes, header: Header, body: m.Body) -> None:
        """Send a message."""
        self.messages.append((identity, encode_message(header, body)))

    def post(self, identity: bytes, kind: Kind, body: m.Body) -> None:
        """Send a message of the link."""
        self.send(identity, Header(kind), body)

    def refuse(self, identity: bytes, header: Header, error: errors.RequestError) -> None:
        """Answer a message with a failure."""
        failure = errors.failure_of(error)
        self.send(identity, Header(Kind.FAILURE, header.id, header.role, attempt=header.attempt), failure)
