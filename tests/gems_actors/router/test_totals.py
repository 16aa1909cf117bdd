"""What each role has done, over the lives of its actors."""

from __future__ import annotations

from gems_actors.router.totals import MAX_ROLES, Totals
from protocol.limits import MAX_FIGURES, TOTAL


def test_the_growth_of_each_actor_is_added_and_outlives_it() -> None:
    totals = Totals()
    assert totals.take("memory", "memory-1.a", {f"{TOTAL}images": 3.0, "records": 9.0}) == {"records": 9.0}
    totals.take("memory", "memory-1.a", {f"{TOTAL}images": 5.0})
    totals.take("memory", "memory-1.b", {f"{TOTAL}images": 1.0})  # another process, which counts from zero
    totals.take("memory", "memory-1.a", {f"{TOTAL}images": 5.0})  # the first was only silent
    assert totals.of("memory") == {"images": 6.0}
    assert totals.of("planner") == {}


def test_a_count_that_shrinks_adds_nothing() -> None:
    totals = Totals()
    for value in (5.0, 2.0, 3.0):
        totals.take("memory", "m", {f"{TOTAL}images": value})
    assert totals.of("memory") == {"images": 6.0}


def test_calls_are_counted_by_role_and_no_actor_may_say_so_itself() -> None:
    totals = Totals()
    totals.count_call("planner", 0.5)
    totals.count_call("planner", 1.0)
    totals.take("planner", "p", {f"{TOTAL}calls": 100.0})
    assert totals.of("planner") == {"calls": 2.0, "call_seconds": 1.5}


def test_what_peers_make_up_is_bounded() -> None:
    totals = Totals()
    for number in range(MAX_ROLES + 10):
        totals.count_call(f"role{number}", 1.0)
        totals.take(f"role{number}", "a", {f"{TOTAL}x": float(number)})
    assert totals.of(f"role{MAX_ROLES}") == {}
    for number in range(3):
        totals.take("role1", "b", {f"{TOTAL}x{number}{other}": 1.0 for other in range(MAX_FIGURES)})
    assert len(totals.of("role1")) == MAX_FIGURES
