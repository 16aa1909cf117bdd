"""A log whose records have numbers that earlier versions accepted, and an index that is given what it cannot hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.memory_store.log import pack_commit
from actors.memory_store.maintenance.check import check_log
from actors.memory_store.store import open_memory_store
from protocol.codec import decode_body, encode_body, encode_checked
from protocol.costs import sum_spent
from protocol.limits import MAX_COUNT, MAX_SECONDS
from protocol.messages import AnyRecord, DrawPicture, ListRuns, ListTrajectories, Spent, TrajectoryBegun
from tests.actors.memory_store.records import begun, run_begun, story

HUGE = 2**63

ODD: dict[str, Callable[[], AnyRecord]] = {
    "line": lambda: _begun(line=HUGE),
    "sample": lambda: _begun(sample=2**64 - 1),
    "total": lambda: replace(run_begun(), total=HUGE),
}


def _begun(line: int = 0, sample: int = 0) -> TrajectoryBegun:
    task = DrawPicture(run="odd", prompt="a red fox", seed=1, line=line, sample=sample)
    return TrajectoryBegun(trajectory=task.trajectory, task=task)


def write_by_hand(folder: Path, *records: AnyRecord) -> None:
    """Append records as an earlier version did, without an index."""
    with open_memory_store(folder) as store:
        store.live.write(b"".join(pack_commit(list(map(encode_body, records)), range(1, 1 + len(records)), 1.0)))
        store.live.sync()


@pytest.mark.parametrize("odd", ODD)
def test_a_log_with_numbers_that_are_out_of_bounds_now_opens_lists_checks_and_takes_more(
    tmp_path: Path, odd: str
) -> None:
    write_by_hand(tmp_path, ODD[odd](), *story())
    for _ in range(2):
        with open_memory_store(tmp_path) as store:
            listed = store.index.list_trajectories(ListTrajectories()).trajectories
            runs = store.index.list_runs(ListRuns()).runs
            numbers = [number for item in listed for number in (item.line, item.sample)]
            assert MAX_COUNT in (*numbers, *(run.total for run in runs))
            store.append([begun(line=7)])
    checked = check_log(tmp_path)
    assert not checked.problems
    (note,) = checked.notes
    assert "record 1 at byte 32: has values beyond today's bounds" in note


def test_a_row_that_the_index_cannot_hold_stops_neither_memory_nor_other_rows(tmp_path: Path) -> None:
    with open_memory_store(tmp_path) as store:
        store.append([_begun(line=HUGE), *story()])
        found = store.index.list_trajectories(ListTrajectories()).trajectories
        assert [item.line for item in found] == [begun().task.line]
        store.append([run_begun()])
        store.index.commit()
    with open_memory_store(tmp_path) as store:
        assert store.index.list_runs(ListRuns()).runs


def test_an_index_of_a_version_without_bounds_is_rebuilt_so_that_its_rows_can_be_listed(tmp_path: Path) -> None:
    with open_memory_store(tmp_path) as store:
        store.append([_begun(line=2**60)])
        store.index.commit()
        store.index.connection.pragma("user_version", 1)
    with open_memory_store(tmp_path) as store:
        found = store.index.list_trajectories(ListTrajectories())
        assert [item.line for item in found.trajectories] == [MAX_COUNT]
        assert decode_body(encode_checked(found)) == found


def test_no_sum_of_costs_is_out_of_bounds() -> None:
    most = Spent(seconds=MAX_SECONDS, calls=MAX_COUNT, prompt_tokens=MAX_COUNT)
    assert sum_spent(*[most] * 5000) == most
