"""The totals of a bulk by round."""

from __future__ import annotations

from pathlib import Path

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.totals import BulkProgress, Tally, progress_line, summary_of, summary_table
from tests.gems_actors.app.bulk.test_folder import RUN, fill
from tests.gems_actors.app.bulk.test_rows import row


def test_rates_after_a_round_include_prompts_that_ended_before_it(tmp_path: Path) -> None:
    tally = Tally()
    fill(tmp_path)
    with open_bulk_folder(tmp_path, RUN, lambda row: tally.add(row, is_from_before=True)):
        pass
    easy = row()
    tally.add(easy)
    assert (tally.pictures, tally.before, tally.images, tally.all_met, tally.last_round) == (4, 3, 7, 1, 2)
    assert (tally.in_round[0].rate, tally.in_round[1].rate) == (1 / 3, 2 / 3)
    assert (tally.after_round[0].rate, tally.after_round[1].rate) == (1 / 3, 2 / 3)


def test_tasks_that_ended_early_are_told_by_outcome_also_of_a_later_version() -> None:
    tally = Tally()
    for outcome in ("all_met", "rounds_spent", "nothing_to_check", "refused", "refused", "failed_later", "of_2027"):
        tally.add(row(outcome=outcome))
    told = "2 refused, 1 failed later, 1 of 2027"
    assert tally.ended_early == told
    assert f"ended early: {told}" in progress_line(BulkProgress(tally, 7, seconds=1.0))
    assert f"ended early        {told}" in list(summary_table(tally, None))
    assert summary_of(tally, 1.0)["outcomes"]["refused"] == 2
    complete = Tally()
    complete.add(row())
    assert "ended early" not in progress_line(BulkProgress(complete, 1, seconds=1.0))
