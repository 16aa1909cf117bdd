"""What a folder remembers of the images of its run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.app.bulk.images.plan import Plan, read_plan, write_plan
from gems_actors.app.picture_files import OutputError


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_plan(tmp_path) == Plan()
    plan = Plan(number=2, mean=1.5, closed=64, used=100, sums={"2 after 1": (3, 4)})
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan


def test_a_plan_names_its_budget() -> None:
    assert [str(plan) for plan in (Plan(), Plan(number=1, images=700), Plan(number=1, mean=1.5))] == [
        "", " run images 700", " mean images 1.5",
    ]  # fmt: skip
    assert (Plan(images=7000).in_words, Plan(mean=1.5).in_words) == ("7,000", "1.5 a task")


def test_a_plan_that_cannot_be_read_is_an_error_and_not_another_plan(tmp_path: Path) -> None:
    (tmp_path / "images.json").write_text("{")
    with pytest.raises(OutputError, match=r"images\.json: expected the plan of a run's images, got"):
        read_plan(tmp_path)
