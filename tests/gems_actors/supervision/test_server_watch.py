"""When a server counts as one that nobody can reach."""

from __future__ import annotations

import math

from gems_actors.supervision.server_watch import Patience


def test_a_server_that_responds_between_two_looks_is_never_given_up() -> None:
    patience = Patience(3)
    assert not any(patience.is_exhausted("router-1", 7, float(look // 3)) for look in range(30))


def test_a_process_that_does_not_respond_is_given_up_after_the_limit_of_looks() -> None:
    patience = Patience(3)
    assert [patience.is_exhausted("router-1", 7, -math.inf) for _ in range(4)] == [False, False, False, True]


def test_each_process_has_the_whole_patience_and_time_without_a_process_does_not_count() -> None:
    patience = Patience(2)
    looks = [(7, False), (7, False), (None, False), (None, False), (8, False), (8, False), (8, True)]
    assert [patience.is_exhausted("router-1", pid, 1.0) for pid, _ in looks] == [expected for _, expected in looks]


def test_replaced_processes_are_counted_until_one_responds() -> None:
    patience = Patience(1)
    for pid in (7, 8):
        patience.is_exhausted("router-1", pid, 1.0)
        assert patience.is_exhausted("router-1", pid, 1.0)
    assert patience.replaced_in_a_row("router-1") == 2
    assert patience.replaced_in_a_row("router-2") == 0
    patience.is_exhausted("router-1", 9, 2.0)
    assert patience.replaced_in_a_row("router-1") == 0
