"""Router processes of the simulation: the real dispatcher, with messages from the simulated network."""

from __future__ import annotations

from collections import deque
from functools import partial

import trio

from gems_actors.config import RouterConfig
from gems_actors.router.dispatcher import Dispatcher
from protocol import messages as m
from protocol.codec import decode_body
from protocol.envelope import HEADER_BYTES, Header, Kind, unpack_header
from tests.simulation.network import Link, Network, Process


class SimulatedRouter:
    """A router that can be killed and can stall."""

    def __init__(self, network: Network, name: str, settings: RouterConfig) -> None:
        self.name = name
        self.is_alive, self.is_stalled = True, False
        self.backlog: deque[tuple[Link, bytes]] = deque()
        self.dispatcher = Dispatcher(settings, name, trio.current_time(), unstoppable_roles=frozenset({"memory"}))
        self._network = network
        self._links: dict[bytes, Link] = {}
        self._tick_s = min(0.1, settings.heartbeat_s / 4)

    def tick(self) -> None:
        """Let the dispatcher see the time, now and until the router is dead."""
        if not self.is_alive:
            return
        if not self.is_stalled:
            self.dispatcher.tick(trio.current_time())
            self._send()
        self._network.at(trio.current_time() + self._tick_s, self.tick)

    def receive(self, link: Link, frame: bytes) -> None:
        """Handle a message as the router's process does, without keys."""
        now, dispatcher, identity = trio.current_time(), self.dispatcher, link.identity
        self._links[identity] = link
        header = unpack_header(frame)
        dispatcher.notice_stall(now)
        match header.kind:
            case Kind.REQUEST:
                dispatcher.request(now, identity, header, frame)
            case Kind.REPLY | Kind.FAILURE:
                dispatcher.answer(now, identity, header, frame)
            case Kind.EVENT:
                dispatcher.event(now, identity, header, frame)
            case _:
                self._take_link(now, identity, header, decode_body(frame[HEADER_BYTES:]))
        self._send()

    def stall(self, seconds: float) -> None:
        """Stand still; what arrives meanwhile is handled afterwards."""
        if self.is_stalled or not self.is_alive:
            return
        self._network.note("stalls", f"{self.name} for {seconds:.3f} s")
        self.is_stalled = True

        def resume() -> None:
            if not self.is_alive:
                return
            self._network.note("resumes", self.name)
            self.is_stalled = False
            while self.backlog and self.is_alive:
                link, frame = self.backlog.popleft()
                if link.router is self:
                    self.receive(link, frame)

        self._network.at(trio.current_time() + seconds, resume)

    def report_dead(self, process: Process) -> None:
        """Hear from the supervisor that an actor's process ended."""
        if self.is_alive and not self.is_stalled:
            self.dispatcher.report_dead(trio.current_time(), process.name)
            self._send()

    def _take_link(self, now: float, identity: bytes, header: Header, body: m.Body) -> None:
        match body:
            case m.Hello():
                self.dispatcher.hello(now, identity, header.role, body)
            case m.Heartbeat():
                self.dispatcher.heartbeat(now, identity, body)
            case m.Capacity(capacity=capacity):
                self.dispatcher.capacity(now, identity, capacity)
            case m.Cancel():
                self.dispatcher.cancel(now, identity, header.id, body)
            case m.Subscribe():
                self.dispatcher.subscribe(now, identity, header.run)
            case m.Goodbye():
                self.dispatcher.disconnect(now, identity)

    def _send(self) -> None:
        for identity, frame in self.dispatcher.outbox.take():
            link = self._links.get(identity)
            if link is not None and link.router is self:
                self._network.carry(link, frame, is_up=False)
            else:
                self._network.at(trio.current_time(), partial(self._undeliverable, identity, unpack_header(frame)))

    def _undeliverable(self, identity: bytes, header: Header) -> None:
        if self.is_alive:
            self.dispatcher.undeliverable(trio.current_time(), identity, header)
            self._send()
