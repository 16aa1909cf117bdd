"""After any sequence of operations a log has each record once, and its index equals a rebuilt one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.memory_store.index import StoreLimits
from actors.memory_store.index_db import remove_index
from actors.memory_store.maintenance import archive_runs, check_log, export_records
from actors.memory_store.replay import step_of
from protocol.messages import AnyRecord, Hook, LoggedRecord, TrajectoryRecord
from tests.actors.memory_store.records import begun, ended_again, failed, open_store, reopened, run_begun, story

pytestmark = pytest.mark.slow

RUNS, LINES = ("a", "b", "c"), 2
POOL: list[AnyRecord] = [
    *(run_begun(run) for run in RUNS),
    *(record for run in RUNS for line in range(LINES) for record in story(run, line, prompt=f"a {run} fox {line}")),
    *story("c", 9, hook=Hook(role="critic")),
    *(failed(run, line) for run in RUNS for line in range(LINES)),
    *(begun(run, 7) for run in RUNS),
    *(reopened(run, line, reopening=n) for run in RUNS for line in range(LINES) for n in (1, 2)),
    *(ended_again(run, line, reopening=n) for run in RUNS for line in range(LINES) for n in (1, 2)),
]

BATCH = st.tuples(st.just("append"), st.lists(st.sampled_from(range(len(POOL))), min_size=1, max_size=12))
OPERATIONS = st.one_of(
    BATCH,
    BATCH,
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("crash"), st.none()),
    st.tuples(st.just("forget index"), st.none()),
    st.tuples(st.just("archive"), st.sampled_from((1_000.0, 1_010.0, 1e12))),
)


def key_of(record: AnyRecord) -> tuple[str, str] | None:
    step = step_of(record)
    owner = record.trajectory if isinstance(record, TrajectoryRecord) else getattr(record, "run", "")
    return None if step is None else (owner, step)


@settings(max_examples=40, deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=14))
@pytest.mark.parametrize("extent_bytes", [256 * 1024, 700])
def test_a_log_has_each_record_once_and_its_index_equals_a_rebuilt_one(
    extent_bytes: int, operations: list[tuple[str, object]]
) -> None:
    limits = StoreLimits(extent_bytes=extent_bytes, max_cached=3)
    with TemporaryDirectory() as name:
        folder = Path(name) / "memory"
        expected: list[AnyRecord] = []
        keys: dict[tuple[str, str], int] = {}
        with open_store(folder, limits=limits) as store:
            store.append([])
        for operation, what in operations:
            if operation == "archive":
                assert isinstance(what, float)
                archive_runs(folder, what, is_dry_run=False)
                remove_index(folder / "index.db")  # it was rebuilt with extents of the default size
            elif operation == "forget index":
                remove_index(folder / "index.db")
            elif operation == "append":
                assert isinstance(what, list)
                records = [POOL[number] for number in what]
                with open_store(folder, start=1_000.0 + len(expected), limits=limits) as store:
                    for record, (sequence, is_new) in zip(records, store.append(records), strict=True):
                        key = key_of(record)
                        assert is_new == (key is None or key not in keys)
                        if is_new:
                            expected.append(record)
                            assert sequence == len(expected)
                            if key is not None:
                                keys[key] = sequence
                        elif key is not None:
                            assert sequence == keys[key]
            elif operation == "crash":  # the index as it was before, the log as it is after
                with open_store(folder, limits=limits):
                    pass
                before = (folder / "index.db").read_bytes()
                with open_store(folder, start=1_000.0 + len(expected), limits=limits) as store:
                    outcomes = store.append([failed("a", 0)])
                    expected.append(failed("a", 0))
                    assert outcomes == [(len(expected), True)]
                (folder / "index.db").write_bytes(before)
        found = list(export_records(folder))
        assert [item.record for item in found if isinstance(item, LoggedRecord)] == expected
        assert len(found) == len(expected)
        checked = check_log(folder)
        assert (checked.problems, checked.notes, checked.records) == ([], [], len(expected))
        with open_store(folder, limits=limits) as store:
            contents = store.index.contents()
            for trajectory in {record.trajectory for record in expected if isinstance(record, TrajectoryRecord)}:
                ours = [item for item in expected if getattr(item, "trajectory", "") == trajectory]
                assert [logged.record for logged in store.read(trajectory)] == ours
        remove_index(folder / "index.db")
        with open_store(folder, limits=limits) as store:
            assert store.index.contents() == contents
