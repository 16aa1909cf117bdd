"""The history lists each run once with what became of it, and never grows beyond its limit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import trio

from gems_actors.app.bulk.folder_files import run_of
from gems_actors.app.bulk.interface import Outcome
from gems_actors.app.run_history import MAX_BYTES, HistoryEntry, find_in_history, read_history, remembered
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.errors import UsageError


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The history in a folder of this test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "state/gems-actors/history.jsonl"


def entry(run: str, **more: object) -> HistoryEntry:
    fields = {"run": run, "kind": "draw", "what": "a cat", "where": f"/pictures/{run}.png", "total": 1, **more}
    return HistoryEntry(**fields)  # type: ignore[arg-type]  # fields by name


def states() -> dict[str, str]:
    return {row.entry.run: row.state for row in read_history()}


def test_a_run_is_listed_from_its_beginning_with_its_latest_state(state: Path) -> None:
    assert read_history() == []
    with remembered(entry("draw-1")) as memo:
        assert states() == {"draw-1": "stopped"}, "no command is running it"
        with registered(RegistryEntry(address="a", run="draw-1")):
            assert states() == {"draw-1": "running"}
        memo.note(outcome="done", done=1)
    with remembered(entry("bulk-1", kind="bulk", what="x" * 1000, where="/out", total=None)) as memo:
        memo.note(outcome="failed", done=3, failed=2)
    with remembered(entry("draw-1")):
        pass
    latest, before = read_history()
    assert (latest.entry.run, latest.state) == ("draw-1", "interrupted"), "the latest of two, and each run once"
    assert (before.state, before.entry.done, before.entry.failed, len(before.entry.what)) == ("failed", 3, 2, 200)
    assert latest.entry.ended_at is not None
    assert state.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("x"), "failed"), (KeyboardInterrupt(), "interrupted"), (SystemExit(), "failed")]
)
def test_a_run_that_raises_is_listed_with_how_it_ended(error: BaseException, expected: str) -> None:
    with pytest.raises(type(error)), remembered(entry("draw-1")):
        raise error
    assert states() == {"draw-1": expected}


@pytest.mark.parametrize("outcome", get_args(Outcome))
def test_a_run_is_listed_with_any_outcome_of_a_bulk(outcome: str) -> None:
    with remembered(entry("bulk-1", kind="bulk")) as memo:
        memo.note(outcome=outcome)
    assert states() == {"bulk-1": outcome}


async def test_a_run_that_is_cancelled_was_interrupted() -> None:
    with trio.CancelScope() as scope, remembered(entry("draw-1")):
        scope.cancel()
        await trio.lowlevel.checkpoint()
    assert states() == {"draw-1": "interrupted"}


def test_a_run_is_found_by_its_name_its_beginning_its_picture_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bulk = run_of(Path("out"))
    for made in (
        entry("draw-11", where=str(tmp_path / "cat.png")),
        entry("draw-12", where=str(tmp_path / "cat.png")),
        entry(bulk, kind="bulk", where=str(tmp_path / "out")),
    ):
        with remembered(made):
            pass
    rows = read_history()
    found = {name: find_in_history(name, rows).entry.run for name in ("draw-11", "bulk-", "out", "cat.png", bulk[:9])}
    assert found == {"draw-11": "draw-11", "bulk-": bulk, "out": bulk, "cat.png": "draw-12", bulk[:9]: bulk}
    with pytest.raises(UsageError, match="NAME: expected one of draw-12, draw-11, got 'draw-'"):
        find_in_history("draw-", rows)
    with pytest.raises(UsageError, match="NAME: expected a run, a picture or a DIR that `gems history` lists, got 'x'"):
        find_in_history("x", rows)


def test_a_long_history_loses_its_older_half_and_nothing_else(state: Path) -> None:
    with remembered(entry("draw-0")):
        pass
    line = state.read_bytes().splitlines()[0]
    state.write_bytes((line + b"\n") * (MAX_BYTES // len(line)))
    with remembered(entry("draw-1")) as memo:
        memo.note(outcome="done")
    assert MAX_BYTES // 3 < state.stat().st_size < MAX_BYTES
    assert [row.entry.run for row in read_history()] == ["draw-1", "draw-0"]
    assert [*state.parent.iterdir()] == [state]


def test_torn_and_foreign_lines_are_skipped(state: Path) -> None:
    with remembered(entry("draw-1")):
        pass
    with state.open("ab") as file:
        file.write(b'{"run": "draw-2", "kind": "danc\n\xff\n{}\n{"run": "draw-3", "kin')
    with remembered(entry("draw-4")):
        pass
    assert [*states()][:1] == ["draw-4"]
    assert "draw-1" in states()


@pytest.mark.slow
def test_commands_that_end_at_once_are_all_listed(state: Path) -> None:
    code = (
        "import sys; from gems_actors.app.run_history import HistoryEntry, remembered\n"
        "for number in range(50):\n"
        "    name = f'draw-{sys.argv[1]}-{number}'\n"
        "    with remembered(HistoryEntry(run=name, kind='draw', what='x' * 200, where='y' * 9000)): pass"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(number)]) for number in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    lines = state.read_bytes().splitlines()
    assert state.stat().st_size <= MAX_BYTES + 20_000
    assert {len(line) > 9000 and line.endswith(b"}") for line in lines} == {True}


def test_a_run_needs_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with remembered(entry("draw-1")):
        pass
    assert read_history() == []
