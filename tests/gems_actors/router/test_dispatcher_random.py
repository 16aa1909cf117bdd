"""Whatever happens in whatever order, each request is answered once and nothing else is kept."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from protocol.envelope import Kind, Lane
from protocol.identity import run_bytes
from protocol.messages import (
    Control,
)
from tests.gems_actors.router.dispatching import (
    Stage,
    id_of,
)

pytestmark = pytest.mark.slow


def test_a_simulated_day_of_kills_answers_every_request_once() -> None:
    dice = random.Random(1)
    stage = Stage(silence_s=6.0, max_deliveries=1000)
    stage.join("client")
    actors: dict[str, set[tuple[int, int]]] = {}
    answered: Counter[int] = Counter()
    asked = born = 0
    for _ in range(86_400 // 10):
        stage.now += 10.0
        stage.dispatcher.capacity(stage.now, b"client", 0)
        while len(actors) < 3:
            born += 1
            actors[f"actor-{born}"] = set()
            stage.join(f"actor-{born}", "worker", 4)
        if dice.random() < 0.3:
            victim = dice.choice(sorted(actors))
            del actors[victim]
            stage.dispatcher.report_dead(stage.now, victim)
        for _ in range(dice.randrange(3)):
            asked += 1
            stage.ask("client", asked)
        for name in actors:
            stage.dispatcher.capacity(stage.now, name.encode(), 4)
        for identity, header, _ in stage.outgoing(taken=True):
            number = int.from_bytes(header.id, "big")
            if header.kind is Kind.REQUEST and identity.decode() in actors:
                actors[identity.decode()].add((number, header.attempt))
            elif header.kind in (Kind.REPLY, Kind.FAILURE):
                answered[number] += 1
        for name, held in actors.items():
            for number, attempt in [item for item in held if dice.random() < 0.5]:
                held.discard((number, attempt))
                stage.answer(name, number, attempt)
        stage.dispatcher.tick(stage.now)
    for name, held in actors.items():
        for number, attempt in held:
            stage.answer(name, number, attempt)
    for _, header, _ in stage.outgoing():
        answered[int.from_bytes(header.id, "big")] += header.kind is Kind.REPLY
    status = stage.dispatcher.status(stage.now)
    waiting = sum(role.queued + sum(actor.busy for actor in role.actors) for role in status.roles)
    assert asked > 8_000
    assert born > 2_000
    assert set(answered.values()) == {1}
    assert len(answered) == asked - waiting
    assert waiting < 20


RUNS = st.sampled_from(["x", "y"])
ACTIONS: st.SearchStrategy[Control] = st.sampled_from(("pause", "resume", "cancel"))


class AnythingMayHappen(RuleBasedStateMachine):
    """Clients and actors that act in any order; the invariants are checked after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(max_queue=6, max_deliveries=3, silence_s=6.0)
        self.held: dict[str, dict[int, int]] = {}
        self.capacities: dict[str, int] = {}
        self.pending: dict[int, tuple[Lane, str, int]] = {}
        self.answers: Counter[int] = Counter()
        self.asked = self.born = 0
        self.stage.join("client")
        self.look()

    def look(self) -> None:
        self.stage.hear()
        for identity, header, _ in self.stage.outgoing(taken=True):
            name, number = identity.decode(), int.from_bytes(header.id, "big")
            if header.kind is Kind.REQUEST and name in self.held:
                self.held[name][number] = header.attempt
                assert self.stage.run_states.phase_of(header.run, header.trajectory) == "running", "it was handed out"
            elif header.kind in (Kind.REPLY, Kind.FAILURE):
                self.answers[number] += 1
                self.pending.pop(number, None)

    @rule(capacity=st.integers(1, 3))
    def join(self, capacity: int) -> None:
        self.born += 1
        name = f"a{self.born}"
        self.held[name], self.capacities[name] = {}, capacity
        self.stage.join(name, "worker", capacity)
        self.look()

    @rule(lane=st.sampled_from(Lane), run=RUNS, trajectory=st.integers(1, 2), hurry=st.booleans())
    def ask(self, lane: Lane, run: str, trajectory: int, hurry: bool) -> None:
        self.asked += 1
        self.pending[self.asked] = (lane, run, trajectory)
        within_s = 3 if hurry else None
        self.stage.ask("client", self.asked, lane=lane, run=run, trajectory=trajectory, within_s=within_s)
        self.look()

    @rule(action=ACTIONS, run=RUNS, trajectory=st.none() | st.integers(1, 2))
    def control(self, action: Control, run: str, trajectory: int | None) -> None:
        self.stage.control(action, run, trajectory)
        self.look()
        if action == "cancel":
            left = [place for place in self.pending.values() if place[1] == run and trajectory in (None, place[2])]
            assert not left, "each was answered"

    @precondition(lambda self: any(self.held.values()))
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from([name for name, held in self.held.items() if held]))
        number = data.draw(st.sampled_from(sorted(self.held[name])))
        attempt = self.held[name].pop(number)
        self.stage.answer(name, number, attempt)
        self.look()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), politely=st.booleans())
    def leave(self, data: st.DataObject, politely: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        del self.held[name], self.capacities[name]
        if politely:
            self.stage.dispatcher.disconnect(self.stage.now, name.encode())
        else:
            self.stage.dispatcher.report_dead(self.stage.now, name)
        self.look()

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.pending)))
        del self.pending[number]
        self.stage.cancel("client", number)
        self.look()

    @rule(client_is_first=st.booleans(), data=st.data())
    def restart_router(self, client_is_first: bool, data: st.DataObject) -> None:
        self.stage.restart()
        early = data.draw(st.sets(st.sampled_from(sorted(self.held)))) if self.held else set()
        for name in sorted(early):  # an answer that was in transit when the old router died
            if not self.held[name]:
                continue
            number, attempt = self.held[name].popitem()
            self.stage.answer(name, number, attempt)
        told = {number for held in self.held.values() for number in held}
        for client_is_next in (client_is_first, not client_is_first):
            if client_is_next:
                self.stage.join("client")
                for number, (lane, run, trajectory) in sorted(self.pending.items()):
                    self.stage.ask("client", number, lane=lane, run=run, trajectory=trajectory, again=True)
            else:
                for name, held in self.held.items():
                    self.stage.join(name, "worker", self.capacities[name], tuple(held.items()))
        given = {
            int.from_bytes(header.id, "big") for _, header, _ in self.stage.outgoing() if header.kind is Kind.REQUEST
        }
        assert not given & told, "a request that an actor holds is given to no other"
        self.look()

    @rule(seconds=st.floats(0.1, 4))
    def wait(self, seconds: float) -> None:
        for name, held in self.held.items():
            self.stage.beat(name, tuple(held))
        self.stage.beat("client", awaiting=tuple(self.pending))
        self.stage.pass_time(seconds, "client", *self.held)
        self.look()

    @invariant()
    def no_request_is_answered_twice(self) -> None:
        assert all(count == 1 for count in self.answers.values()), self.answers

    @invariant()
    def every_pending_request_waits_or_is_held_as_the_status_shows(self) -> None:
        status = self.stage.dispatcher.status(self.stage.now)
        known = sum(role.queued + role.paused + sum(actor.busy for actor in role.actors) for role in status.roles)
        reclaimable = self.stage.dispatcher.sizes().reclaimable
        assert known + reclaimable >= len(self.pending)
        held = {number for requests in self.held.values() for number in requests}
        states = Counter(
            self.stage.run_states.phase_of(run_bytes(run), id_of(trajectory))
            for number, (_, run, trajectory) in self.pending.items()
            if number not in held
        )
        waiting = Counter(running=sum(r.queued for r in status.roles), paused=sum(r.paused for r in status.roles))
        assert waiting <= states
        assert states.total() - waiting.total() <= reclaimable
        for role in status.roles:
            for actor in role.actors:
                assert actor.busy <= max(actor.capacity, len(self.held[actor.name]))


AnythingMayHappen.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestWhateverHappens = AnythingMayHappen.TestCase
