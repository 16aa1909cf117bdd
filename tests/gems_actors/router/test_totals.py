"""What each role has done, over the lives of its actors."""

from __future__ import annotations

from gems_actors.router.totals import MAX_ROLES, LastErrors, Totals
from protocol.limits import CALLS_WITHIN, MAX_FIGURES, MAX_REMARK_CHARS, TOTAL


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
    totals.take("planner", "p", {f"{TOTAL}{CALLS_WITHIN}0.5": 100.0})
    found = totals.of("planner")
    assert (found["calls"], found["call_seconds"]) == (2.0, 1.5)
    within = {name: count for name, count in found.items() if name.startswith(CALLS_WITHIN)}
    assert [within[f"{CALLS_WITHIN}{seconds}"] for seconds in ("0.25", "0.5", "1", "300")] == [0.0, 1.0, 2.0, 2.0]


def test_a_call_beyond_all_limits_is_counted_without_one() -> None:
    totals = Totals()
    totals.count_call("planner", 1000.0)
    assert totals.of("planner")[f"{CALLS_WITHIN}300"] == 0.0
    assert totals.of("planner")["calls"] == 1.0


def test_the_latest_error_of_a_role_is_known_with_its_age() -> None:
    errors = LastErrors()
    assert errors.of("planner", 9.0) == ("", None)
    errors.note("planner", 1.0, "backend: away")
    errors.note("planner", 4.0, "x" * 5000)
    assert errors.of("planner", 9.0) == ("x" * MAX_REMARK_CHARS, 5.0)
    for number in range(MAX_ROLES + 10):
        errors.note(f"role{number}", 1.0, "away")
    assert errors.of(f"role{MAX_ROLES}", 1.0) == ("", None)


def test_what_peers_make_up_is_bounded() -> None:
    totals = Totals()
    for number in range(MAX_ROLES + 10):
        totals.count_call(f"role{number}", 1.0)
        totals.take(f"role{number}", "a", {f"{TOTAL}x": float(number)})
    assert totals.of(f"role{MAX_ROLES}") == {}
    for number in range(3):
        totals.take("role1", "b", {f"{TOTAL}x{number}{other}": 1.0 for other in range(MAX_FIGURES)})
    assert len(totals.of("role1")) == MAX_FIGURES
