"""One peer cannot use up what all peers share."""

from __future__ import annotations

from typing import Any

import pytest

from gems_actors.errors import OverloadedError
from gems_actors.router.budgets import (
    CHANGES_WINDOW_S,
    MAX_BEFORE_HELLO,
    MAX_CHANGES,
    MAX_CONNECTIONS,
    MAX_FOLLOWED,
    MAX_MARKS,
    MAX_READERS,
    MAX_UNPLAYED_ROLES,
    MIN_REQUESTS,
)
from gems_actors.run_states import WHOLE_RUN, RunStates
from protocol.codec import encode_message
from protocol.envelope import Header, Kind
from protocol.identity import run_bytes
from protocol.messages import CountRecords, Failure, Hello, ReadLog, Request
from tests.gems_actors.router.dispatching import Stage, id_of


def refusals(stage: Stage, client: str) -> list[Failure]:
    """Return the failures that were sent to a client, and empty the outbox."""
    sent = stage.outgoing(taken=True)
    return [body for identity, _, body in sent if identity == client.encode() and isinstance(body, Failure)]


def pause_many(stage: Stage, count: int, peer: str) -> None:
    for number in range(count):
        stage.control("pause", f"{peer}-{number}", peer=peer)
        if (number + 1) % MAX_CHANGES == 0:
            stage.now += CHANGES_WINDOW_S


def test_a_peer_pauses_up_to_its_share_and_others_go_on_pausing() -> None:
    stage = Stage()
    pause_many(stage, MAX_MARKS, "hostile")
    with pytest.raises(
        OverloadedError, match=f"at most {MAX_MARKS} runs and trajectories paused by one peer"
    ) as caught:
        stage.control("pause", "one more", peer="hostile")
    assert caught.value.retry_after_s > 0
    stage.control("pause", "mine", peer="honest")
    stage.control("pause", "hostile-7", peer="hostile")  # it is paused already
    stage.control("cancel", "hostile-7", peer="honest")
    stage.control("pause", "one more", peer="hostile")
    assert len(stage.dispatcher.status(stage.now).run_states) == MAX_MARKS + 2


def test_a_peer_may_cancel_any_number_of_runs_over_time() -> None:
    stage = Stage()
    for number in range(3 * MAX_MARKS):
        stage.control("cancel", f"job-{number}")
        stage.now += CHANGES_WINDOW_S / MAX_CHANGES


def test_a_peer_that_changes_run_states_too_often_is_told_when_it_may_again() -> None:
    stage = Stage()
    for number in range(MAX_CHANGES):
        stage.control("resume" if number % 2 else "pause")
    with pytest.raises(OverloadedError, match=f"at most {MAX_CHANGES} changes of run states") as caught:
        stage.control("pause")
    stage.control("pause", peer="another")
    stage.now += caught.value.retry_after_s
    stage.control("pause")


def test_a_connection_that_has_left_gives_back_its_share() -> None:
    stage = Stage()
    stage.join("hostile")
    pause_many(stage, MAX_MARKS, "hostile")
    stage.dispatcher.disconnect(stage.now, b"hostile")
    stage.control("pause", "one more", peer="hostile")


def test_a_client_has_up_to_its_share_of_requests_in_flight_and_others_go_on_asking() -> None:
    stage = Stage(max_queue=3 * MIN_REQUESTS)
    stage.join("greedy")
    stage.join("honest")
    for number in range(2 * MIN_REQUESTS):
        stage.ask("greedy", number)
    (first, *_) = found = refusals(stage, "greedy")
    assert len(found) == MIN_REQUESTS // 2
    assert (first.code, first.retryable, first.retry_after_s) == ("overloaded", True, 1.0)
    stage.ask("honest", 10_000)
    stage.cancel("greedy", 0)
    stage.ask("greedy", 20_000)
    assert refusals(stage, "honest") == refusals(stage, "greedy") == []


def test_connections_of_clients_with_one_key_have_one_share_together() -> None:
    stage = Stage(max_queue=2 * MIN_REQUESTS)
    for number in range(4):
        stage.join(f"greedy-{number}", key="greedy")
    stage.join("honest", key="honest")
    for number in range(MIN_REQUESTS):
        stage.ask(f"greedy-{number % 4}", number)
    assert [refusals(stage, f"greedy-{number}") for number in range(4)] == [[]] * 4
    for number in range(4):
        stage.ask(f"greedy-{number}", 5_000 + number)
        assert [failure.code for failure in refusals(stage, f"greedy-{number}")] == ["overloaded"]
        stage.ask("honest", 6_000 + number)
    assert refusals(stage, "honest") == []
    for number in range(2 * MAX_FOLLOWED):
        stage.dispatcher.subscribe(stage.now, b"greedy-%d" % (number % 4), number.to_bytes(8, "big"))
    assert stage.dispatcher.sizes().followed_runs == MAX_FOLLOWED


def test_what_a_connection_had_of_the_share_of_its_key_is_free_once_it_has_left() -> None:
    stage = Stage(max_queue=4 * MIN_REQUESTS)
    stage.join("first", key="lab")
    stage.join("second", key="lab")
    for number in range(2 * MIN_REQUESTS):
        stage.ask("first", number)
    for number in range(MAX_FOLLOWED):
        stage.dispatcher.subscribe(stage.now, b"first", number.to_bytes(8, "big"))
    stage.ask("second", 10_000)
    assert [failure.code for failure in refusals(stage, "second")] == ["overloaded"]
    stage.dispatcher.disconnect(stage.now, b"first")
    for number in range(2 * MIN_REQUESTS):
        stage.ask("second", 20_000 + number)
    stage.dispatcher.subscribe(stage.now, b"second", b"followed")
    assert refusals(stage, "second") == []
    assert stage.dispatcher.sizes().followed_runs == 1


def test_actors_with_one_key_have_a_share_each_also_those_that_joined_as_clients_first() -> None:
    stage = Stage(max_queue=4 * MIN_REQUESTS)
    for name in ("one", "two"):
        stage.join(name, key="agent")
    stage.ask("one", 0)
    for name in ("one", "two"):
        stage.join(name, "conductor", 100, key="agent")
    for number in range(1, 2 * MIN_REQUESTS):
        stage.ask("one", number, "worker")
        stage.ask("two", 10_000 + number, "verifier")
    assert refusals(stage, "one") == refusals(stage, "two") == []
    stage.ask("one", 5_000)
    assert [failure.code for failure in refusals(stage, "one")] == ["overloaded"]


def test_a_key_has_a_bounded_number_of_connections_and_others_go_on_connecting() -> None:
    stage = Stage()
    for number in range(MAX_CONNECTIONS):
        stage.join(f"greedy-{number}", key="greedy")
    with pytest.raises(OverloadedError, match=f"at most {MAX_CONNECTIONS} connections of clients with one key"):
        stage.join("one-more", key="greedy")
    stage.join("greedy-0", key="greedy")  # again, as after a reconnect
    stage.join("honest", key="honest")
    stage.join("actor", "worker", 1, key="greedy")
    stage.dispatcher.disconnect(stage.now, b"greedy-1")
    stage.join("one-more", key="greedy")


def test_a_client_reads_the_log_with_a_bounded_number_of_requests_and_others_go_on_reading() -> None:
    stage = Stage()
    stage.join("memory", "memory", 2 * MAX_READERS)
    stage.join("greedy")
    stage.join("honest")

    def read(client: str, number: int, body: Request[Any]) -> list[str]:
        header = Header(Kind.REQUEST, id_of(number), "memory")
        stage.dispatcher.request(stage.now, client.encode(), header, encode_message(header, body))
        return [failure.code for failure in refusals(stage, client)]

    poll = ReadLog(since=0, wait_s=60)
    assert [read("greedy", number, poll) for number in range(MAX_READERS + 1)] == [[]] * MAX_READERS + [["overloaded"]]
    assert read("greedy", 5_000, CountRecords()) == read("honest", 6_000, poll) == []
    stage.cancel("greedy", 0)
    assert read("greedy", 7_000, poll) == []
    assert read("greedy", 7_001, poll) == ["overloaded"]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.slow
def test_requests_of_connections_that_never_say_hello_are_bounded_and_withdrawn(*, again: bool) -> None:
    stage = Stage()
    for number in range(2 * MAX_BEFORE_HELLO):
        stage.ask(f"stranger-{number % 7}", number, again=again)
    assert {failure.code for failure in refusals(stage, "stranger-1")} == {"overloaded"}
    assert stage.dispatcher.sizes().reclaimable <= MAX_BEFORE_HELLO
    stage.join("actor", "worker", 10)
    for _ in range(40):
        stage.now += stage.settings.silence_s / 10
        stage.beat("actor")
        stage.dispatcher.tick(stage.now)
    assert not any(header.kind is Kind.REQUEST for _, header, _ in stage.outgoing())
    for number in range(MAX_BEFORE_HELLO):
        stage.ask("stranger-8", 10_000 + number, again=again)
    assert refusals(stage, "stranger-8") == []


def test_requests_wait_for_a_bounded_number_of_roles_that_nobody_plays() -> None:
    stage = Stage()
    stage.join("client")
    stage.join("actor", "worker", 1)
    for number in range(MAX_UNPLAYED_ROLES):
        stage.ask("client", number, f"role_{number}")
    assert refusals(stage, "client") == []
    stage.ask("client", MAX_UNPLAYED_ROLES, "one_more")
    assert [failure.code for failure in refusals(stage, "client")] == ["overloaded"]
    stage.ask("client", 10_000, "worker")
    stage.cancel("client", 0)
    stage.ask("client", 10_001, "one_more")
    assert refusals(stage, "client") == []


def test_a_client_follows_a_bounded_number_of_runs() -> None:
    stage = Stage()
    stage.join("client")
    for number in range(2 * MAX_FOLLOWED):
        stage.dispatcher.subscribe(stage.now, b"client", number.to_bytes(8, "big"))
    assert stage.dispatcher.sizes().followed_runs == MAX_FOLLOWED


def test_pausing_runs_that_are_cancelled_takes_nothing_of_a_share() -> None:
    stage = Stage()
    for number in range(MAX_MARKS + 1):
        stage.control("cancel", f"run-{number}")
        stage.control("pause", f"run-{number}")
        stage.now += CHANGES_WINDOW_S / MAX_CHANGES * 4
    stage.control("pause", "another")


def test_runs_that_another_router_resumed_or_that_made_room_count_no_longer() -> None:
    stage = Stage()
    stage.join("client")
    pause_many(stage, MAX_MARKS, "client")
    elsewhere = RunStates()
    elsewhere.merge(stage.run_states.all())
    for number in range(MAX_MARKS):
        elsewhere.change(run_bytes(f"client-{number}"), WHOLE_RUN, "resume", "bob")
    hello = Hello(name="another", run_states=elsewhere.all())
    stage.dispatcher.hello(stage.now, b"another", "", hello)
    stage.now += CHANGES_WINDOW_S
    stage.control("pause", "one more", peer="client")
