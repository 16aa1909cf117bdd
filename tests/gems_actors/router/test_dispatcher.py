"""How the dispatcher assigns requests, without a socket or a clock."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gems_actors.run_states import RunStates
from protocol.codec import encode_body
from protocol.envelope import Header, Kind, Lane
from protocol.identity import run_bytes
from protocol.messages import ActorJoined, ActorLeft, Control, Failure, Pulse, StopMesh
from tests.gems_actors.router.dispatching import PAYLOAD, Stage, id_of


def stage_with(*actors: tuple[str, int], **limits: Any) -> Stage:
    stage = Stage(**limits)
    stage.join("client")
    for name, capacity in actors:
        stage.join(name, "worker", capacity)
    stage.sent()
    return stage


# ------------------------------------------------------------------------------------------------ order


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


@pytest.mark.parametrize(("oldest_s", "retry_after_s"), [(0, 0.2), (2, 0.2), (30, 3.0), (100, 10.0), (600, 10.0)])
def test_a_full_queue_refuses_until_a_tenth_of_its_oldest_wait_has_passed(
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


# ------------------------------------------------------------------------------------------------ answered once


def test_a_request_sent_twice_is_given_out_and_answered_once() -> None:
    stage = stage_with(("a", 5))
    stage.ask("client", 1)
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]
    stage.answer("a", 1)
    assert stage.told("client") == [(1, "reply")]


def test_a_request_repeated_after_its_answer_was_lost_is_answered_again_without_an_actor() -> None:
    stage = stage_with(("a", 5))
    stage.ask("client", 1)
    stage.answer("a", 1)
    stage.sent()
    stage.ask("client", 1)
    assert stage.told("client") == [(1, "reply")]
    stage.beat("client", awaiting=(1,))
    assert (1, "reply") in stage.told("client")


def test_kept_answers_are_bounded_in_bytes_and_the_oldest_goes_first() -> None:
    stage = stage_with(("a", 5), max_answer_bytes=3 * len(PAYLOAD))
    for number in range(1, 5):
        stage.ask("client", number)
        stage.answer("a", number)
    stage.sent()
    stage.ask("client", 2)
    assert stage.told("client") == [(2, "reply")]
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)], "the oldest is done again"


def test_an_answer_is_accepted_only_for_the_requested_role() -> None:
    stage = stage_with()
    stage.join("a", "another")
    stage.ask("client", 1)
    stage.answer("a", 1, role="another")
    assert stage.told("client") == []
    stage.answer("a", 1)
    assert stage.told("client") == [(1, "reply")]


def test_requests_of_a_disconnected_process_go_to_others() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]
    stage.dispatcher.disconnect(stage.now, b"a", "its key was taken back")
    assert stage.dispatcher.role_of(b"a") is None
    stage.join("b", "worker", 1)
    assert stage.given() == [("b", 1)]


def test_a_late_answer_of_a_lost_actor_is_dropped() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.join("b", "worker", 1)
    stage.join("a", "worker", 1)
    stage.sent()
    stage.answer("a", 1, attempt=1)
    assert stage.told("client") == []
    stage.answer("b", 1, attempt=2)
    assert stage.told("client") == [(1, "reply")]


def test_a_waiting_request_takes_the_answer_of_its_last_attempt_and_no_earlier_one() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.join("b", "worker", 1)
    stage.dispatcher.report_dead(stage.now, "b")
    stage.sent()
    stage.answer("a", 1, attempt=1)
    assert stage.told("client") == []
    assert stage.dispatcher.status(stage.now).roles[0].queued == 1
    stage.answer("b", 1, attempt=2)
    assert stage.told("client") == [(1, "reply")]
    assert stage.dispatcher.status(stage.now).roles == ()


def test_a_waiting_request_takes_no_answer_without_an_attempt() -> None:
    stage = stage_with()
    stage.ask("client", 1)
    stage.answer("a", 1, attempt=0)
    assert stage.told("client") == []


def test_an_actor_given_a_request_twice_must_answer_the_latest_attempt() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.now += 5
    stage.beat("a")
    assert stage.given() == [("a", 1), ("a", 1)]
    stage.answer("a", 1, attempt=1)
    assert stage.told("client") == []
    stage.answer("a", 1, attempt=2)
    assert stage.told("client") == [(1, "reply")]


# ------------------------------------------------------------------------------------------------ loss


def test_requests_of_a_lost_actor_go_to_another_first() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.sent()
    stage.join("b", "worker", 2)
    assert stage.given() == [("b", 1), ("b", 2)]


def test_a_request_that_takes_down_every_actor_is_poisoned_and_goodbyes_do_not_count() -> None:
    stage = stage_with(max_deliveries=2)
    stage.ask("client", 1)
    stage.join("polite", "worker", 1)
    stage.dispatcher.disconnect(stage.now, b"polite")
    stage.join("a", "worker", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    assert stage.told("client") == []
    stage.join("b", "worker", 1)
    stage.dispatcher.report_dead(stage.now, "b")
    assert stage.told("client") == [(1, "poisoned")]


def test_a_silent_actor_is_lost_but_a_stall_of_the_router_does_not_count() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("client", 1)
    stage.now += 60
    stage.dispatcher.tick(stage.now)
    assert [role.actors[0].name for role in stage.dispatcher.status(stage.now).roles] == ["a"]
    stage.pass_time(7, "client")
    stage.join("b", "worker", 1)
    assert stage.given()[-1] == ("b", 1)


def test_each_of_many_actors_is_lost_exactly_at_its_heartbeat_timeout() -> None:
    stage = stage_with(*((name, 1) for name in "abc"), silence_s=6.0)
    for living in (("client", "a", "b"), ("client", "a")):
        stage.pass_time(4, "client", "a", "b", "c")
        there = len(stage.dispatcher.status(stage.now).roles[0].actors)
        stage.pass_time(6, *living)
        assert len(stage.dispatcher.status(stage.now).roles[0].actors) == there
        stage.pass_time(0.5, *living)
        assert len(stage.dispatcher.status(stage.now).roles[0].actors) == there - 1


def test_a_request_that_never_reached_its_actor_is_handed_out_again() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.now += 0.5
    stage.beat("a")
    assert stage.given() == [("a", 1)], "it may still be on its way"
    stage.now += 5
    stage.beat("a")
    assert stage.given() == [("a", 1)]
    stage.now += 5
    stage.beat("a", holding=(1,))
    assert stage.given() == []


def test_a_message_that_could_not_be_sent_takes_its_request_to_another_actor() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    header = Header(Kind.REQUEST, id_of(1), "worker", attempt=1)
    stage.dispatcher.undeliverable(stage.now, b"a", header)
    stage.join("b", "worker", 1)
    assert stage.given() == [("a", 1), ("b", 1)]


def test_requests_of_a_lost_client_are_withdrawn() -> None:
    stage = stage_with(("a", 1), silence_s=6.0)
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.sent()
    stage.pass_time(7, "a")
    assert ("a", Kind.CANCEL, 1) in [message[:3] for message in stage.sent()]
    stage.answer("a", 1)
    assert stage.given() == []
    assert stage.dispatcher.status(stage.now).roles[0].queued == 0


# ------------------------------------------------------------------------------------------------ deadlines, cancels


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
    stage.dispatcher.outbox.clear()
    stage.join("a", "worker", 1)
    (left_ms,) = [header.time_left_ms for _, header, _ in stage.dispatcher.outbox if header.kind is Kind.REQUEST]
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


def test_requesting_with_a_deadline_forever_fills_no_memory() -> None:
    stage = stage_with(("a", 1))
    for number in range(1, 10_000):
        stage.ask("client", number, within_s=600)
        stage.answer("a", number)
    stage.ask("client", 10_000, within_s=600)
    assert stage.dispatcher.sizes().deadlines < 1100
    stage.sent()
    stage.pass_time(601, "a", "client")
    assert (10_000, "deadline") in stage.told("client")


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


# ------------------------------------------------------------------------------------------------ pause, cancel


def test_a_paused_run_waits_and_resumes_in_its_old_order_while_others_are_served() -> None:
    stage = stage_with(("a", 1))
    for number in (1, 2, 3):
        stage.ask("client", number)
    assert stage.given() == [("a", 1)]
    done = stage.control("pause")
    assert (done.before, done.waiting, done.in_hand) == ("running", 2, 1)
    stage.ask("client", 4)
    stage.ask("client", 9, run="other")
    stage.sent()
    stage.answer("a", 1)
    assert stage.given() == [("a", 9)], "the request in flight was answered"
    stage.answer("a", 9)
    (role,) = stage.dispatcher.status(stage.now).roles
    assert (role.queued, role.paused) == (0, 3)
    assert stage.control("resume").before == "paused"
    given = stage.given()
    for number in (2, 3):
        stage.answer("a", number)
        given += stage.given()
    assert given == [("a", 2), ("a", 3), ("a", 4)]


def test_a_paused_trajectory_leaves_the_rest_of_its_run_and_comes_back_to_its_place() -> None:
    stage = stage_with()
    for number, trajectory in ((1, 7), (2, 8), (3, 7), (4, 8)):
        stage.ask("client", number, trajectory=trajectory)
    stage.control("pause", trajectory=7)
    stage.join("a", "worker", 1)
    assert stage.given() == [("a", 2)]
    stage.control("resume", trajectory=7)
    given = []
    for number in (2, 1, 3, 4):
        stage.answer("a", number)
        given += stage.given()
    assert given == [("a", 1), ("a", 3), ("a", 4)]


def test_a_lost_actor_s_request_of_a_paused_run_waits_and_comes_first_on_resume() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.control("pause")
    stage.dispatcher.report_dead(stage.now, "a")
    stage.join("b", "worker", 2)
    assert stage.given() == [("a", 1)]
    stage.control("resume")
    assert stage.given() == [("b", 1), ("b", 2)]


def test_a_paused_run_does_not_fill_the_queue_of_others_and_is_bounded_too() -> None:
    stage = stage_with(max_queue=2)
    stage.control("pause")
    for number in (1, 2, 3):
        stage.ask("client", number)
    stage.ask("client", 4, run="other")
    assert stage.told("client") == [(3, "overloaded")]


def test_cancelling_a_run_answers_all_its_requests_stops_its_actors_and_refuses_new_requests() -> None:
    stage = stage_with(("a", 1))
    for number in (1, 2):
        stage.ask("client", number)
    stage.ask("client", 3, run="other")
    stage.sent()
    done = stage.control("cancel")
    assert (done.waiting, done.in_hand) == (1, 1)
    sent = stage.sent()
    failures = {number: body for to, kind, number, body in sent if (to, kind) == ("client", Kind.FAILURE)}
    assert {number: body.message for number, body in failures.items()} == {  # type: ignore[attr-defined]
        1: "the run was cancelled by alice",
        2: "the run was cancelled by alice",
    }
    ((to, number, body),) = [(to, number, body) for to, kind, number, body in sent if kind is Kind.CANCEL]
    assert (to, number, body.reason) == ("a", 1, "the run was cancelled by alice")  # type: ignore[attr-defined]
    stage.answer("a", 1)
    assert stage.given() == [("a", 3)]
    stage.ask("client", 4)
    assert stage.told("client") == [(4, "cancelled")]
    stage.control("pause")
    assert stage.control("resume").before == "cancelled", "what is cancelled cannot be paused"
    stage.answer("a", 3)
    stage.sent()
    stage.ask("client", 5)
    assert stage.given() == [("a", 5)]


def test_cancelling_a_trajectory_leaves_the_others_and_resuming_the_run_lifts_it() -> None:
    stage = stage_with()
    stage.ask("client", 1, trajectory=7)
    stage.ask("client", 2, trajectory=8)
    stage.control("cancel", trajectory=7)
    assert stage.told("client") == [(1, "cancelled")]
    stage.control("resume")
    stage.ask("client", 3, trajectory=7)
    stage.join("a", "worker", 2)
    assert stage.given() == [("a", 2), ("a", 3)]


def test_memory_serves_paused_and_cancelled_runs() -> None:
    stage = stage_with()
    stage.join("m", "memory", 2)
    stage.control("pause")
    stage.ask("client", 1, "memory")
    stage.control("cancel")
    stage.ask("client", 2, "memory")
    assert stage.given() == [("m", 1), ("m", 2)]


def test_every_peer_receives_a_run_state_at_once_and_again_where_it_was_lost() -> None:
    stage = stage_with(("a", 1))
    stage.control("pause")
    told = [(to, body.run_states[0].state) for to, _, _, body in stage.sent() if isinstance(body, Pulse)]
    assert told == [("client", "paused"), ("a", "paused")]
    stage.dispatcher.undeliverable(stage.now, b"a", Header(Kind.PULSE))
    for name, count in (("client", 0), ("a", 1), ("a", 0)):
        stage.beat(name)
        (pulse,) = [body for *_, body in stage.sent() if isinstance(body, Pulse)]
        assert len(pulse.run_states) == count


def test_a_new_dispatcher_learns_run_states_from_any_peer() -> None:
    stage = stage_with(("a", 1))
    stage.control("pause")
    stage.control("pause", "other")
    late = RunStates()
    late.merge(stage.run_states.all())
    stage.control("resume", "other")
    stage.restart()
    stage.join("a", "worker", 1)
    stage.run_states = late  # of a peer that was not told of the last change
    stage.join("client")
    stage.sent()
    stage.ask("client", 1)
    stage.ask("client", 2, run="other")
    assert stage.given() == [("a", 2)]


def test_a_repeated_request_is_cancelled_once_a_peer_reports_the_cancelled_run() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.control("cancel")
    stage.restart()
    run_states, stage.run_states = stage.run_states, RunStates()
    stage.join("client")
    stage.ask("client", 1, again=True)
    stage.sent()
    stage.run_states = run_states
    stage.join("a", "worker", 1, holding=((1, 1),))
    assert (1, "cancelled") in stage.told("client")


# ------------------------------------------------------------------------------------------------ a new router


def test_an_unknown_peer_is_asked_to_say_hello_again() -> None:
    stage = Stage()
    stage.beat("stranger")
    assert [message[1] for message in stage.sent()] == [Kind.HELLO_AGAIN]


def test_a_new_dispatcher_learns_assignments_and_gives_no_request_out_twice() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.restart()
    stage.join("a", "worker", 1, holding=((1, 1),))
    stage.join("client")
    stage.sent()
    stage.beat("client", awaiting=(1, 2))
    (pulse,) = [body for *_, body in stage.sent() if isinstance(body, Pulse)]
    assert pulse.unknown == (id_of(2),)
    stage.ask("client", 1)
    stage.ask("client", 2)
    assert stage.given() == []
    stage.answer("a", 1)
    assert stage.sent()[0][:3] == ("client", Kind.REPLY, 1)


def test_a_repeated_request_waits_a_moment_for_the_actor_that_may_hold_it() -> None:
    stage = stage_with()
    stage.restart()
    stage.join("client")
    stage.ask("client", 1, again=True)
    stage.ask("client", 2, again=True)
    stage.join("idle", "worker", 2)
    stage.join("holder", "worker", 1, holding=((1, 1),))
    assert stage.given() == []
    stage.pass_time(3, "client", "idle", "holder")
    assert stage.given() == [("idle", 2)]


def test_an_answer_that_comes_before_the_client_has_repeated_its_request_is_kept_for_it() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.restart()
    stage.join("a", "worker", 1, holding=((1, 1),))
    stage.answer("a", 1)
    stage.join("client")
    stage.sent()
    stage.ask("client", 1)
    assert stage.told("client") == [(1, "reply")]


def test_an_actor_that_returns_with_a_reassigned_request_is_told_to_stop() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.join("b", "worker", 1)
    stage.sent()
    stage.join("a", "worker", 1, holding=((1, 1),))
    assert ("a", Kind.CANCEL, 1) in [message[:3] for message in stage.sent()]


def test_an_actor_that_returns_before_its_request_was_reassigned_keeps_it() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    stage.sent()
    stage.join("a", "worker", 1, holding=((1, 1),))
    assert stage.given() == []
    assert stage.dispatcher.status(stage.now).roles[0].queued == 0
    stage.answer("a", 1)
    assert stage.told("client") == [(1, "reply")]


# ------------------------------------------------------------------------------------------------ events, status


def test_events_reach_only_the_subscribers_of_their_run() -> None:
    stage = stage_with()
    stage.join("other")
    stage.dispatcher.subscribe(stage.now, b"client", run_bytes("mine"))
    stage.sent()
    for run in ("mine", "yours"):
        stage.dispatcher.event(stage.now, b"a", Header(Kind.EVENT, run=run_bytes(run)), encode_body(StopMesh()))
    assert [to for to, *_ in stage.sent()] == ["client"]


def test_runs_without_subscribers_are_forgotten() -> None:
    stage = stage_with()
    for number in range(100):
        stage.dispatcher.subscribe(stage.now, b"client", run_bytes(f"run {number}"))
    assert stage.dispatcher.sizes().followed_runs == 100
    stage.dispatcher.disconnect(stage.now, b"client")
    assert stage.dispatcher.sizes().followed_runs == 0


def test_subscribers_of_the_mesh_hear_of_actors_that_join_and_leave() -> None:
    stage = stage_with()
    stage.dispatcher.subscribe(stage.now, b"client", run_bytes("mesh"))
    stage.join("a", "worker", 1)
    stage.join("a", "worker", 1)
    stage.dispatcher.report_dead(stage.now, "a")
    told = [body for to, kind, _, body in stage.sent() if kind is Kind.EVENT and to == "client"]
    assert told == [
        ActorJoined(name="a", role="worker"),
        ActorLeft(name="a", role="worker", reason="its process ended"),
    ]


def test_the_status_shows_assignments_and_queues_with_their_ages() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    stage.ask("client", 2)
    stage.now += 3
    (role,) = stage.dispatcher.status(stage.now).roles
    assert (role.role, role.queued, role.oldest_s) == ("worker", 1, 3.0)
    assert (role.actors[0].busy, role.actors[0].oldest_s) == (1, 3.0)


# ------------------------------------------------------------------------------------------------ a whole day


@pytest.mark.slow
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
        outgoing, stage.dispatcher.outbox = stage.dispatcher.outbox, []
        for identity, header, _ in outgoing:
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
    for _, header, _ in stage.dispatcher.outbox:
        answered[int.from_bytes(header.id, "big")] += header.kind is Kind.REPLY
    status = stage.dispatcher.status(stage.now)
    waiting = sum(role.queued + sum(actor.busy for actor in role.actors) for role in status.roles)
    assert asked > 8_000
    assert born > 2_000
    assert set(answered.values()) == {1}
    assert len(answered) == asked - waiting
    assert waiting < 20


# ------------------------------------------------------------------------------------------------ whatever happens


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
        outgoing, self.stage.dispatcher.outbox = self.stage.dispatcher.outbox, []
        for identity, header, _ in outgoing:
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
            int.from_bytes(header.id, "big")
            for _, header, _ in self.stage.dispatcher.outbox
            if header.kind is Kind.REQUEST
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
TestWhateverHappens = pytest.mark.slow(AnythingMayHappen.TestCase)
