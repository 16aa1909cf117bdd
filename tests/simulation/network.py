"""A network of simulated processes and routers: ordered connections that delay, break, lose and repeat messages.

As over ZeroMQ, messages of one connection stay in order, a broken connection loses what is on its way, and a process
without a connection keeps what it sends until it has one. Losing or repeating a message of a connection that stays up
is worse than what ZeroMQ does; scenarios that do so say it.
"""

from __future__ import annotations

import heapq
import math
import random
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import trio

from gems_actors.transport.links import Message
from protocol.codec import decode_body
from protocol.envelope import HEADER_BYTES, Kind, unpack_header

_TRACED = 3_000
"""Messages kept for the report of a broken invariant."""
_RECONNECT_S = 0.05
"""Time between two attempts to connect."""


class Router(Protocol):
    """What the network knows of a router process."""

    name: str
    is_alive: bool
    is_stalled: bool
    backlog: deque[tuple[Link, bytes]]

    def receive(self, link: Link, frame: bytes) -> None:
        """Handle a message of a process."""


class Traced(NamedTuple):
    """A message, or an event of the scenario, for a report."""

    time_s: float
    what: str
    link: str
    frame: bytes

    def __str__(self) -> str:
        if not self.frame:
            return f"{self.time_s:9.4f} {self.what:9} {self.link}"
        header = unpack_header(self.frame)
        id_ = f" {header.id.hex()[:6]} attempt {header.attempt}" if any(header.id) else ""
        body: Any = decode_body(self.frame[HEADER_BYTES:])
        told = [
            f"{name}={[getattr(item, 'id', item).hex()[:6] for item in listed]}"
            for name in ("holding", "held_elsewhere", "awaiting", "unknown", "claimed")
            if (listed := getattr(body, name, ()))
        ]
        told += [f"{name}={value}" for name in ("capacity", "epoch", "here_only") if (value := getattr(body, name, 0))]
        return f"{self.time_s:9.4f} {self.what:9} {self.link:22} {header.kind.name}{id_} {' '.join(told)}".rstrip()


@dataclass(slots=True)
class Weather:
    """What happens to messages. Probabilities are per message."""

    delay_s: float = 0.002
    """Maximum delay of most messages."""
    late: float = 0.0
    """Probability that a message is delayed by up to `late_s`."""
    late_s: float = 0.0
    lost: float = 0.0
    repeated: float = 0.0


@dataclass(slots=True)
class Process:
    """A simulated process other than a router."""

    name: str
    is_dead: bool = False
    is_stalled: bool = False
    capacity: int = 0
    stalled: list[tuple[float, float]] = field(default_factory=list)
    """Intervals in which it stood still."""
    lost_at: list[float] = field(default_factory=list)
    """Times at which a fault of the network lost or repeated a message of this process."""
    resumed: trio.Event = field(default_factory=trio.Event)
    unsent: list[tuple[Link, bytes]] = field(default_factory=list)
    unread: list[tuple[Link, bytes]] = field(default_factory=list)
    links: dict[str, Link] = field(default_factory=dict)


class Link:
    """One process's end of its connection to one router address, in place of the link around a socket."""

    def __init__(self, network: Network, process: Process, address: str, take: Callable[[list[Message]], None]) -> None:
        self.process, self.address, self.take = process, address, take
        self.identity = process.name.encode()
        self.router: Router | None = None
        """The router that it is connected to."""
        self.connections = 0
        """Number of the current connection; messages of earlier ones are lost."""
        self.is_cut = False
        """Whether the network is partitioned here."""
        self.due = [0.0, 0.0]
        """Latest arrival so far of a message to and from the router."""
        self.sends_bundles = False
        """Set by the process, and without effect here: a bundle arrives as if its messages had arrived at once."""
        self.in_flight: Callable[[], int] = int
        """Set by the process, and without effect here, because nothing rests."""
        self.delivered_until = 0.0
        """Messages of a connection to a router that died are still delivered until then."""
        self._network = network
        self._queue: deque[bytes] = deque()
        process.links[address] = self
        network.reconnect(self, at_once=True)

    def __str__(self) -> str:
        return f"{self.process.name} {self.address}"

    @property
    def unsent(self) -> int:
        return len(self._queue)

    def send(self, *frames: bytes) -> None:
        (frame,) = frames
        if self.process.is_dead:
            return
        if self.process.is_stalled:
            self.process.unsent.append((self, frame))
        elif self.router is None:
            self._queue.append(frame)
        else:
            self._network.carry(self, frame, is_up=True)

    async def run(self) -> None:
        await trio.sleep_forever()

    async def catch_up(self) -> None:
        if self.process.is_stalled:
            await self.process.resumed.wait()

    def discard_unsent(self) -> None:
        self._queue.clear()

    async def flush(self) -> None:
        while self._queue and not self.process.is_dead:  # noqa: ASYNC110
            await trio.sleep(_RECONNECT_S)

    def close(self, linger_ms: int = 0) -> None:
        self.process.links.pop(self.address, None)

    def connect(self, router: Router) -> None:
        self.router = router
        self.connections += 1
        while self._queue:
            self._network.carry(self, self._queue.popleft(), is_up=True)

    def disconnect(self) -> None:
        self.router = None


class Network:
    """Carries messages, and is the one source of chance."""

    def __init__(self, dice: random.Random, weather: Weather) -> None:
        self.dice, self.weather = dice, weather
        self.routers: dict[str, Router] = {}
        """Running routers by address."""
        self.trace: deque[Traced] = deque(maxlen=_TRACED)
        self.digest = 0
        """Checksum over time and header of every message: two runs with the same are the same run."""
        self.messages = 0
        self.lost_answers: set[bytes] = set()
        """Ids of requests whose answer was lost on its way to the client, with a router that died."""
        self.on_arrival: Callable[[int], None] = lambda number: None
        """Called with the number of each message that is about to arrive at a router."""
        self.on_forwarded: Callable[[Link, bytes, bool], None] = lambda link, frame, is_up: None
        """Called with each message that is sent, and whether it is sent to a router."""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def note(self, what: str, where: str) -> None:
        """Note an event of the scenario in the trace."""
        self.trace.append(Traced(trio.current_time(), what, where, b""))

    def at(self, time_s: float, act: Callable[[], None]) -> None:
        """Act at a time."""
        heapq.heappush(self._events, (time_s, next(self._numbers), act))

    def next_event(self) -> float:
        """Return the time of the next event."""
        return self._events[0][0] if self._events else math.inf

    def act(self) -> None:
        """Let the next event happen."""
        heapq.heappop(self._events)[2]()

    # ----------------------------------------------------------------------------------------- connections

    def reconnect(self, link: Link, *, at_once: bool = False) -> None:
        """Connect as soon as the router runs and can be reached."""
        process, router = link.process, self.routers.get(link.address)
        if process.is_dead or link.router is not None or process.links.get(link.address) is not link:
            return
        if router is None or link.is_cut:
            return  # tried again when that has changed
        if at_once:
            link.connect(router)
        else:
            delay_s = self.dice.uniform(0.001, _RECONNECT_S)
            self.at(trio.current_time() + delay_s, lambda: self.reconnect(link, at_once=True))

    def break_up(self, link: Link, *, is_death: bool = False) -> None:
        """Break a connection; after the death of a router, what it had sent may still arrive, up to some message."""
        if link.router is None:
            return
        now = trio.current_time()
        link.disconnect()
        link.delivered_until = now + self.dice.choice((-1.0, self.dice.uniform(0.0, link.due[False] - now + 1e-3)))
        if not is_death:
            link.delivered_until = -1.0
            link.process.lost_at.append(now)
        self.reconnect(link)

    # ----------------------------------------------------------------------------------------- messages

    def carry(self, link: Link, frame: bytes, *, is_up: bool) -> None:
        """Send a message by a connection that is up, to the router or from it."""
        dice, weather, now = self.dice, self.weather, trio.current_time()
        self.on_forwarded(link, frame, is_up)
        if weather.lost and dice.random() < weather.lost:
            self.trace.append(Traced(now, "lost", str(link), frame))
            link.process.lost_at.append(now)
            return
        delay_s = dice.uniform(0.0, weather.delay_s)
        if weather.late and dice.random() < weather.late:
            delay_s = dice.uniform(0.0, weather.late_s)
        due = link.due[is_up] = max(link.due[is_up] + 1e-6, now + delay_s)
        times = 1
        if weather.repeated and dice.random() < weather.repeated:
            times = 2
            link.process.lost_at.append(now)
        number = link.connections
        for _ in range(times):
            self.at(due, lambda: self._arrive(link, number, frame, is_up=is_up))

    def _arrive(self, link: Link, number: int, frame: bytes, *, is_up: bool) -> None:
        now = trio.current_time()
        self.digest = crc32(frame[:HEADER_BYTES], crc32(struct.pack("<d", now), self.digest))
        if is_up:
            self.messages += 1
            self.on_arrival(self.messages)
        is_connected = link.router is not None and link.connections == number
        is_late = not is_up and link.connections <= number + (link.router is not None) and now <= link.delivered_until
        if link.process.is_dead or not (is_connected or is_late):
            self.trace.append(Traced(now, "lost", str(link), frame))
            if not is_up and unpack_header(frame).kind in (Kind.REPLY, Kind.FAILURE):
                self.lost_answers.add(unpack_header(frame).id)
            return
        self.trace.append(Traced(now, "-> router" if is_up else "<- router", str(link), frame))
        if is_up:
            assert link.router is not None
            if link.router.is_stalled:
                link.router.backlog.append((link, frame))
            else:
                link.router.receive(link, frame)
        elif link.process.is_stalled:
            link.process.unread.append((link, frame))
        else:
            link.take([[frame]])

    # ----------------------------------------------------------------------------------------- processes

    def stall(self, process: Process, seconds: float) -> None:
        """Let a process stand still: what it sends and what it receives waits until it continues."""
        if process.is_stalled or process.is_dead:
            return
        now = trio.current_time()
        self.note("stalls", f"{process.name} for {seconds:.3f} s")
        process.is_stalled, process.resumed = True, trio.Event()
        process.stalled.append((now, now + seconds))

        def resume() -> None:
            self.note("resumes", process.name)
            process.is_stalled = False
            unsent, process.unsent = process.unsent, []
            for link, frame in unsent:
                link.send(frame)
            unread, process.unread = process.unread, []
            for link, frame in unread:
                if not process.is_dead:
                    link.take([[frame]])
            process.resumed.set()

        self.at(now + seconds, resume)
