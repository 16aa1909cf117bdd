"""Events and their ids."""

from __future__ import annotations

from gems_actors.gateway.jobs.event_log import MAX_EVENTS, EventLog


def test_a_reader_goes_on_after_the_event_that_it_has() -> None:
    log = EventLog("a1")
    for number in range(3):
        log.add("step", {"number": number})
    position = log.position_of(log.id_of(1))
    assert position == 1
    assert [number for number, _, _ in log.after(position)] == [2, 3]
    assert [*log.after(3)] == []


def test_an_id_of_another_gateway_or_of_the_future_is_unknown() -> None:
    log = EventLog("a1")
    log.add("step", {})
    for id_ in (None, "", "a1", "a1-", "a1-2", "a1--1", "b2-1", "a1-x", "a1-" + "9" * 100):
        assert log.position_of(id_) is None


def test_a_reader_that_is_too_far_behind_starts_over() -> None:
    log = EventLog("a1")
    for _ in range(MAX_EVENTS + 10):
        log.add("step", {})
    assert log.position_of("a1-9") is None
    assert log.position_of("a1-10") == 10
    assert not log.has_all_after(9)
    assert log.has_all_after(10)
