"""Deadlines, cancellation, and the moments at which something counts as lost."""

from __future__ import annotations

import pytest

from protocol.envelope import Kind
from protocol.identity import run_bytes
from tests.gems_actors.router.dispatching import (
    Stage,
    actors_of,
    stage_with,
)


def test_a_deadline_expires_both_in_the_queue_and_at_an_actor() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1, within_s=2)
    stage.ask("client", 2, within_s=1)
    stage.sent()
    stage.pass_time(1.5, "a", "client")
    assert stage.told("client") == [(2, "deadline")]
    stage.pass_time(1, "a", "client")
    sent = stage.sent()
    assert [(to, kind, number) for to, kind, number, _ in sent] == [
        ("client", Kind.FAILURE, 1),
        ("a", Kind.CANCEL, 1),
    ]


def test_an_actor_is_told_how_much_time_is_left_and_not_how_much_there_was() -> None:
    stage = stage_with()
    stage.ask("client", 1, within_s=10)
    stage.pass_time(4, "client")
    stage.dispatcher.outbox.take()
    stage.join("a", "worker", 1)
    (left_ms,) = [header.time_left_ms for _, header, _ in stage.outgoing() if header.kind is Kind.REQUEST]
    assert left_ms == 6000


def test_cancelling_reaches_the_actor_and_frees_its_capacity_once_it_confirms() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.cancel("client", 1)
    assert [message[:3] for message in stage.sent()] == [("a", Kind.CANCEL, 1)]
    stage.answer("a", 1)
    assert stage.given() == [("a", 2)]


def test_a_request_repeated_while_its_actor_stops_is_done_again() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]
    stage.cancel("client", 1)
    stage.sent()
    stage.ask("client", 1, again=True)  # its other router has fallen silent
    assert stage.given() == [("b", 1)]
    stage.answer("a", 1, attempt=1)  # that it has stopped
    assert stage.told("client") == []
    stage.answer("b", 1, attempt=3)
    assert stage.told("client") == [(1, "reply")]


def test_a_cancelled_request_in_the_queue_is_passed_over() -> None:
    stage = stage_with(("a", 1))
    for number in (1, 2, 3):
        stage.ask("client", number)
    stage.cancel("client", 2)
    stage.answer("a", 1)
    assert stage.given() == [("a", 1), ("a", 3)]


def test_requesting_and_cancelling_forever_fills_no_queue() -> None:
    stage = stage_with()
    stage.ask("client", 1)
    for number in range(2, 10_000):
        stage.ask("client", number)
        stage.cancel("client", number)
    assert stage.dispatcher.sizes().queue_entries < 1100
    stage.join("a", "worker", 5)
    assert stage.given() == [("a", 1)]


def test_the_deadline_of_a_request_passes_behind_those_of_many_that_were_answered() -> None:
    stage = stage_with(("a", 1))
    for number in range(1, 1000):
        stage.ask("client", number, within_s=number)
        stage.answer("a", number)
    stage.ask("client", 1000, within_s=600)
    stage.sent()
    stage.pass_time(599, "a", "client")
    assert (1000, "deadline") not in stage.told("client")
    stage.pass_time(2, "a", "client")
    assert (1000, "deadline") in stage.told("client")


def test_a_client_cannot_cancel_another_s_request() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.join("stranger")
    stage.sent()
    stage.cancel("stranger", 1)
    assert stage.sent() == []


def test_a_graceful_cancel_reaches_the_actor_and_ends_a_queued_request() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.cancel("client", 1, graceful=True)
    stage.cancel("client", 2, graceful=True)
    sent = stage.sent()
    assert [message[:3] for message in sent] == [("a", Kind.CANCEL, 1), ("client", Kind.FAILURE, 2)]
    assert sent[0][3].graceful  # type: ignore[attr-defined]
    stage.answer("a", 1)
    assert stage.told("client") == [(1, "reply")]


def test_a_request_to_another_role_under_the_same_id_is_refused_and_changes_nothing() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.ask("client", 2, "other")
    assert stage.told("client") == [(2, "refused")]
    stage.answer("a", 1)
    assert stage.given() == [("a", 2)]


def test_a_graceful_cancel_of_a_repeated_request_waits_for_the_actor_that_may_hold_it() -> None:
    stage = stage_with()
    stage.ask("client", 1, again=True)
    stage.sent()
    stage.cancel("client", 1, graceful=True)
    assert stage.told("client") == []
    stage.join("a", "worker", 1, holding=((1, 1),))
    stage.sent()
    stage.cancel("client", 1, graceful=True)
    assert [message[:3] for message in stage.sent()] == [("a", Kind.CANCEL, 1)]


def test_a_request_received_through_another_router_may_be_answered_through_this_one() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]
    stage.join("a", "worker", 1, holding=((1, 3),))
    stage.answer("a", 1, attempt=3)
    assert stage.told("client") == [(1, "reply")]


def test_after_a_stall_of_the_router_no_request_is_taken_for_lost_at_once() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]
    stage.now += 5.0
    stage.dispatcher.notice_stall(stage.now)
    stage.beat("a")
    assert stage.given() == []
    stage.pass_time(3.0, "a", "b")
    stage.beat("a")
    assert stage.given() == [("b", 1)]


def test_a_request_that_its_actor_does_not_report_is_lost_after_two_heartbeats_and_no_sooner() -> None:
    stage = stage_with(("a", 1), heartbeat_s=2.0)
    stage.ask("client", 1)
    for step_s, given in ((2.0, [("a", 1)]), (2.0, []), (0.1, [("a", 1)])):
        stage.now += step_s
        stage.dispatcher.tick(stage.now)
        stage.beat("a")
        assert stage.given() == given


def test_after_a_stall_nothing_is_lost_for_two_heartbeats_and_at_the_usual_pace_nothing_is_a_stall() -> None:
    for stall_s, grace_s in ((2.0, 0.0), (2.5, 4.0)):
        stage = stage_with(("a", 1), heartbeat_s=2.0, silence_s=60.0)
        stage.ask("client", 1)
        stage.sent()
        for step_s in (2.0, 2.0, stall_s):
            stage.now += step_s
            stage.dispatcher.tick(stage.now)
        if grace_s:
            stage.beat("a")
            assert stage.given() == []
            for step_s in (1.9, 2.0):
                stage.now += step_s
                stage.dispatcher.tick(stage.now)
                stage.beat("a")
                assert stage.given() == []
            stage.now += 0.1
        stage.beat("a")
        assert stage.given() == [("a", 1)]


def test_after_a_stall_the_silence_of_a_peer_begins_again() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.now += 60
    stage.dispatcher.tick(stage.now)
    for step_s, there in ((6.0, ["a"]), (0.5, [])):
        stage.pass_time(step_s)
        assert actors_of(stage) == there


def test_a_peer_is_given_up_only_after_the_whole_silence() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.now += 0.5
    stage.join("b", "worker", 1)
    stage.pass_time(6.0)
    assert actors_of(stage) == ["b"]


def test_a_dispatcher_without_peers_lets_time_pass() -> None:
    stage = Stage()
    stage.pass_time(20)
    stage.join("a", "worker", 1)
    stage.pass_time(5)
    assert actors_of(stage) == ["a"]


def test_a_repeated_request_is_given_out_after_two_heartbeats_and_no_sooner() -> None:
    stage = stage_with(("idle", 1), heartbeat_s=2.0)
    stage.ask("client", 1, again=True)
    assert stage.dispatcher.sizes().reclaimable == 1
    for step_s, given in ((2.0, []), (1.9, []), (0.1, [("idle", 1)])):
        stage.now = round(stage.now + step_s, 1)
        stage.beat("idle")
        stage.dispatcher.tick(stage.now)
        assert stage.given() == given


def test_a_repeated_request_waits_for_a_report_of_every_actor_that_could_hold_it() -> None:
    stage = stage_with(("idle", 1), ("late", 1), silence_s=60.0)
    stage.join("other", "another_role", 1)
    stage.ask("client", 1, again=True)
    for _ in range(8):
        stage.pass_time(1.0, "client", "other", "late")
        stage.beat("idle")
    assert stage.given() == []
    stage.beat("late")
    stage.pass_time(1.0)
    assert stage.given() == [("idle", 1)]


def test_a_deadline_passes_at_its_moment() -> None:
    stage = stage_with()
    stage.ask("client", 1, within_s=1)
    for step_s, told in ((0.5, []), (0.5, [(1, "deadline")])):
        stage.now += step_s
        stage.dispatcher.tick(stage.now)
        assert stage.told("client") == told


@pytest.mark.parametrize("sign", ["cancel", "subscribe", "request"])
def test_every_message_of_a_client_is_a_sign_of_life(sign: str) -> None:
    stage = stage_with(silence_s=6.0)
    stage.pass_time(4)
    if sign == "cancel":
        stage.cancel("client", 1)
    elif sign == "subscribe":
        stage.dispatcher.subscribe(stage.now, b"client", run_bytes("run"))
    else:
        stage.ask("client", 1)
    stage.pass_time(5)
    assert stage.dispatcher.role_of(b"client") == ""
    stage.pass_time(2)
    assert stage.dispatcher.role_of(b"client") is None
