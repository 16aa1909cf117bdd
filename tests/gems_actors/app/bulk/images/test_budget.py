"""The images of a run."""

from __future__ import annotations

from gems_actors.app.bulk.images.budget import ImageBudget


def test_a_budget_is_a_total_or_a_mean_over_the_tasks() -> None:
    assert ImageBudget(images=700).total(400) == 700
    assert ImageBudget(mean=1.5).total(401) == 601
