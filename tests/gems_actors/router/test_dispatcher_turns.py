"""The order in which the dispatcher hands out requests."""

from __future__ import annotations

import pytest

from protocol.envelope import Header, Kind, Lane
from protocol.messages import (
    Failure,
)
from tests.gems_actors.router.dispatching import (
    id_of,
    stage_with,
)


def test_an_actor_is_never_given_more_than_its_capacity_and_each_answer_brings_the_next_request() -> None:
    stage = stage_with(("a", 2))
    for number in range(1, 5):
        stage.ask("client", number)
    assert stage.given() == [("a", 1), ("a", 2)]
    stage.answer("a", 1)
    assert stage.given() == [("a", 3)]


def test_actors_with_free_capacity_take_turns() -> None:
    stage = stage_with(("a", 2), ("b", 2))
    for number in range(1, 5):
        stage.ask("client", number)
    assert stage.given() == [("a", 1), ("b", 2), ("a", 3), ("b", 4)]


def test_interactive_requests_overtake_bulk() -> None:
    stage = stage_with(("a", 1))
    for number in range(1, 4):
        stage.ask("client", number)
    stage.ask("client", 9, lane=Lane.INTERACTIVE)
    stage.answer("a", 1)
    assert stage.given() == [("a", 1), ("a", 9)]


def test_runs_take_turns_however_many_requests_each_has() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    for number in range(10, 20):
        stage.ask("client", number, run="large")
    stage.ask("client", 20, run="small")
    stage.answer("a", 1)
    stage.answer("a", 10)
    assert stage.given() == [("a", 1), ("a", 10), ("a", 20)]


def test_requests_for_a_role_without_actors_wait_until_one_joins() -> None:
    stage = stage_with()
    stage.ask("client", 1)
    assert stage.given() == []
    stage.join("a", "worker", 1)
    assert stage.given() == [("a", 1)]


@pytest.mark.parametrize(("oldest_s", "retry_after_s"), [(0.125, 0.2), (0.5, 0.5), (6, 6.0), (30, 10.0), (600, 10.0)])
def test_a_full_queue_refuses_for_as_long_as_its_oldest_request_has_waited(
    oldest_s: float, retry_after_s: float
) -> None:
    stage = stage_with(max_queue=2)
    stage.ask("client", 1)
    stage.now += oldest_s
    stage.ask("client", 2)
    assert stage.sent() == []
    stage.ask("client", 3)
    ((_, kind, number, failure),) = stage.sent()
    assert (kind, number) == (Kind.FAILURE, 3)
    assert isinstance(failure, Failure)
    assert (failure.code, failure.retry_after_s) == ("overloaded", retry_after_s)


def test_in_a_full_queue_a_run_with_less_than_its_share_displaces_the_newest_of_the_one_with_most() -> None:
    stage = stage_with(max_queue=4)
    for number in range(1, 5):
        stage.ask("client", number, run="huge")
    stage.ask("client", 5, run="small")
    assert stage.told("client") == [(4, "overloaded")]
    stage.ask("client", 6, run="small")
    assert stage.told("client") == [(3, "overloaded")]
    stage.ask("client", 7, run="small")
    assert stage.told("client") == [(7, "overloaded")], "it has its share"
    stage.ask("client", 8, run="huge")
    assert stage.told("client") == [(8, "overloaded")]
    stage.join("a", "worker", 4)
    assert stage.given() == [("a", 1), ("a", 5), ("a", 2), ("a", 6)]


def test_in_a_full_queue_bulk_requests_give_way_to_interactive_ones() -> None:
    stage = stage_with(max_queue=2)
    stage.ask("client", 1, run="large")
    stage.ask("client", 2, run="large")
    for number, run in ((3, "mine"), (4, "yours")):
        stage.ask("client", number, run=run, lane=Lane.INTERACTIVE)
    assert stage.told("client") == [(2, "overloaded"), (1, "overloaded")]
    stage.ask("client", 5, run="mine", lane=Lane.INTERACTIVE)
    stage.ask("client", 6, run="large")
    assert stage.told("client") == [(5, "overloaded"), (6, "overloaded")]
    stage.join("a", "worker", 2)
    assert stage.given() == [("a", 3), ("a", 4)]


def test_requests_that_are_repeated_to_a_new_router_fill_its_queue_no_further_than_others() -> None:
    stage = stage_with(max_queue=2)
    for number in range(1, 6):
        stage.ask("client", number, again=True)
    assert stage.told("client") == [], "an actor may hold any of them"
    stage.pass_time(3, "client")
    assert stage.told("client") == [(3, "overloaded"), (4, "overloaded"), (5, "overloaded")]
    assert stage.dispatcher.sizes().requested == 2


def test_requests_before_a_hello_fill_a_queue_no_further_than_others() -> None:
    stage = stage_with(max_queue=2)
    for number in range(1, 6):
        stage.ask("newcomer", number)
    stage.join("newcomer")
    assert stage.told("newcomer") == [(3, "overloaded"), (4, "overloaded"), (5, "overloaded")]


def test_what_gives_way_is_found_behind_requests_that_were_withdrawn_and_after_a_pause() -> None:
    stage = stage_with(max_queue=3)
    stage.ask("client", 1, run="huge")
    stage.control("pause", "huge")
    stage.control("resume", "huge")
    for number in range(2, 7):
        stage.ask("client", number, run="huge")
    for number in range(2, 4):
        stage.cancel("client", number)
    for number in range(7, 9):
        stage.ask("client", number, run="huge")
    stage.cancel("client", 8)
    stage.ask("client", 9, run="huge")
    stage.cancel("client", 9)
    stage.ask("client", 10, run="another")
    stage.sent()
    stage.ask("client", 11, run="third")
    assert stage.told("client") == [(7, "overloaded")]


def test_turns_go_round_in_the_order_in_which_actors_joined() -> None:
    stage = stage_with(("a", 2), ("b", 2), ("c", 2))
    for number in range(1, 5):
        stage.ask("client", number)
    assert stage.given() == [("a", 1), ("b", 2), ("c", 3), ("a", 4)]


def test_an_actor_that_reports_its_capacity_often_gets_no_more_turns() -> None:
    stage = stage_with(("a", 5), ("b", 5))
    for _ in range(4):
        stage.dispatcher.capacity(stage.now, b"a", 5)
    for number in range(1, 5):
        stage.ask("client", number)
    assert stage.given() == [("a", 1), ("b", 2), ("a", 3), ("b", 4)]


def test_an_actor_that_is_full_since_it_took_less_passes_its_turn() -> None:
    stage = stage_with(("a", 2), ("b", 2))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.dispatcher.capacity(stage.now, b"a", 1)
    stage.ask("client", 3)
    assert stage.given() == [("a", 1), ("b", 2), ("b", 3)]


@pytest.mark.parametrize("others", [(), (("b", 1),)])
def test_an_actor_that_is_gone_gets_nothing(others: tuple[tuple[str, int], ...]) -> None:
    stage = stage_with(("a", 1), *others)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.ask("client", 1)
    assert stage.given() == [(name, 1) for name, _ in others]


@pytest.mark.parametrize("way", ["report_dead", "goodbye", "disconnect", "undeliverable", "silence"])
def test_requests_of_an_actor_that_is_gone_go_at_once_to_one_that_is_free(way: str) -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1)
    match way:
        case "report_dead":
            stage.dispatcher.report_dead(stage.now, "a")
        case "goodbye":
            stage.dispatcher.disconnect(stage.now, b"a")
        case "disconnect":
            stage.dispatcher.disconnect(stage.now, b"a", "its key was removed")
        case "undeliverable":
            stage.dispatcher.undeliverable(stage.now, b"a", Header(Kind.REQUEST, id_of(1), "worker", attempt=1))
        case _:
            stage.pass_time(6.5, "client", "b")
    assert stage.given() == [("a", 1), ("b", 1)]


def test_an_actor_that_takes_more_gets_what_waits_at_once() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.dispatcher.capacity(stage.now, b"a", 2)
    assert stage.given() == [("a", 1), ("a", 2)]


def test_a_request_given_out_after_its_deadline_has_no_time_left() -> None:
    stage = stage_with()
    stage.ask("client", 1, within_s=1)
    stage.now += 2
    stage.join("a", "worker", 1)
    (left_ms,) = [header.time_left_ms for _, header, _ in stage.outgoing() if header.kind is Kind.REQUEST]
    assert left_ms == 0
