"""What is printed of a bulk."""

from __future__ import annotations

from gems_actors.cli.terminal.bulk_views import images_line


def test_images_beyond_the_last_budget_are_not_told_as_a_share_of_it() -> None:
    assert images_line(6, 8) == "images of the run  6 of 8"
    assert images_line(11, 8, "8") == "images of the run  11, more than the last budget of 8"
    assert images_line(7, None, "1.5 a task") == "images of the run  7 of 1.5 a task"
    assert images_line(7, None) == "images of the run  7"
