"""Requests that another router handed out: the actor that holds them is found, and nobody else begins them."""

from __future__ import annotations

from protocol.envelope import Kind
from protocol.messages import Cancel, Plan, Pulse
from tests.gems_actors.router.dispatching import Stage, actors_of, stage_with


def claimed(stage: Stage, by: str) -> list[int]:
    """Return the requests that an actor was told to answer here too."""
    return [
        int.from_bytes(id_, "big")
        for to, _, _, body in stage.sent()
        if to == by and isinstance(body, Pulse)
        for id_ in body.claimed
    ]


def test_a_repeated_request_is_assigned_to_the_actor_that_has_it_from_another_router() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1, again=True)
    stage.beat("a")
    stage.beat("b", elsewhere=(1, 2))
    assert claimed(stage, "b") == [1], "nobody awaits the other request here"
    stage.pass_time(5, "client", "a", "b")
    assert stage.given() == []
    stage.answer("b", 1)
    assert stage.told("client") == [(1, "reply")]


def test_a_claim_is_told_until_the_actor_answers_here_too() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1, again=True)
    for _ in range(2):
        stage.pass_time(1, "client")
        stage.beat("a", elsewhere=(1,))
        assert claimed(stage, "a") == [1]
    stage.beat("a", holding=(1,))
    assert claimed(stage, "a") == []


def test_what_an_actor_holds_from_a_router_that_died_after_its_hello_is_assigned_to_it() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1, again=True)
    stage.beat("b", holding=(1,))
    stage.beat("a")
    stage.pass_time(5, "client", "a", "b")
    assert stage.given() == []


def test_an_actor_cannot_claim_a_request_to_another_role_or_one_that_is_assigned() -> None:
    stage = stage_with(("a", 1))
    stage.join("stranger", "another", 1)
    stage.ask("client", 1, again=True)
    stage.beat("stranger", elsewhere=(1,))
    assert claimed(stage, "stranger") == []
    stage.beat("a", elsewhere=(1,))
    stage.join("b", "worker", 1)
    stage.sent()
    stage.beat("b", elsewhere=(1,))
    assert claimed(stage, "b") == []


def test_a_request_that_moved_to_another_router_is_forgotten_unless_an_actor_holds_it() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    assert stage.given() == [("a", 1)]
    stage.cancel("client", 2, here_only=True)
    stage.cancel("client", 1, here_only=True)
    assert stage.sent() == [], "the actor goes on"
    stage.answer("a", 1)
    assert stage.told("client") == [(1, "reply")]
    assert stage.dispatcher.sizes().requested == 0


def test_a_request_that_moved_is_not_handed_out_again_when_its_actor_is_lost() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1)
    stage.cancel("client", 1, here_only=True)
    stage.sent()
    stage.dispatcher.report_dead(stage.now, "a")
    assert stage.given() == []
    stage.ask("client", 1, again=True)
    stage.pass_time(1, "client")
    stage.beat("b")
    stage.pass_time(3, "client", "b")
    assert stage.given() == [("b", 1)], "its client came back with it"


def test_an_actor_whose_client_is_gone_here_may_go_on_for_another_router() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.sent()
    stage.dispatcher.disconnect(stage.now, b"client")
    ((to, kind, number, body),) = stage.sent()
    assert (to, kind, number) == ("a", Kind.CANCEL, 1)
    assert isinstance(body, Cancel)
    assert body.here_only


def test_a_request_whose_client_is_back_is_begun_again_when_its_old_actor_says_that_it_stopped() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("client", 1)
    stage.pass_time(7)
    stage.join("client")
    stage.ask("client", 1, again=True)
    stage.sent()
    stage.stopped("a", 1)
    assert stage.told("client") == [], "it was told to stop when its client was lost"
    stage.join("a", "worker", 1)
    stage.pass_time(3, "client", "a")
    assert stage.given() == [("a", 1)]
    stage.stopped("a", 1)
    assert stage.sent() == [], "that was of the attempt before"
    stage.answer("a", 1, attempt=2)
    assert stage.told("client") == [(1, "reply")]


def test_an_actor_that_stopped_before_its_client_is_back_leaves_no_answer() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("client", 1)
    stage.pass_time(7)
    stage.stopped("a", 1)
    stage.join("client")
    stage.join("a", "worker", 1)
    stage.ask("client", 1, again=True)
    stage.beat("a")
    assert stage.told("client") == []
    stage.pass_time(3, "client", "a")
    assert stage.given() == [("a", 1)]


def test_an_actor_that_another_router_told_to_stop_gets_the_request_again() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.stopped("a", 1)
    assert stage.given() == [("a", 1)]
    stage.answer("a", 1, attempt=2)
    assert (1, "reply") in stage.told("client")


def test_a_withdrawn_request_frees_its_place_when_its_actor_has_stopped() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.cancel("client", 1)
    assert stage.given() == []
    stage.stopped("a", 1)
    assert stage.sent() == [("a", Kind.REQUEST, 2, Plan(prompt="payload"))]


def test_a_router_that_stalled_reads_what_arrived_before_it_hands_anything_out() -> None:
    stage = stage_with(("a", 1))
    stage.now += 10
    stage.dispatcher.notice_stall(stage.now)
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.cancel("client", 1, here_only=True)
    assert stage.given() == []
    stage.pass_time(0.1, "client", "a", step_s=0.1)
    assert stage.given() == [("a", 2)]


def test_a_lost_capacity_is_repeated_with_the_heartbeats() -> None:
    stage = stage_with(("a", 0))
    stage.ask("client", 1)
    stage.beat("a", capacity=0)
    assert stage.given() == []
    stage.beat("a", capacity=1)
    assert stage.given() == [("a", 1)]
    assert actors_of(stage) == ["a"]


def test_a_request_is_handed_out_after_the_hello_of_its_client_and_not_if_it_moved_before() -> None:
    stage = stage_with(("a", 2))
    stage.restart()
    stage.join("a", "worker", 2)
    for number in (1, 2):
        stage.ask("client", number)
    stage.cancel("client", 1, here_only=True)
    assert stage.given() == []
    stage.join("client")
    assert stage.given() == [("a", 2)]


def test_a_client_that_stood_still_before_its_hello_may_repeat_its_request() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("sleeper", 1)
    stage.pass_time(13, "client", "a")
    assert stage.told("sleeper") == []
    stage.join("sleeper")
    stage.ask("sleeper", 1, again=True)
    stage.beat("a")
    assert stage.told("sleeper") == []
    stage.pass_time(3, "client", "a", "sleeper")
    assert stage.given() == [("a", 1)]


def test_requests_of_a_client_that_never_says_hello_are_dropped() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("stranger", 1)
    stage.pass_time(13, "client", "a")
    stage.join("stranger")
    stage.ask("client", 2)
    assert stage.given() == [("a", 2)]
