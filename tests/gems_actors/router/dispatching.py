"""A dispatcher driven by hand: peers that act in one line, and a view of what was sent to them."""

from __future__ import annotations

from typing import Any

from gems_actors.config import RouterConfig
from gems_actors.errors import WithdrawnError, failure_of
from gems_actors.router.dispatcher import MAX_ANSWER_BYTES, Dispatcher
from gems_actors.run_states import RunStates
from protocol.codec import decode_body, decode_message, encode_body, encode_message, frame_of
from protocol.envelope import HEADER_BYTES, NO_DEADLINE_MS, Header, Kind, Lane
from protocol.identity import run_bytes
from protocol.messages import (
    ActorJoined,
    ActorLeft,
    Body,
    Cancel,
    Control,
    Controlled,
    Failure,
    Heartbeat,
    Held,
    Hello,
    Plan,
    Pulse,
    Welcome,
)

PAYLOAD = encode_body(Plan(prompt="payload"))
ANSWER_BYTES = HEADER_BYTES + len(PAYLOAD)
Outgoing = tuple[bytes, Header, Body]
"""A message to send: its recipient, header and body."""


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Stage:
    """One dispatcher, its clock and its outbox."""

    def __init__(self, *, max_answer_bytes: int = MAX_ANSWER_BYTES, **settings: float) -> None:
        self.now = 100.0
        self.settings = RouterConfig(**settings)  # type: ignore[arg-type]
        self.max_answer_bytes = max_answer_bytes
        self.epochs = 0
        self.run_states = RunStates()
        """Run states that peers have received and pass on to a new router."""
        self.restart()

    def restart(self) -> None:
        """Replace the dispatcher with an empty one, as after a kill of the router."""
        self.epochs += 1
        epoch = f"epoch-{self.epochs}"
        memory = frozenset({"memory"})
        self.dispatcher = Dispatcher(
            self.settings, epoch, self.now, unstoppable_roles=memory, max_answer_bytes=self.max_answer_bytes
        )

    def join(
        self,
        name: str,
        role: str = "",
        capacity: int = 0,
        holding: tuple[tuple[int, int], ...] = (),
        *,
        key: str | None = None,
    ) -> None:
        held = tuple(Held(id=id_of(number), attempt=attempt) for number, attempt in holding)
        hello = Hello(name=name, capacity=capacity, holding=held, run_states=self.run_states.all())
        self.dispatcher.hello(self.now, name.encode(), role, hello, key=key)

    def ask(
        self,
        client: str,
        number: int,
        role: str = "worker",
        *,
        run: str = "run",
        trajectory: int = 0,
        lane: Lane = Lane.BULK,
        within_s: float | None = None,
        again: bool = False,
    ) -> None:
        left = NO_DEADLINE_MS if within_s is None else int(within_s * 1000)
        header = Header(
            Kind.REQUEST,
            id_of(number),
            role,
            lane,
            attempt=int(again),
            time_left_ms=left,
            trajectory=id_of(trajectory),
            run=run_bytes(run),
        )
        self.dispatcher.request(self.now, client.encode(), header, frame_of(header, PAYLOAD))

    def answer(self, actor: str, number: int, attempt: int = 1, role: str = "worker") -> None:
        header = Header(Kind.REPLY, id_of(number), role, attempt=attempt)
        self.dispatcher.answer(self.now, actor.encode(), header, frame_of(header, PAYLOAD))

    def stopped(self, actor: str, number: int, attempt: int = 1) -> None:
        """Let an actor say that it stopped because a router had told it to."""
        header = Header(Kind.FAILURE, id_of(number), "worker", attempt=attempt)
        frame = encode_message(header, failure_of(WithdrawnError("told to stop")))
        self.dispatcher.answer(self.now, actor.encode(), header, frame)

    def cancel(self, client: str, number: int, *, graceful: bool = False, here_only: bool = False) -> None:
        cancel = Cancel(graceful=graceful, here_only=here_only)
        self.dispatcher.cancel(self.now, client.encode(), id_of(number), cancel)

    def control(
        self, action: Control, run: str = "run", trajectory: int | None = None, peer: str = "terminal"
    ) -> Controlled:
        where = None if trajectory is None else id_of(trajectory)
        done = self.dispatcher.control(self.now, run_bytes(run), where, action, "alice", peer.encode())
        self.hear()
        return done

    def hear(self) -> None:
        """Merge the run states in the outbox into those that peers know."""
        for _, _, body in self.outgoing():
            if isinstance(body, Pulse | Welcome):
                self.run_states.merge(body.run_states)

    def outgoing(self, *, taken: bool = False) -> list[Outgoing]:
        """Return what is to be sent, and forget it if taken."""
        outbox = self.dispatcher.outbox
        messages = outbox.take() if taken else outbox.messages
        return [(identity, *decode_message(frame)) for identity, frame in messages]

    def beat(
        self,
        name: str,
        holding: tuple[int, ...] = (),
        awaiting: tuple[int, ...] = (),
        *,
        elsewhere: tuple[int, ...] = (),
        capacity: int | None = None,
    ) -> None:
        beat = Heartbeat(
            holding=tuple(Held(id=id_of(number), attempt=1) for number in holding),
            held_elsewhere=tuple(Held(id=id_of(number), attempt=1) for number in elsewhere),
            capacity=capacity,
            awaiting=tuple(map(id_of, awaiting)),
        )
        self.dispatcher.heartbeat(self.now, name.encode(), beat)

    def pass_time(self, seconds: float, *living: str, step_s: float = 0.5) -> None:
        """Let the clock tick; the peers in `living` send signs of life and nothing else."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + step_s)
            for name in living:
                self.dispatcher.capacity(self.now, name.encode(), self._capacity_of(name))
            self.dispatcher.tick(self.now)

    def _capacity_of(self, name: str) -> int:
        actors = (actor for role in self.dispatcher.status(self.now).roles for actor in role.actors)
        return next((actor.capacity for actor in actors if actor.name == name), 0)

    def sent(self) -> list[tuple[str, Kind, int, Body]]:
        """Return and forget what was sent: receiver, kind, number of the request, body.

        Every message, and the status, must fit the wire, and what concerns a request must name its role and attempt.
        """
        outgoing = self.outgoing(taken=True)
        for _, header, _ in outgoing:
            if header.kind in (Kind.REQUEST, Kind.CANCEL):
                assert header.role
                assert header.attempt
        status = self.dispatcher.status(self.now)
        assert decode_body(encode_body(status)) == status
        return [
            (identity.decode(), header.kind, int.from_bytes(header.id, "big"), body)
            for identity, header, body in outgoing
        ]

    def given(self) -> list[tuple[str, int]]:
        """Return the requests given out since the last look, with their actors, and forget everything else."""
        return [(to, number) for to, kind, number, _ in self.sent() if kind is Kind.REQUEST]

    def told(self, client: str) -> list[tuple[int, str]]:
        """Return the answers to a client since the last look: request number, and `reply` or the failure's code."""
        return [
            (number, body.code if isinstance(body, Failure) else "reply")
            for to, kind, number, body in self.sent()
            if to == client and kind in (Kind.REPLY, Kind.FAILURE)
        ]


def stage_with(*actors: tuple[str, int], **limits: Any) -> Stage:
    """Return a stage with one client and these workers, by name and capacity."""
    stage = Stage(**limits)
    stage.join("client")
    for name, capacity in actors:
        stage.join(name, "worker", capacity)
    stage.sent()
    return stage


def failures(stage: Stage, to: str = "client") -> list[str]:
    return [body.message for peer, _, _, body in stage.sent() if peer == to and isinstance(body, Failure)]


def mesh_events(stage: Stage) -> list[ActorJoined | ActorLeft]:
    return [body for *_, body in stage.sent() if isinstance(body, ActorJoined | ActorLeft)]


def actors_of(stage: Stage) -> list[str]:
    return [actor.name for role in stage.dispatcher.status(stage.now).roles for actor in role.actors]
