"""The totals of a bulk by round."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from gems_actors.app.bulk.folder import open_bulk_folder
from gems_actors.app.bulk.rows import RowRequirement
from gems_actors.app.bulk.totals import (
    BulkProgress,
    Tally,
    add_failure,
    progress_line,
    result_parts,
    summary_of,
    summary_table,
)
from gems_actors.app.picture_files import BLIND_VERIFIER
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


def test_pictures_that_meet_all_that_was_understood_are_complete_and_counted_apart() -> None:
    tally = Tally()
    tally.add(structs.replace(row(outcome="checkable_met"), all_met=False, not_understood=("chiaroscuro",)))
    assert (tally.ended_early, tally.all_met, tally.checkable_met) == ("", 0, 1)
    assert "checkable met      1 of 1; other words were not understood" in list(summary_table(tally, None))
    assert summary_of(tally, 1.0)["checkable_met"] == 1


def test_a_blind_verifier_is_named_next_to_the_requirements_met() -> None:
    tally, sighted = Tally(), Tally()
    one = structs.replace(row(), met=1, requirements=(RowRequirement(id="r1", question="", kind="text", answer="met"),))
    for blind in (True, False):
        tally.add(structs.replace(one, judged_blind=blind))
        sighted.add(one)
    table = list(summary_table(tally, 1.0))
    assert table[[line.startswith("requirements met") for line in table].index(True) + 1] == (
        f"judged blind       1 of 2; {BLIND_VERIFIER}"
    )
    assert "100.0 % met (blind verifier)" in result_parts(BulkProgress(tally, 2, seconds=1.0))
    assert summary_of(tally, 1.0)["judged_blind"] == 1
    assert "100.0 % met" in result_parts(BulkProgress(sighted, 2, seconds=1.0))
    assert "blind" not in "\n".join(summary_table(sighted, 1.0))


def test_what_the_refiner_decided_otherwise_than_to_rewrite_is_counted() -> None:
    tally = Tally()
    tally.add(structs.replace(row(), actions=("rewrite", "resample", "stop"), outcome="refiner_stopped"))
    tally.add(structs.replace(row(), actions=("resample",)))
    tally.add(row())
    assert summary_of(tally, 1.0)["actions"] == {"resample": 2, "stop": 1}
    assert "refiner            2 resample, 1 stop" in list(summary_table(tally, None))
    assert "ended early" not in " ".join(summary_table(tally, None))


def test_a_summary_counts_failures_by_class_with_the_first_reason_of_each() -> None:
    tally = Tally()
    add_failure(tally.failures, "input", "line 2: expected JSON")
    for reason in ("the server said \x1b[31mno" + "o" * 200, "another reason", "a third"):
        add_failure(tally.failures, "backend", reason)
    lines = list(summary_table(tally, None))
    at = lines.index("failed             4")
    assert lines[at + 1].startswith("  backend          3: the server said ")
    assert lines[at + 1].endswith("oo...")
    assert "\x1b" not in lines[at + 1]
    assert len(lines[at + 1]) < 130
    assert lines[at + 2] == "  input            1: line 2: expected JSON"
    classes = summary_of(tally, 1.0)["failure_classes"]
    assert classes["input"] == {"first_reason": "line 2: expected JSON", "count": 1}
    assert (classes["backend"]["count"], len(classes["backend"]["first_reason"])) == (3, 223)
