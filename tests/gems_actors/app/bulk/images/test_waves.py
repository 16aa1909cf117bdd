"""Who gets a further image."""

from __future__ import annotations

import pytest

from gems_actors.app.bulk.images.gains import Standing
from gems_actors.app.bulk.images.waves import Member, choose, size_of_wave, spare_images


def member(position: int, unmet: int, *, cost: int = 1, may_continue: bool = True) -> Member:
    found = Member(position, cost, rounds=1)
    found.take((Standing(1, ("count",) * unmet),), may_continue=may_continue)
    return found


def chosen(members: list[Member], left: int, *, wave: int = 1, size: int = 64) -> list[int]:
    return [item.position for item, _ in choose(members, {}, wave, left, size)[0]]


def test_images_go_where_most_is_expected_then_in_the_order_of_the_input() -> None:
    members = [member(0, 1), member(1, 3), member(2, 3), member(3, 2)]
    assert chosen(members, 3) == [1, 2, 3]
    assert chosen(members, 99) == [1, 2, 3, 0]
    assert chosen(members, 99, size=2) == [1, 2]
    assert chosen(members, 0) == []


def test_a_task_that_is_complete_gets_none() -> None:
    assert chosen([member(0, 4, may_continue=False), member(1, 1)], 9) == [1]


def test_a_hopeless_task_gets_none_even_if_images_are_left() -> None:
    hopeless = {"2": (200, 0), "2 after 1": (200, 0), "2 after 1: count": (200, 0)}
    assert choose([member(0, 2)], hopeless, 1, 9, 64)[0] == []


def test_candidates_are_paid_for_by_what_they_gain() -> None:
    twice = member(0, 3, cost=2)
    assert chosen([twice, member(1, 2)], 9) == [1, 0]
    assert chosen([twice, member(1, 2)], 2) == [1], "one image is left, and two are needed"


def test_what_was_recorded_is_obeyed_and_counts() -> None:
    members = [member(0, 1), member(1, 3), member(2, 2)]
    members[0].recorded = {1: 0.25}
    assert choose(members, {}, 1, 2, 64)[0][0] == (members[0], 0.25)
    assert chosen(members, 2) == [0, 1]
    members[0].recorded = {2: 0.25}
    assert chosen(members, 1) == [1]


def test_decisions_use_only_what_was_known_in_their_wave() -> None:
    drawn = member(0, 3)
    drawn.take((Standing(1, ("count",) * 3), Standing(2, ())), may_continue=False)
    assert drawn.now == Standing(1, ("count",) * 3)
    assert drawn.is_waiting, "its second image was drawn by a process that was killed"
    _, sums = choose([drawn, member(1, 3)], {}, 1, 9, 64)
    assert sums == {}
    drawn.rounds = 2
    _, sums = choose([drawn, member(1, 3)], {}, 2, 9, 64)
    assert sums["3"] == (1, 3)
    assert not drawn.is_waiting


@pytest.mark.parametrize(
    ("left", "tasks", "tasks_left", "cost", "spare"),
    [
        (100, 100, 100, 1, 100),
        (300, 100, 300, 1, 33),  # 200 are the first images of later tasks
        (100, 100, 200, 1, 0),
        (50, 100, 200, 1, 0),
        (500, 100, 200, 2, 150),
    ],
)
def test_what_first_rounds_leave_is_shared_among_the_pools(
    left: int, tasks: int, tasks_left: int, cost: int, spare: int
) -> None:
    assert spare_images(left, tasks, tasks_left, cost) == spare


def test_a_wave_is_a_sixteenth_of_what_is_spare_but_not_small() -> None:
    assert (size_of_wave(10), size_of_wave(4096), size_of_wave(4097)) == (64, 256, 257)
