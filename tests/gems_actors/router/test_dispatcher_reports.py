"""What the dispatcher reports: events, the status, the texts of failures, and the sizes of what it keeps."""

from __future__ import annotations

import pytest

from protocol.codec import encode_message
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import (
    ActorJoined,
    ActorLeft,
    Cancel,
    Heartbeat,
    Hello,
    StopMesh,
)
from tests.gems_actors.router.dispatching import (
    ANSWER_BYTES,
    Stage,
    failures,
    id_of,
    mesh_events,
    stage_with,
)


def test_events_reach_only_the_subscribers_of_their_run() -> None:
    stage = stage_with()
    stage.join("other")
    stage.dispatcher.subscribe(stage.now, b"client", run_bytes("mine"))
    stage.sent()
    for run in ("mine", "yours"):
        header = Header(Kind.EVENT, run=run_bytes(run))
        stage.dispatcher.event(stage.now, b"a", header, encode_message(header, StopMesh()))
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
    assert {header.role for _, header, _ in stage.outgoing() if header.kind is Kind.EVENT} == {"worker"}
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
    stage = stage_with(("a", 1), max_answer_bytes=3 * ANSWER_BYTES + 1)
    for number in range(1, 7):
        stage.ask("client", number)
    assert stage.dispatcher.sizes().requested == 6
    for number in range(1, 5):
        stage.answer("a", number)
    assert stage.dispatcher.sizes().requested == 2
    stage.cancel("client", 5)
    stage.cancel("client", 6)
    sizes = stage.dispatcher.sizes()
    assert (sizes.requested, sizes.answers, sizes.answer_bytes) == (0, 3, 3 * ANSWER_BYTES)


def test_at_most_4096_answers_are_kept() -> None:
    stage = stage_with()
    for number in range(1, 4096 + 3):
        stage.answer("a", number)
        assert stage.dispatcher.sizes().answers == min(number, 4096)
