"""`gems memory` over the folders of several shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.memory_store.sharding import LAYOUTS_NAME, note_layout
from gems_actors.cli import main
from protocol.identity import trajectory_id
from tests.actors.memory_store.records import begun, open_store, run_begun, story


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of three shards: `old` is finished in two of them, `new` in one and running in another."""
    note_layout(tmp_path, 3)
    with open_store(tmp_path / "memory", start=1000.0) as store:
        store.append([run_begun("old"), run_begun("new")])
        store.append(story("old", 0, prompt="a green frog"))
    with open_store(tmp_path / "memory-1", start=2000.0) as store:
        store.append(story("old", 1, prompt="a red fox"))
        store.append(story("new", 0, prompt="a red fox on a bridge"))
    with open_store(tmp_path / "memory-2", start=3000.0) as store:
        store.append([begun("new", 1, prompt="a blue whale")])
    return tmp_path


def gems(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of `gems memory ...`."""
    code = main(["memory", *arguments, "--data", str(data)])
    return code, *capsys.readouterr()


def test_runs_and_trajectories_of_all_shards_form_one_list(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = json.loads(gems(capsys, data, "runs", "--json")[1])
    assert {(run["run"], run["ended"], run["running"]) for run in runs} == {("new", 1, 1), ("old", 2, 0)}
    trajectories = json.loads(gems(capsys, data, "runs", "old", "--json")[1])
    assert [item["line"] for item in trajectories] == [0, 1]
    assert gems(capsys, data, "runs", "nothing")[0] == 1


def test_a_trajectory_of_any_shard_is_shown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, prompt in enumerate(("a red fox on a bridge", "a blue whale")):
        code, out, _ = gems(capsys, data, "show", trajectory_id("new", line, 0)[:12])
        assert (code, out.splitlines()[0]) == (0, prompt)


def test_the_newest_records_of_all_shards_are_ordered_by_time(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = [json.loads(line) for line in gems(capsys, data, "tail", "-n", "100", "--json")[1].splitlines()]
    assert len(records) == 2 + 3 * len(story()) + 1
    assert [item["at"] for item in records] == sorted(item["at"] for item in records)
    newest = gems(capsys, data, "tail", "-n", "2")[1].splitlines()
    assert [line.split()[0] for line in newest] == [f"1:{2 * len(story())}", "2:1"]


def test_all_records_are_exported_with_their_shards(data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["memory", "export", "--data", str(data)]) == 0
    rows = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert len({(row["shard"], row["sequence"]) for row in rows}) == 2 + 3 * len(story()) + 1
    assert {row["shard"] for row in rows} == {0, 1, 2}


def test_damage_is_reported_and_repaired_per_shard(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gems(capsys, data, "check")[1].endswith("whole\n")
    log = data / "memory-1" / "log"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    code, out, _ = gems(capsys, data, "check")
    assert code == 1
    assert f"{log}: expected a record after record" in out
    code, out, _ = gems(capsys, data, "repair")
    assert (code, [line.split(":")[0] for line in out.splitlines()]) == (
        0,
        ["memory", "memory-1", "memory-1", "memory-2"],
    )
    assert gems(capsys, data, "check")[0] == 0
    assert gems(capsys, data, "rebuild")[0] == 0
    kept = len(gems(capsys, data, "export")[1].splitlines())
    assert len(gems(capsys, data, "tail", "-n", "100")[1].splitlines()) == kept


def test_a_trajectory_in_two_logs_is_a_problem(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(data / "memory-2") as store:
        store.append([begun("old", 1, prompt="a red fox")])
    code, out, _ = gems(capsys, data, "check")
    assert (code, out.splitlines()[0]) == (
        1,
        f"{data}/memory-2: expected trajectory {trajectory_id('old', 1, 0)} in one log, "
        f"got it in {data}/memory-1 as well",
    )


def test_a_run_is_archived_once_it_is_finished_in_every_shard(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gems(capsys, data, "archive", "--before", "2026-01-01")
    assert (code, out) == (0, "old\n")
    assert "stays: new: 1 trajectories are not finished" in err
    assert [(data / name / "archive" / "0001.log").exists() for name in ("memory", "memory-1", "memory-2")] == [
        True, True, False,
    ]  # fmt: skip
    assert gems(capsys, data, "show", trajectory_id("old", 1, 0)[:12])[0] == 0


def test_all_shards_are_found_without_a_layouts_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = gems(capsys, data, "export")[1], gems(capsys, data, "runs")[1]
    (data / LAYOUTS_NAME).unlink()
    assert (gems(capsys, data, "export")[1], gems(capsys, data, "runs")[1]) == before


def test_a_missing_shard_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "memory-1").rename(data / "elsewhere")
    for command in (("runs",), ("gc",), ("tail",), ("archive", "--before", "2026-01-01")):
        code, _, err = gems(capsys, data, *command)
        assert (code, err.count("\n")) == (78, 1)
        assert f"{data}/memory-1: expected a memory log, got none" in err
    code, out, _ = gems(capsys, data, "check")
    assert (code, out.splitlines()[0]) == (0, "note: 2 of the 3 shards' logs are here")
