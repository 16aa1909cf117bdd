"""Fast ZeroMQ messages for trio: incoming batches, an outbox, and no await per message.

libzmq's file descriptor is edge-triggered in effect: it turns readable when a command lands in the socket's mailbox,
and any call on the socket may consume that command. These rules each prevent a lost wake-up:

1. Wait on the descriptor only directly after a receive that returned EAGAIN, or after the socket's events showed
   nothing to read, with no other call and no await in between.
2. Readable means "look again"; there may be nothing to read, and a blocked sender waits for it too.
3. A send may consume the edge that the receiver waits for, so after sending check whether something is readable and,
   if so, receive it at once. A receiver that stops before EAGAIN, as in a flood, continues after other tasks ran.
4. One task waits on the descriptor; the function that takes a batch neither awaits nor raises.

`recv` and `send` are the bare calls of pyzmq's backend, 0.2 µs each where `send_multipart` takes 1 µs a frame.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, cast

import trio
import zmq
from zmq.backend import Socket as _BareSocket

from gems_actors.transport.rests import Rests
from protocol.bundles import BUNDLE_START, bundled, unbundled
from protocol.errors import FrameError

Message = Sequence[bytes]
"""From a ROUTER the sender's identity, its frame and, if keys are required, its key; from a DEALER only the frame."""

_NOBLOCK, _SNDMORE, _RCVMORE, _EVENTS, _POLLIN = 1, 2, int(zmq.RCVMORE), int(zmq.EVENTS), int(zmq.POLLIN)
_NOBLOCK_SNDMORE, _ORIGIN = _NOBLOCK | _SNDMORE, int(zmq.SRCFD)
_BATCH = 512
_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes after which a batch is passed on; without it, 512 large messages would be in memory twice."""
_MAX_IDENTITY_BYTES = 255
"""Limit of the protocol. libzmq does not keep peers to it, and copies the identity for each message."""
_FRAMING_BYTES = 9
_MAX_EXTRA_PARTS, _PART_BYTES = 16, 64 * 1024
"""Parts beyond the frame after which a peer is disconnected, and what each dropped one counts for in a batch."""
_FULL_S = 0.5
"""Time without room for an answer after which a peer that sends on is disconnected."""
_APART_S = 0.0002
"""Time without a message after which one is alone: in the pass of a busy process they follow within 20 µs."""
_RETRY_S = 0.05
"""Longest time to the next attempt to send at the high-water mark, or before the connection is established."""


class Link:
    """One socket used by one event loop."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        take: Callable[[list[Message]], None],
        undeliverable: Callable[[Message], None] | None = None,
        *,
        has_users: bool = False,
        cuts_deaf: bool = False,
        reads_bundles: Callable[[bytes], bool] | None = None,
        has_large_frames: bool = False,
    ) -> None:
        """Wrap a socket; `take`, called with each batch that arrives, neither awaits nor raises.

        For a ROUTER, `undeliverable` is called with each message whose peer is gone or has stopped reading, and
        `has_users` means that it has keys: its messages include the sender's. With `cuts_deaf`, a peer that sends on
        although it does not read is an offender. What is sent at
        the same time to a peer for which `reads_bundles` returns true goes into one frame. With `has_large_frames`,
        frames arrive as memoryviews of what libzmq received, without a copy, and there are no bundles.
        """
        self._socket = socket
        self._descriptor = cast(int, socket.getsockopt(zmq.FD))
        self._recv = cast(Callable[[int], bytes], _BareSocket.recv.__get__(socket))
        self._recv_frame = cast(Callable[[int, bool], zmq.Frame], _BareSocket.recv.__get__(socket))
        self._send = cast(Callable[[bytes | zmq.Frame, int], None], _BareSocket.send.__get__(socket))
        self._get = cast(Callable[[int], int], _BareSocket.get.__get__(socket))
        self._is_router = socket.getsockopt(zmq.TYPE) == zmq.ROUTER
        self._has_users, self._cuts_deaf, self._has_large_frames = has_users, cuts_deaf, has_large_frames
        self._take = take
        self._undeliverable = undeliverable
        self.sends_bundles = False
        """For a DEALER: whether what is sent at the same time goes into one frame."""
        self._reads_bundles = reads_bundles
        self._queue: deque[Message] = deque()
        self._packed: deque[Message] = deque()
        """What is sent first, as it goes over the wire: messages, and bundles of them."""
        self._sender: trio.lowlevel.Task | None = None
        self._woken = trio.Event()
        self._rests = Rests()
        self.in_flight: Callable[[], int] = int
        """Returns how many requests are in flight; the more, the longer those of the bulk lane may gather."""
        self._was_alone = True
        """Whether no other message was sent in the pass before."""
        self._sent_at = 0.0
        """When a message that was alone left at once."""
        self._is_taking = False
        self._is_behind = False
        """The last receive filled a batch, so more may be waiting that the descriptor does not signal."""
        self.origins: dict[int, int] | None = None
        """Bytes received by descriptor of their connection, counted while a dict is set; counting has its cost."""
        self.offenders: set[int] = set()
        """Descriptors of connections whose peers break the rules of the wire in a way that costs us."""
        self.on_offence: Callable[[], None] = lambda: None
        """Called for each message of an offender; neither awaits nor raises."""
        self._full_since: dict[bytes, float] = {}
        """Peers of a ROUTER that have had no room for an answer since then."""
        self._offending: set[bytes] = set()
        """Those of them that send on for too long; their connections are to be cut."""
        self._dropped: set[bytes] = set()
        """Peers whose connection was cut, and of whom more may wait that had arrived before."""

    def drop_offenders(self) -> None:
        """Note that the connections of all offenders were cut: what has arrived from them is not passed on."""
        for peer in self._offending:
            self._full_since.pop(peer, None)
        self._dropped |= self._offending
        self._offending.clear()
        self.offenders.clear()

    def send(self, *frames: bytes | zmq.Frame) -> None:
        """Queue a message; it is sent within this pass of the scheduler, together with all others of the pass.

        A large `zmq.Frame` is sent from the memory of its bytes, which must stay as they are.
        """
        self._queue.append(cast(Message, frames))  # where there are such frames, there are no bundles
        if self._sender is not None and not self._is_taking:
            if self._was_alone and not self._is_router and not self._rests.rest_s(self.in_flight()):
                # A message that is alone leaves at once, which saves a pass. A ROUTER's may turn out to be
                # undeliverable, for which a caller of this is not prepared.
                self._send_queued()
                now = time.monotonic()
                is_apart, self._sent_at = now - self._sent_at > _APART_S, now
                if is_apart and not self.unsent and not self._get(_EVENTS) & _POLLIN:
                    return  # rule 3 is kept, and the sender has nothing to do
            self._wake_sender()

    def send_all(self, messages: Iterable[Message]) -> None:
        """Queue messages, as `send` does with one."""
        self._queue.extend(messages)
        if self.unsent and not self._is_taking:
            self._wake_sender()

    def _wake_sender(self) -> None:
        if self._sender is not None:
            task, self._sender = self._sender, None
            trio.lowlevel.reschedule(task)

    def try_send(self, identity: bytes, frame: bytes | zmq.Frame) -> bool:
        """Send a message of a ROUTER at once, and return whether its peer had room for it; not for use in `take`.

        Raises:
            trio.BrokenResourceError: the peer is gone.
        """
        try:
            self._send(identity, _NOBLOCK_SNDMORE)
            self._send(frame, _NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno == zmq.EAGAIN:
                return False
            if error.errno == zmq.EHOSTUNREACH:
                raise trio.BrokenResourceError("the peer is gone") from error
            raise
        finally:
            self._flush()  # rule 3, which within `take` nobody would keep
        return True

    async def wait_for_room(self) -> None:
        """Return when a peer that had no room may have some: when the socket wakes, or after 50 ms."""
        if self._woken.is_set():
            self._woken = trio.Event()
        with trio.move_on_after(_RETRY_S):
            await self._woken.wait()

    def receive_batch(self) -> bool:
        """Receive a batch if something has arrived, and return whether that was everything."""
        self._flush()
        return not self._is_behind

    @property
    def unsent(self) -> int:
        """Number of messages that wait for a connection or for the peer to read; a bundle of them counts as one."""
        return len(self._queue) + len(self._packed)

    async def run(self) -> None:
        """Send and receive until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_sender)
            while True:
                self._receive()
                if self.unsent and self._sender is not None:
                    self._flush()  # answers to the batch leave at once, without a turn of the scheduler
                    if self.unsent:
                        self._wake_sender()
                if self._is_behind:
                    await trio.lowlevel.checkpoint()  # let other tasks run, and more messages arrive
                elif rest_s := self._rests.rest_s(self.in_flight()):
                    await trio.sleep(rest_s)
                else:
                    await trio.lowlevel.wait_readable(self._descriptor)  # rule 1
                    self._woken.set()

    async def catch_up(self) -> None:
        """Return when everything that has arrived was passed on."""
        self._receive()
        while self._is_behind:
            await trio.lowlevel.checkpoint()
            self._receive()

    def discard_unsent(self) -> None:
        """Drop the messages that are queued."""
        self._queue.clear()
        self._packed.clear()

    async def flush(self) -> None:
        """Return when everything queued has been handed to libzmq."""
        while self.unsent:
            self._flush()
            if self.unsent:
                await trio.sleep(_RETRY_S)
        await trio.lowlevel.checkpoint()

    def close(self, linger_ms: int = 0) -> None:
        """Close the socket after at most `linger_ms` to send queued messages, such as those of cancelled tasks."""
        self._send_queued()
        trio.lowlevel.notify_closing(self._descriptor)
        self._socket.close(linger_ms)

    async def run_sender(self) -> None:
        """Send until cancelled; `run` includes this."""

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._sender = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if not self.unsent and not self._is_behind:
                self._sender = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(abort)
            self._was_alone = len(self._queue) < 2
            is_blocked = self._flush()
            if self._is_behind or (self.unsent and not is_blocked):
                await trio.lowlevel.checkpoint()  # more was queued or received meanwhile
            elif self.unsent:
                self._woken = trio.Event()
                with trio.move_on_after(_RETRY_S):
                    await self._woken.wait()

    def _flush(self) -> bool:
        """Send what is queued, and receive what arrived; return whether sending is blocked."""
        is_blocked = self._send_queued()
        if not self._is_taking:
            if self._get(_EVENTS) & _POLLIN:  # rule 3
                self._receive()
                if self._is_behind:
                    self._wake_sender()
            else:
                self._is_behind = False
        return is_blocked

    def _send_queued(self) -> bool:
        """Send what is queued; return True if the socket is blocked for sending."""
        self._pack()
        packed, send, is_router = self._packed, self._send, self._is_router
        while packed:
            message = packed[0]
            try:
                if is_router:
                    send(message[0], _NOBLOCK_SNDMORE)
                    send(message[1], _NOBLOCK)
                else:
                    send(message[0], _NOBLOCK)
            except zmq.ZMQError as error:
                if error.errno == zmq.EAGAIN and not is_router:
                    return True
                if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                    raise
                if error.errno == zmq.EAGAIN and self._cuts_deaf:
                    self._full_since.setdefault(message[0], time.monotonic())
                packed.popleft()
                if self._undeliverable is not None:
                    for frame in _messages_in(message[-1]):
                        self._undeliverable((*message[:-1], frame))
                self._pack()
            else:
                if self._full_since:
                    self._full_since.pop(message[0], None)
                packed.popleft()
        return False

    def _pack(self) -> None:
        """Prepare what is queued for the wire."""
        queue, packed = self._queue, self._packed
        if len(queue) > 1 and self.sends_bundles:
            packed.extend([(frame,) for frame in bundled([frame for (frame,) in queue])])
        elif len(queue) > 1 and self._reads_bundles is not None:
            frames: dict[bytes, list[bytes]] = {}
            for peer, frame in queue:
                frames.setdefault(peer, []).append(frame)
            for peer, found in frames.items():
                packed.extend([(peer, frame) for frame in (bundled(found) if self._reads_bundles(peer) else found)])
        else:
            packed.extend(queue)
        queue.clear()

    def _receive(self) -> None:
        """Receive up to one batch and pass it on."""
        batch: list[Message] = []
        needs_frames = self._has_users or self.origins is not None or self._full_since or self._dropped
        if not self._is_router:
            receive_one = self._receive_large_frame if self._has_large_frames else self._receive_from_router
        else:
            receive_one = self._receive_frame if needs_frames or self._has_large_frames else self._receive_plainly
        try:
            room = _BATCH_BYTES - receive_one(batch)
            # Most messages come alone, as the socket's events tell: the exception of a second receive costs 5 µs.
            self._is_behind = bool(self._get(_EVENTS) & _POLLIN)
            while self._is_behind and room > 0 and len(batch) < _BATCH:
                room -= receive_one(batch)
        except zmq.Again:
            self._is_behind = False
        if not self._is_behind:
            self._dropped.clear()
        self._woken.set()
        if batch:
            self._rests.note(time.monotonic(), batch, place=int(self._is_router))
            self._is_taking = True
            try:
                self._take(batch)
            finally:
                self._is_taking = False

    def _sends_without_reading(self, peer: bytes) -> bool:
        since = self._full_since.get(peer)
        return since is not None and time.monotonic() - since >= _FULL_S

    # Each of these receives one message, or a bundle, and returns its size in bytes.

    def _receive_from_router(self, batch: list[Message]) -> int:
        """Receive for a DEALER. Its router sends no second part, which looking for would double the cost."""
        frame = self._recv(_NOBLOCK)
        if frame.startswith(BUNDLE_START):
            batch.extend([(message,) for message in _messages_in(frame)])
        else:
            batch.append((frame,))
        return len(frame)

    def _receive_large_frame(self, batch: list[Message]) -> int:
        """Receive for a DEALER without a copy."""
        data = self._recv_frame(_NOBLOCK, False).buffer
        batch.append((cast(bytes, data),))
        return len(data)

    def _receive_plainly(self, batch: list[Message]) -> int:
        recv = self._recv
        identity = recv(_NOBLOCK)
        if len(identity) > _MAX_IDENTITY_BYTES:
            self._drop_message(self._recv_frame(_NOBLOCK, False))
            return len(identity)
        frame = recv(_NOBLOCK)
        size = len(frame)
        if self._get(_RCVMORE):
            size += self._drop_parts()
        if frame.startswith(BUNDLE_START):
            batch.extend([(identity, message) for message in _messages_in(frame)])
        else:
            batch.append((identity, frame))
        return size

    def _receive_frame(self, batch: list[Message]) -> int:
        """Receive for a ROUTER as a `Frame`, which is slower: only frames have key and connection."""
        identity, frame = self._recv(_NOBLOCK), self._recv_frame(_NOBLOCK, False)
        if len(identity) > _MAX_IDENTITY_BYTES:
            self._drop_message(frame)
            return len(identity)
        if self._full_since and self._sends_without_reading(identity):
            self._offending.add(identity)
            self._note_offender(frame)
        if identity in self._offending or identity in self._dropped:
            return len(frame) + self._drop_parts()
        data = cast(bytes, frame.buffer) if self._has_large_frames else frame.bytes
        if self.origins is not None:
            origin = frame.get(_ORIGIN)
            self.origins[origin] = self.origins.get(origin, 0) + len(data) + _FRAMING_BYTES
        user = (str(frame.get("User-Id")).encode(),) if self._has_users else ()
        size = len(data) + (self._drop_parts() if self._get(_RCVMORE) else 0)
        messages = (data,) if self._has_large_frames else _messages_in(data)
        batch.extend([(identity, message, *user) for message in messages])
        return size

    def _note_offender(self, frame: zmq.Frame) -> None:
        self.offenders.add(frame.get(_ORIGIN))
        self.on_offence()

    def _drop_message(self, frame: zmq.Frame) -> None:
        """Drop the rest of a message, and note its connection."""
        self._note_offender(frame)
        while self._get(_RCVMORE):
            self._recv(_NOBLOCK)

    def _drop_parts(self) -> int:
        """Drop further parts: a message is one frame. Returns the bytes that they count for in a batch."""
        count = 0
        while self._get(_RCVMORE):
            count += 1
            if count == _MAX_EXTRA_PARTS:
                self._note_offender(self._recv_frame(_NOBLOCK, False))
            else:
                self._recv(_NOBLOCK)
        return count * _PART_BYTES


def _messages_in(frame: bytes) -> Sequence[bytes]:
    """Return the messages in a frame; of a bundle that cannot be read, itself, which its reader refuses."""
    if frame.startswith(BUNDLE_START):
        with suppress(FrameError):
            return unbundled(frame)
    return (frame,)
