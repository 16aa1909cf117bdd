"""The short form of chaos: a few seeds, and that the tool notices what it is there for; `make chaos` runs many."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from tests.chaos.__main__ import run_in_process, table_of
from tests.chaos.invariants import allowed_codes, first_of, lost_records
from tests.chaos.run import Outcome, draw_reference
from tests.chaos.schedule import BY_NAME, KINDS, MAX_LOSSES, schedule_of

SEEDS = (3, 12)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file with the datasets of undisturbed runs."""
    folder = tmp_path_factory.mktemp("reference")
    file = folder / "reference"
    file.write_bytes(msgspec.msgpack.encode(draw_reference(folder)))
    return file


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_a_bulk_survives_the_faults_of_a_seed(reference: Path, seed: int) -> None:
    outcome = run_in_process(seed, reference)
    assert outcome.problems == []
    assert sum(outcome.hit.values()) >= 3


@pytest.mark.slow
def test_a_bulk_with_other_pictures_than_those_of_an_undisturbed_run_is_noticed(reference: Path) -> None:
    datasets = msgspec.msgpack.decode(reference.read_bytes(), type=dict[str, dict[str, bytes]])
    for files in datasets.values():
        name = next(name for name in files if name.endswith(".png"))
        files[name] = files[name][:-1] + b"?"
    other = reference.with_name("other")
    other.write_bytes(msgspec.msgpack.encode(datasets))
    assert any(problem.endswith(".png: differs") for problem in run_in_process(SEEDS[0], other).problems)


def test_a_schedule_follows_from_its_seed_alone() -> None:
    assert schedule_of(7) == schedule_of(7)
    assert len({f"{schedule_of(seed)}" for seed in range(100)}) == 100


def test_every_kind_of_fault_is_met_and_no_request_loses_as_many_actors_as_poison_it() -> None:
    schedules = [schedule_of(seed) for seed in range(200)]
    assert {event.kind for schedule in schedules for event in schedule.events} == {kind.name for kind in KINDS}
    for schedule in schedules:
        losses = Counter(event.target for event in schedule.events if BY_NAME[event.kind].costs_actors)
        assert max(losses.values(), default=0) <= MAX_LOSSES


def test_a_record_that_is_gone_or_changed_is_noticed() -> None:
    before = {(0, 1): b"begun", (0, 2): b"ended"}
    assert [*lost_records(before, {**before, (0, 3): b"new"})] == []
    assert [*lost_records(before, {(0, 1): b"begun"})] != []
    assert [*lost_records(before, {**before, (0, 2): b"other"})] != []


def test_an_exit_code_needs_a_fault_that_explains_it() -> None:
    assert allowed_codes({"kill a role", "step the clock"}) == {0}
    assert allowed_codes({"signal the command"}) == {0, 130}


def test_the_table_counts_what_was_survived() -> None:
    outcomes = [
        Outcome(seed=1, hit={"kill a role": 2}),
        Outcome(seed=2, hit={"kill a role": 1}),
        Outcome(seed=3, hit={"kill a role": 5}, problems=["lost"]),
    ]
    assert "| kill a role | 3 | 2 |" in [*table_of(outcomes)]


def test_an_undisturbed_run_of_fewer_tasks_is_the_beginning_of_a_longer_one() -> None:
    rows = [b'{"file_name":"a.png"}\n', b'{"file_name":"b.png"}\n']
    longer = {"a.png": b"a", "b.png": b"b", "metadata.jsonl": b"".join(rows)}
    assert first_of(longer, 1) == {"a.png": b"a", "metadata.jsonl": rows[0]}
