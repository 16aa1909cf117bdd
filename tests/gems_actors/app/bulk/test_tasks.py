"""Seeds of tasks."""

from __future__ import annotations

from gems_actors.app.bulk.tasks import Task, seed_of


def test_seeds_differ_and_do_not_depend_on_other_records() -> None:
    seeds = {seed_of(Task(index, "x"), seed, sample) for index in range(100) for seed in (0, 1) for sample in range(5)}
    assert len(seeds) == 1000
    assert seed_of(Task(3, "x", seed=9), 0, 0) == 9
    assert seed_of(Task(3, "x", seed=9), 0, 1) == seed_of(Task(4, "y", seed=9), 5, 1) != 9
