"""The totals of a bulk by round."""

from __future__ import annotations

from pathlib import Path

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.totals import Tally
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
