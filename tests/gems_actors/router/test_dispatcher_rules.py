"""Rules of the dispatcher one by one: moments, texts, counts and what it forgets."""

from __future__ import annotations

import pytest

from gems_actors.run_states import RunStates
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import ActorJoined, ActorLeft, Cancel, Control, Failure, Heartbeat, Hello, Pulse, Welcome
from tests.gems_actors.router.dispatching import PAYLOAD, Stage, id_of
from tests.gems_actors.router.test_dispatcher import stage_with


def failures(stage: Stage, to: str = "client") -> list[str]:
    return [body.message for peer, _, _, body in stage.sent() if peer == to and isinstance(body, Failure)]


def mesh_events(stage: Stage) -> list[ActorJoined | ActorLeft]:
    return [body for *_, body in stage.sent() if isinstance(body, ActorJoined | ActorLeft)]


def actors_of(stage: Stage) -> list[str]:
    return [actor.name for role in stage.dispatcher.status(stage.now).roles for actor in role.actors]


# ------------------------------------------------------------------------------------------------ turns


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
    (left_ms,) = [header.time_left_ms for _, header, _ in stage.dispatcher.outbox if header.kind is Kind.REQUEST]
    assert left_ms == 0


# ------------------------------------------------------------------------------------------------ losses and fences


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
    ((to, header, body),) = stage.dispatcher.outbox
    assert (to, header.attempt, body) == (b"client", 1, PAYLOAD)


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
        for _, header, _ in stage.dispatcher.outbox
        if header.kind is Kind.FAILURE
    }
    assert ended == {1: ("worker", 1), 3: ("worker", 1), 4: ("worker", 2)}


# ------------------------------------------------------------------------------------------------ moments


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
        stage.dispatcher.tick(stage.now)
        assert stage.given() == given


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


# ------------------------------------------------------------------------------------------------ texts


def test_failures_say_what_happened() -> None:
    stage = stage_with(("a", 1), max_queue=1)
    stage.ask("client", 1, within_s=2)
    stage.ask("client", 2, within_s=1)
    stage.ask("client", 3)
    stage.ask("client", 2, "other")
    assert failures(stage) == [
        "1 requests already wait for a worker",
        "expected an unused id, got that of a request to worker",
    ]
    stage.pass_time(2, "client", "a")
    assert failures(stage) == [
        "not answered within 1.0 s (no worker was free)",
        "not answered within 2.0 s (held by a)",
    ]
    stage.ask("client", 4, "nobody")
    stage.cancel("client", 4, graceful=True)
    assert failures(stage) == ["stopped gracefully before an actor had begun"]


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_an_actor_whose_request_expires_or_is_cancelled_is_told_to_stop_without_a_reason(is_cancelled: bool) -> None:
    stage = stage_with(("a", 1))
    stage.ask("client", 1, within_s=1)
    if is_cancelled:
        stage.cancel("client", 1)
    else:
        stage.pass_time(1, "client", "a")
    (cancel,) = [body for to, kind, _, body in stage.sent() if (to, kind) == ("a", Kind.CANCEL)]
    assert cancel == Cancel()


def test_a_request_of_an_earlier_router_has_its_deadline_from_when_this_one_heard_of_it() -> None:
    stage = Stage()
    stage.join("a", "worker", 1, holding=((1, 3),))
    stage.join("client")
    stage.sent()
    stage.ask("client", 1, within_s=1, again=True)
    stage.pass_time(1, "client", "a")
    assert failures(stage) == ["not answered within 1.0 s (held by a)"]


def test_events_of_the_mesh_name_each_actor_once_and_why_it_left() -> None:
    stage = stage_with(silence_s=6.0)
    stage.dispatcher.subscribe(stage.now, b"client", run_bytes("mesh"))
    stage.join("later")
    for name in ("a", "b", "c", "d", "e"):
        stage.join(name, "worker", 1)
    stage.dispatcher.hello(stage.now, b"later", "worker", Hello(name="later", capacity=0))
    assert {header.role for _, header, _ in stage.dispatcher.outbox if header.kind is Kind.EVENT} == {"worker"}
    assert mesh_events(stage) == [ActorJoined(name=name, role="worker") for name in "abcde"]
    for capacity, joined in ((1, [ActorJoined(name="later", role="worker")]), (2, []), (0, []), (0, [])):
        stage.dispatcher.capacity(stage.now, b"later", capacity)
        assert mesh_events(stage) == joined
    stage.dispatcher.hello(stage.now, b"client-2", "", Hello(name="client-2"))
    stage.dispatcher.hello(stage.now, b"client-2", "worker", Hello(name="client-2", capacity=1))
    assert mesh_events(stage) == [ActorJoined(name="client-2", role="worker")], "now it plays a role"
    stage.dispatcher.disconnect(stage.now, b"a")
    stage.dispatcher.report_dead(stage.now, "b")
    stage.dispatcher.disconnect(stage.now, b"c", "its key was removed")
    stage.ask("client", 1)
    stage.dispatcher.undeliverable(stage.now, b"d", Header(Kind.REQUEST, id_of(1), "worker", attempt=1))
    stage.pass_time(6.5, "client", "later", "client-2")
    assert [(event.name, event.reason) for event in mesh_events(stage) if isinstance(event, ActorLeft)] == [
        ("a", "left"),
        ("b", "its process ended"),
        ("c", "its key was removed"),
        ("d", "its connection ended"),
        ("e", "silent for 6 s"),
    ]


def test_the_status_has_every_figure() -> None:
    stage = Stage()
    hello = Hello(name="a", capacity=2, host="here", pid=7, version="1.2")
    stage.dispatcher.hello(stage.now, b"a", "worker", hello)
    stage.join("idle", "other", 1)
    stage.join("client")
    for number in (1, 2):
        stage.ask("client", number)
        stage.answer("a", number)
    for name in ("x", "y"):
        stage.join(name, "third", 1)
        stage.ask("client", ord(name), "third")
        stage.dispatcher.report_dead(stage.now, name)
    stage.control("pause", "other")
    stage.now += 2
    stage.dispatcher.heartbeat(stage.now, b"a", Heartbeat(figures={"busy": 0.5}, note="loading"))
    stage.now += 1
    status = stage.dispatcher.status(stage.now)
    assert (status.epoch, status.uptime_s, status.clients, status.requeued) == ("epoch-1", 3.0, 1, 2)
    assert status.run_states == stage.run_states.all() != ()
    other, third, worker = status.roles
    assert (other.oldest_s, other.queued, other.actors[0].oldest_s, other.actors[0].silent_s) == (0.0, 0, 0.0, 3.0)
    assert (third.role, third.oldest_s, third.queued, third.actors) == ("third", 3.0, 2, ())
    (a,) = worker.actors
    assert (a.name, a.role, a.host, a.pid, a.version) == ("a", "worker", "here", 7, "1.2")
    assert (a.capacity, a.busy, a.handled, a.silent_s, a.oldest_s) == (2, 0, 2, 1.0, 0.0)
    assert (a.figures, a.note) == ({"busy": 0.5}, "loading")
    assert stage.dispatcher.role_of(b"a") == "worker"


# ------------------------------------------------------------------------------------------------ run states


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


# ------------------------------------------------------------------------------------------------ sizes


def test_queue_entries_and_counts_follow_what_waits() -> None:
    stage = stage_with()

    def counts() -> tuple[int, int, int]:
        roles = stage.dispatcher.status(stage.now).roles
        return stage.dispatcher.sizes().queue_entries, sum(r.queued for r in roles), sum(r.paused for r in roles)

    assert counts() == (0, 0, 0)
    for number in (1, 2, 3):
        stage.ask("client", number, run="other")
    for number in (4, 5, 6):
        stage.ask("client", number)
    assert counts() == (6, 6, 0)
    stage.control("pause")
    assert counts() == (3, 3, 3)
    stage.cancel("client", 6)
    assert counts() == (3, 3, 2)
    stage.control("resume")
    assert counts() == (5, 5, 0)
    stage.join("a", "worker", 2)
    assert counts() == (3, 3, 0)


def test_nothing_is_kept_of_requests_that_are_over_but_bounded_answers() -> None:
    stage = stage_with(("a", 1), max_answer_bytes=3 * len(PAYLOAD) + 1)
    for number in range(1, 7):
        stage.ask("client", number)
    assert stage.dispatcher.sizes().requested == 6
    for number in range(1, 5):
        stage.answer("a", number)
    assert stage.dispatcher.sizes().requested == 2
    stage.cancel("client", 5)
    stage.cancel("client", 6)
    sizes = stage.dispatcher.sizes()
    assert (sizes.requested, sizes.answers, sizes.answer_bytes) == (0, 3, 3 * len(PAYLOAD))


def test_at_most_4096_answers_are_kept() -> None:
    stage = stage_with()
    for number in range(1, 4096 + 3):
        stage.answer("a", number)
        assert stage.dispatcher.sizes().answers == min(number, 4096)


def test_a_sweep_of_deadlines_keeps_those_of_requests_that_wait_for_one() -> None:
    stage = stage_with()
    stage.ask("client", 1)
    stage.ask("client", 2, within_s=100)
    number, before = 2, 0
    while before <= (now := stage.dispatcher.sizes().deadlines):
        number, before = number + 1, now
        stage.ask("client", number, within_s=100)
        stage.cancel("client", number)
    assert now == 2, "that of request 2 and the newest"
