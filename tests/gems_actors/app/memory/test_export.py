"""The rows of the exported table."""

from __future__ import annotations

from msgspec import structs

from gems_actors.app.memory.export import rows_of
from protocol.messages import AnyRecord, AttemptPlace, AttemptVerified, LoggedRecord, TrajectoryBegun
from tests.actors.fakes import attempt, image_ref
from tests.actors.memory_store.records import ended_again, reopened, story


def test_every_row_of_a_trajectory_has_its_run_and_line_also_after_it_was_reopened() -> None:
    records = [*story("bulk", 3, outcome="refused"), reopened("bulk", 3), ended_again("bulk", 3)]
    rows = list(rows_of(LoggedRecord(sequence=1, at=0.0, record=record) for record in records))
    assert {(row["run"], row["line"], row["sample"]) for row in rows} == {("bulk", 3, 0)}
    assert [row["outcome"] for row in rows if "outcome" in row] == ["refused", "all_met"]


def test_the_pictures_that_a_task_and_an_attempt_were_drawn_from_are_in_their_rows() -> None:
    given, edited = image_ref(b"given"), image_ref(b"edited")
    first, *_ = story()
    assert isinstance(first, TrajectoryBegun)
    first = structs.replace(first, task=structs.replace(first.task, references=(given,)))
    drawn = structs.replace(attempt(2, "m"), references=(edited,), edited=AttemptPlace(round=1, candidate=1))
    records: list[AnyRecord] = [first, AttemptVerified(trajectory=first.trajectory, attempt=drawn)]
    begun, verified = rows_of(LoggedRecord(sequence=1, at=0.0, record=record) for record in records)
    assert (begun["references"], verified["references"]) == ([given.digest], [edited.digest])
    assert verified["edited_round"] == 1
