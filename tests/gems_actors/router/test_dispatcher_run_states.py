"""Paused and cancelled runs and trajectories."""

from __future__ import annotations

import pytest

from gems_actors.run_states import RunStates
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import (
    Control,
    Hello,
    Pulse,
    Welcome,
)
from tests.gems_actors.router.dispatching import (
    Stage,
    stage_with,
)


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


def test_a_welcome_has_the_run_states_and_a_hello_that_knows_of_a_resume_is_followed() -> None:
    stage = stage_with(("a", 1))
    stage.control("pause")
    late = stage.run_states.all()
    stage.ask("client", 1)
    ahead = RunStates()
    ahead.merge(late)
    ahead.change(run_bytes("run"), bytes(16), "resume", "bob")
    stage.sent()
    stage.join("new")
    ((_, _, _, welcome),) = stage.sent()
    assert isinstance(welcome, Welcome)
    assert welcome.run_states == late
    stage.dispatcher.hello(stage.now, b"ahead", "", Hello(name="ahead", run_states=ahead.all()))
    assert stage.given() == [("a", 1)]


def test_requests_of_a_paused_trajectory_wait_and_those_of_others_do_not() -> None:
    stage = stage_with(("a", 4))
    stage.control("pause", trajectory=7)
    assert stage.control("pause", trajectory=7).before == "paused"
    assert stage.control("pause", trajectory=8).before == "running"
    stage.control("resume", trajectory=8)
    stage.sent()
    stage.ask("client", 1, trajectory=7)
    stage.ask("client", 2, trajectory=8)
    assert stage.given() == [("a", 2)]


@pytest.mark.parametrize("again", [("pause", "pause"), ("resume",)])
def test_what_changes_no_run_state_is_not_announced(again: tuple[Control, ...]) -> None:
    stage = stage_with(("a", 1))
    for action in again:
        stage.sent()
        stage.control(action)
    assert stage.sent() == []


def test_a_request_refused_because_its_run_is_cancelled_is_served_once_the_run_is_resumed() -> None:
    stage = stage_with(("a", 1))
    stage.control("cancel")
    stage.ask("client", 1)
    assert stage.told("client") == [(1, "cancelled")]
    stage.control("resume")
    stage.sent()
    stage.ask("client", 1)
    assert stage.given() == [("a", 1)]


def test_a_request_that_an_actor_reported_before_its_run_was_known_is_cancelled_when_it_is_repeated() -> None:
    stage = Stage()
    stage.join("a", "worker", 1, holding=((1, 1),))
    stage.control("cancel")
    stage.join("client")
    stage.sent()
    stage.ask("client", 1, again=True)
    sent = stage.sent()
    assert [message[:3] for message in sent] == [("client", Kind.FAILURE, 1), ("a", Kind.CANCEL, 1)]
    assert sent[1][3].reason == "the run was cancelled by alice"  # type: ignore[attr-defined]
