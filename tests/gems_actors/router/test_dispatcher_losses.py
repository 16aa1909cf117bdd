"""Lost actors, clients, messages and routers: every request is answered once, by its latest attempt."""

from __future__ import annotations

import pytest

from gems_actors.errors import BackendError, CancelledRequestError, failure_of
from protocol.codec import decode_body, encode_message
from protocol.envelope import Header, Kind
from protocol.identity import digest_of, run_bytes
from protocol.messages import Event, ImageDrawn, ImageRef, Pulse, RunBegun, StepTaken
from tests.gems_actors.router.dispatching import (
    ANSWER_BYTES,
    PAYLOAD,
    Stage,
    actors_of,
    failures,
    id_of,
    stage_with,
)

IMAGE = ImageRef(digest=digest_of(b""), media_type="image/png", bytes=1, width_px=16, height_px=16)


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
    stage = stage_with(("a", 5), max_answer_bytes=3 * ANSWER_BYTES)
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


@pytest.mark.parametrize(
    ("event", "teller", "answers"),
    [
        (StepTaken(record=RunBegun(run="run")), None, []),
        (StepTaken(record=RunBegun(run="run")), "another", [(1, "poisoned")]),
        (ImageDrawn(round=1, candidate=1, image=IMAGE), None, [(1, "poisoned")]),
    ],
    ids=["a step", "a step told by another actor", "a picture, which no record names yet"],
)
def test_a_request_is_not_to_blame_for_actors_that_die_after_it_took_a_step(
    event: Event, teller: str | None, answers: list[tuple[int, str]]
) -> None:
    stage = stage_with(max_deliveries=3)
    stage.join("another", "other")
    stage.ask("client", 1)
    for number in range(6):
        name = f"a{number}"
        stage.join(name, "worker", 1)
        header = Header(Kind.EVENT, id_of(1), "worker", attempt=number + 1, run=run_bytes("run"))
        stage.dispatcher.event(stage.now, (teller or name).encode(), header, encode_message(header, event))
        stage.dispatcher.report_dead(stage.now, name)
    assert stage.told("client") == answers


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


def test_silence_counts_as_a_loss_and_a_lost_connection_does_not() -> None:
    stage = stage_with(("a", 1), max_deliveries=1)
    stage.ask("client", 1)
    stage.sent()
    stage.dispatcher.undeliverable(stage.now, b"a", Header(Kind.REQUEST, id_of(1), "worker", attempt=1))
    assert stage.told("client") == []
    stage.join("b", "worker", 1)
    stage.sent()
    stage.pass_time(7, "client")
    assert failures(stage) == ["crashed 1 actors of role worker"]


def test_only_an_undeliverable_request_of_the_present_attempt_ends_its_actor() -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1)
    for kind, attempt in ((Kind.CANCEL, 1), (Kind.REQUEST, 2)):
        stage.dispatcher.undeliverable(stage.now, b"a", Header(kind, id_of(1), "worker", attempt=attempt))
        assert actors_of(stage) == ["a"]
    stage.sent()
    stage.control("pause")
    stage.sent()
    stage.dispatcher.undeliverable(stage.now, b"client", Header(Kind.REPLY, id_of(1), "worker", attempt=1))
    stage.beat("client")
    ((_, _, _, pulse),) = stage.sent()
    assert isinstance(pulse, Pulse)
    assert pulse.run_states == (), "a lost reply does not say that a pulse was lost"


def test_an_actor_that_reports_another_s_request_with_a_higher_attempt_is_told_to_stop() -> None:
    stage = stage_with(("b", 1))
    stage.ask("client", 1)
    stage.sent()
    stage.join("a", "worker", 1, holding=((1, 5),))
    assert ("a", Kind.CANCEL, 1) in [message[:3] for message in stage.sent()]
    stage.answer("b", 1)
    assert stage.told("client") == [(1, "reply")]


def test_a_request_taken_away_frees_its_holder_and_is_not_taken_away_again() -> None:
    stage = stage_with(("a", 1), ("b", 1))
    stage.ask("client", 1)
    stage.cancel("client", 1)
    stage.ask("client", 1, again=True)
    stage.ask("client", 1, again=True)
    assert stage.given() == [("a", 1), ("b", 1)]
    (role,) = stage.dispatcher.status(stage.now).roles
    assert [actor.busy for actor in role.actors] == [0, 1]


def test_a_client_that_leaves_withdraws_no_request_that_another_repeated() -> None:
    stage = stage_with(("a", 2))
    stage.join("second")
    for client in ("client", "second"):
        stage.ask(client, 1)
        stage.ask(client, 2)
    stage.answer("a", 2)
    stage.dispatcher.disconnect(stage.now, b"client")
    stage.sent()
    stage.answer("a", 1)
    assert stage.told("second") == [(1, "reply")]


@pytest.mark.parametrize("number", [1, 2])
def test_an_answer_before_its_request_is_kept_and_a_second_one_changes_nothing(number: int) -> None:
    stage = stage_with()
    stage.answer("a", number)
    stage.dispatcher.answer(stage.now, b"a", Header(Kind.REPLY, id_of(number), "worker", attempt=2), b"another")
    stage.sent()
    stage.ask("client", number)
    ((to, header, body),) = stage.outgoing()
    assert (to, header.attempt, body) == (b"client", 1, decode_body(PAYLOAD))


def test_failures_carry_the_attempt_that_they_end() -> None:
    stage = stage_with(("a", 1), max_deliveries=2, max_queue=1)
    stage.ask("client", 1, within_s=1)
    stage.ask("client", 2)
    stage.ask("client", 3, again=True)
    stage.pass_time(1, "client", "a")
    stage.cancel("client", 2)
    stage.ask("client", 4)
    stage.join("b", "worker", 1)
    for name in ("b", "c"):
        stage.join(name, "worker", 1)
        stage.dispatcher.report_dead(stage.now, name)
    ended = {
        int.from_bytes(header.id, "big"): (header.role, header.attempt)
        for _, header, _ in stage.outgoing()
        if header.kind is Kind.FAILURE
    }
    assert ended == {1: ("worker", 1), 3: ("worker", 1), 4: ("worker", 2)}


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


def test_the_status_of_a_role_has_its_latest_loss_or_failure_and_no_cancellation() -> None:
    stage = stage_with(("a", 5), ("b", 5))

    def last_error() -> tuple[str, float | None]:
        (role,) = stage.dispatcher.status(stage.now).roles
        return role.last_error, role.last_error_s

    assert last_error() == ("", None)
    stage.dispatcher.report_dead(stage.now, "a", "signal SIGKILL")
    stage.now += 2.0
    assert last_error() == ("a: its process ended with signal SIGKILL", 2.0)
    for number, error in enumerate((BackendError("the server is away"), CancelledRequestError("by alice")), 1):
        stage.ask("client", number)
        header = Header(Kind.FAILURE, id_of(number), "worker", attempt=1)
        stage.dispatcher.answer(stage.now, b"b", header, encode_message(header, failure_of(error)))
        assert last_error() == ("backend: the server is away", 0.0)
    stage.dispatcher.disconnect(stage.now, b"b")
    stage.join("c", "worker", 1)
    assert last_error() == ("backend: the server is away", 0.0), "an actor that leaves is no error"
