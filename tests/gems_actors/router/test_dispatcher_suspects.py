"""A request that crashes its actors is told from those that were only with it, and nobody waits for that."""

from __future__ import annotations

import pytest

from protocol.codec import encode_message
from protocol.envelope import Header, Kind, Lane
from protocol.identity import run_bytes
from protocol.messages import RunBegun, StepTaken
from tests.gems_actors.router.dispatching import Stage, id_of, stage_with


def lose(stage: Stage, *names: str, capacity: int = 16) -> None:
    """Let actors come one after the other, get what waits, and crash."""
    for name in names:
        stage.join(name, "worker", capacity)
        stage.dispatcher.report_dead(stage.now, name)
    stage.sent()


def take_step(stage: Stage, actor: str, number: int, attempt: int) -> None:
    header = Header(Kind.EVENT, id_of(number), "worker", attempt=attempt, run=run_bytes("run"))
    event = encode_message(header, StepTaken(record=RunBegun(run="run")))
    stage.dispatcher.event(stage.now, actor.encode(), header, event)


@pytest.mark.parametrize("actors", [1, 3])
@pytest.mark.parametrize("poisonous", [1, 7, 64])
def test_of_all_that_crashed_actors_held_only_the_poisonous_request_fails(poisonous: int, actors: int) -> None:
    stage = stage_with()
    for number in range(1, 65):
        stage.ask("client", number)
    born = deaths = 0
    told: list[tuple[int, str]] = []
    living: dict[str, list[int]] = {}
    attempts: dict[int, int] = {}
    for _ in range(100):
        while len(living) < actors:
            born += 1
            living[f"a{born}"] = []
            stage.join(f"a{born}", "worker", 64)
        for identity, header, _body in stage.outgoing(taken=True):
            number = int.from_bytes(header.id, "big")
            if header.kind is Kind.REQUEST:
                living[identity.decode()].append(number)
                attempts[number] = header.attempt
            elif header.kind in (Kind.REPLY, Kind.FAILURE):
                told.append((number, header.kind.name))
        for name, held in list(living.items()):
            if poisonous in held:
                deaths += 1
                del living[name]
                stage.dispatcher.report_dead(stage.now, name)
        for name, held in living.items():
            if held:
                number = held.pop(0)
                stage.answer(name, number, attempts[number])
    assert sorted(told) == sorted((number, "FAILURE" if number == poisonous else "REPLY") for number in range(1, 65))
    assert deaths == stage.settings.max_deliveries


def test_suspects_go_few_at_a_time_and_hold_up_no_other_request() -> None:
    stage = stage_with(max_deliveries=4)
    for number in range(1, 17):
        stage.ask("client", number)
    lose(stage, "a", "b")
    for number in range(17, 40):
        stage.ask("client", number)
    stage.join("c", "worker", 16)
    given = [number for _, number in stage.given()]
    assert len(given) == 16
    assert len([number for number in given if number < 17]) == 4
    assert given[4:] == [*range(17, 29)]
    stage.answer("c", 17)
    assert stage.given() == [("c", 29)]
    stage.answer("c", given[0], 3)
    (found,) = stage.given()
    assert found[1] in range(1, 17), "the next suspect goes first, where one may go"


def test_a_suspect_with_one_life_left_is_with_no_other_and_another_actor_takes_the_next() -> None:
    stage = stage_with(max_deliveries=2)
    for number in (1, 2, 3):
        stage.ask("client", number)
    lose(stage, "a")
    stage.join("b", "worker", 16)
    assert len(stage.given()) == 1
    stage.join("c", "worker", 16)
    assert [to for to, _ in stage.given()] == ["c"]
    stage.ask("client", 4)
    stage.ask("client", 5)
    assert sorted(stage.given()) == [("b", 4), ("c", 5)]
    assert stage.dispatcher.status(stage.now).roles[0].queued == 1


def test_a_suspect_that_takes_a_step_is_none_and_makes_room_for_the_next() -> None:
    stage = stage_with(max_deliveries=2)
    stage.ask("client", 1)
    stage.ask("client", 2)
    lose(stage, "a")
    stage.join("b", "worker", 16)
    ((_, first),) = stage.given()
    take_step(stage, "b", first, 2)
    assert stage.given() == [("b", 3 - first)]
    stage.dispatcher.report_dead(stage.now, "b")
    assert stage.told("client") == [(3 - first, "poisoned")]


def test_suspects_keep_to_their_lane() -> None:
    stage = stage_with(max_deliveries=2)
    stage.ask("client", 1)
    lose(stage, "a")
    stage.ask("client", 2)
    stage.ask("client", 3, lane=Lane.INTERACTIVE)
    stage.join("b", "worker", 1)
    assert stage.given() == [("b", 3)]
    stage.answer("b", 3)
    assert stage.given() == [("b", 1)]


def test_suspects_of_a_paused_run_wait_for_it_and_are_suspects_afterwards() -> None:
    stage = stage_with(max_deliveries=2)
    for number in (1, 2):
        stage.ask("client", number)
    lose(stage, "a")
    stage.control("pause")
    stage.join("b", "worker", 16)
    assert stage.given() == []
    (role,) = stage.dispatcher.status(stage.now).roles
    assert (role.queued, role.paused) == (0, 2)
    stage.control("resume")
    (role,) = stage.dispatcher.status(stage.now).roles
    assert (role.queued, role.paused, role.actors[0].busy) == (1, 0, 1)
    stage.control("cancel")
    assert stage.dispatcher.status(stage.now).roles[0].queued == 0


def test_a_suspect_whose_client_had_repeated_it_waits_once() -> None:
    stage = stage_with(max_deliveries=3)
    stage.ask("client", 1, again=True)
    stage.join("a", "worker", 1, holding=((1, 1),))
    stage.dispatcher.report_dead(stage.now, "a")
    stage.pass_time(3, "client")
    (role,) = stage.dispatcher.status(stage.now).roles
    assert role.queued == 1
    stage.join("b", "worker", 1)
    stage.answer("b", 1, 2)
    assert stage.told("client") == [(1, "reply")]
    assert stage.dispatcher.status(stage.now).roles[0].queued == 0
