"""The rows of the exported table."""

from __future__ import annotations

from gems_actors.app.memory.export import rows_of
from protocol.messages import LoggedRecord
from tests.actors.memory_store.records import ended_again, reopened, story


def test_every_row_of_a_trajectory_has_its_run_and_line_also_after_it_was_reopened() -> None:
    records = [*story("bulk", 3, outcome="refused"), reopened("bulk", 3), ended_again("bulk", 3)]
    rows = list(rows_of(LoggedRecord(sequence=1, at=0.0, record=record) for record in records))
    assert {(row["run"], row["line"], row["sample"]) for row in rows} == {("bulk", 3, 0)}
    assert [row["outcome"] for row in rows if "outcome" in row] == ["refused", "all_met"]
