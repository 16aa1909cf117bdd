"""Who gets a further image."""

from __future__ import annotations

import pytest

from gems_actors.app.bulk.images.gains import Standing, Sums
from gems_actors.app.bulk.images.waves import TASKS_OF_WAVE, Member, Waves, spare_images, waves_in_flight


def member(position: int, unmet: int, *, cost: int = 1, may_continue: bool = True) -> Member:
    found = Member(position, cost, rounds=1)
    found.take((Standing(1, ("count",) * unmet),), may_continue=may_continue)
    return found


def draw(member: Member, unmet: int) -> None:
    """Let a member draw the round that it was allotted."""
    standings = (*member.standings, Standing(len(member.standings) + 1, ("count",) * unmet))
    member.take(standings, may_continue=unmet > 0)


def chosen(waves: Waves) -> list[int]:
    """Return the positions of the tasks of the next wave; none after the last one."""
    decided = waves.decide()
    return [] if decided is None else [item.position for item, _ in decided[1]]


def first_wave(members: list[Member], spare: int, *, sums: Sums | None = None, size: int = 64) -> list[int]:
    return chosen(Waves(members, sums or {}, spare, 1, tasks_of_wave=size))


def test_images_go_where_most_is_expected_then_in_the_order_of_the_input() -> None:
    def members() -> list[Member]:
        return [member(0, 1), member(1, 3), member(2, 3), member(3, 2)]

    assert first_wave(members(), 3) == [1, 2, 3]
    assert first_wave(members(), 99) == [1, 2, 3, 0]
    assert first_wave(members(), 99, size=2) == [1, 2]
    assert first_wave(members(), 0) == []


def test_a_wave_has_64_tasks_whatever_their_rounds_cost() -> None:
    assert len(first_wave([member(at, 3, cost=4) for at in range(100)], 4000)) == TASKS_OF_WAVE == 64


def test_a_task_that_is_complete_gets_none() -> None:
    assert first_wave([member(0, 4, may_continue=False), member(1, 1)], 9) == [1]


def test_a_hopeless_task_gets_none_even_if_images_are_left() -> None:
    hopeless = {"2": (200, 0), "2 after 1": (200, 0), "2 after 1: count": (200, 0)}
    assert first_wave([member(0, 2)], 9, sums=hopeless) == []


def test_candidates_are_paid_for_by_what_they_gain() -> None:
    assert first_wave([member(0, 3, cost=2), member(1, 2)], 9) == [1, 0]
    assert first_wave([member(0, 3, cost=2), member(1, 2)], 2) == [1], "one image is left, and two are needed"


def test_what_was_recorded_is_obeyed_and_counts() -> None:
    members = [member(0, 1), member(1, 3), member(2, 2)]
    members[0].recorded = {1: 0.25}
    assert Waves(members, {}, 2, 1).decide() == (1, [(members[0], 0.25), (members[1], pytest.approx(1.05))])
    members = [member(0, 1), member(1, 3), member(2, 2)]
    members[0].recorded = {2: 0.25}
    assert first_wave(members, 1) == [1]


def test_a_task_that_was_granted_an_image_and_ended_without_it_counts_when_the_wave_is_decided_again() -> None:
    ended, members = member(0, 3, may_continue=False), [member(1, 2), member(2, 2)]
    ended.recorded = {1: 0.5}
    waves = Waves([ended, *members], {}, 2, 1, tasks_of_wave=2)
    assert chosen(waves) == [0, 1]
    draw(members[0], 0)
    assert chosen(waves) == [2], "its image is left for another task"


def test_decisions_use_only_what_was_known_in_their_wave() -> None:
    drawn = member(0, 3)
    draw(drawn, 0)
    assert drawn.now == Standing(1, ("count",) * 3)
    waves = Waves([drawn, member(1, 3)], {}, 9, 1, tasks_of_wave=1)
    assert (chosen(waves), waves.sums) == ([0], {})
    for _ in range(3):
        waves.decide()
        assert waves.sums["3"] == (1, 3), "each image is observed once"


def test_of_tasks_that_draw_nothing_is_used_until_all_of_their_wave_must_have_drawn() -> None:
    def decide(*, is_early: bool) -> list[list[int]]:
        members = [member(at, 6 - at) for at in range(5)]
        waves = Waves(members, {}, 32, 1, tasks_of_wave=1)
        assert waves_in_flight(32, 1) == 2
        found = [chosen(waves)]
        if is_early:
            draw(members[0], 6)  # which will be the most promising
        found.append(chosen(waves))
        assert waves.sums == {}
        if not is_early:
            draw(members[0], 6)
        found.append(chosen(waves))
        assert waves.sums["6"] == (1, 0), "the first wave is known, the second one is not"
        return found

    assert decide(is_early=True) == decide(is_early=False) == [[0], [1], [0]]


def test_an_image_of_a_task_that_draws_is_spent_until_it_is_known_that_none_was_needed() -> None:
    members = [member(at, 3) for at in range(40)]
    waves = Waves(members, {}, 32, 1, tasks_of_wave=1)
    for at in range(32):
        assert chosen(waves) == [at]
        if at == 31:
            members[at].take(members[at].standings, may_continue=False)  # its refiner stopped
        else:
            draw(members[at], 0)
    assert chosen(waves) == []
    assert chosen(waves) == [32]


def test_waves_end_when_nobody_draws_and_nothing_is_worth_an_image() -> None:
    members = [member(at, 3) for at in range(3)]
    waves = Waves(members, {}, 64, 1, tasks_of_wave=1)
    assert [chosen(waves) for _ in range(3)] == [[0], [1], [2]]
    assert waves.known == 0
    assert waves.decide() == (4, []), "three tasks draw, and may need more"
    draw(members[0], 3)
    assert chosen(waves) == [0]
    for one in members:
        draw(one, 0)
    assert [waves.decide() for _ in range(4)] == [(6, []), (7, []), (8, []), None]


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


def test_a_sixteenth_of_what_is_spare_is_in_flight_but_always_a_wave() -> None:
    assert [waves_in_flight(spare, 64) for spare in (10, 1024, 2047, 2048, 4096)] == [1, 1, 1, 2, 4]
