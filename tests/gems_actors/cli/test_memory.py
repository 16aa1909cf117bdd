"""`gems memory` on a folder, on a running mesh, and on damaged or missing logs."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

import pytest
from pyarrow import parquet

from gems_actors.blobs import BlobFolder
from gems_actors.cli import main
from protocol.identity import trajectory_id
from tests.actors.memory_store.records import begun, failed, open_store, run_begun, story
from tests.gems_actors.cli.commands import COMMAND, environment, run_gems
from tests.processes import started

ID = trajectory_id("bulk", 0, 0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with two runs: `bulk` with a trajectory that ended, one that failed and one running, and `old`."""
    with open_store(tmp_path / "memory") as store:
        store.append([run_begun("old"), *story("old", 0, prompt="a green frog", lesson="say green twice")])
        store.append([run_begun("bulk"), *story("bulk", 0, prompt="a red fox\x1b[2J left of a stone dog")])
        store.append([begun("bulk", 1), failed("bulk", 1), begun("bulk", 2)])
    return tmp_path


def gems(capsys: pytest.CaptureFixture[str], data: Path, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, standard output and standard error of `gems memory ...`."""
    code = main(["memory", *arguments, "--data", str(data)])
    return code, *capsys.readouterr()


def test_runs_are_listed_with_the_latest_first(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gems(capsys, data, "runs")
    head, *rows = [line.split() for line in out.splitlines()]
    assert code == 0
    assert head[:2] == ["run", "began"]
    assert [row[0] for row in rows] == ["bulk", "old"]
    assert rows[0][4:] == ["1", "of", "2", "1", "1", "1", "2", "bulk.txt"]


def test_the_trajectories_of_a_run_are_listed_by_status(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = gems(capsys, data, "runs", "bulk")
    assert [line.split()[1] for line in out.splitlines()] == ["line", "1", "2", "3"]
    assert "failed (backend)" in out
    _, out, _ = gems(capsys, data, "runs", "--status", "failed", "--json")
    (found,) = json.loads(out)
    assert (found["run"], found["line"], found["failure"]) == ("bulk", 1, "backend")


def test_show_has_rounds_verdicts_changes_lessons_and_pictures(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gems(capsys, data, "show", ID[:8])
    assert code == 0
    assert "\x1b" not in out
    lines = out.splitlines()
    assert lines[0] == "a red fox\ufffd[2J left of a stone dog"
    assert "run bulk, line 1 · seed 0 · all met · skill none" in lines[1]
    assert [line.split() for line in lines if line.startswith(("r1?", "r2?", "met, of"))] == [
        ["r1?", "✓", "✓"],
        ["r2?", "✗", "✓"],
        ["met,", "of", "2", "1", "2"],
    ]
    assert "round 1 · 1 of 2 met" in lines
    assert "  prompt    … a stone dog, [-in oils-] {+again+}" in lines
    assert "  unmet     r2? (seen in round 1)" in lines
    assert "  lesson    say red first (round 1)" in lines
    assert "  chosen    round 2: most met" in lines
    assert any(line.endswith("(not here)") and "blobs/sha256" in line for line in lines)
    assert "oils suit foxes" not in out
    assert "because of round 1" not in out


def test_show_has_the_raw_reasoning_only_with_a_flag(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = gems(capsys, data, "show", ID[:8], "--thoughts")
    assert "  thoughts  oils suit foxes" in out
    assert "  thoughts  because of round 1" in out


def test_a_running_or_failed_trajectory_can_be_shown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = gems(capsys, data, "show", trajectory_id("bulk", 1, 0))
    assert "failed · " in out
    assert "  failed    backend: the server is away" in out
    _, out, _ = gems(capsys, data, "show", trajectory_id("bulk", 2, 0))
    assert "not finished" in out


def test_lessons_are_recalled_with_their_evidence(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = gems(capsys, data, "recall", "two green frogs")
    assert code == 0
    assert "  lesson    say green twice (round 1)" in out
    assert "1 of 2 met in the round of the lesson, 2 in the next" in out
    assert "after a lesson: 1; of these, the next round met more requirements in 1" in out


def test_tail_prints_the_newest_records_one_per_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = gems(capsys, data, "tail", "-n", "4")
    lines = out.splitlines()
    assert [int(line.split()[0]) for line in lines] == [18, 19, 20, 21]
    assert lines[2].endswith("failed, backend: the server is away")
    _, out, _ = gems(capsys, data, "tail", "-n", "1000", "--run", "old", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [item["sequence"] for item in records] == list(range(1, 10))
    assert records[0]["record"]["type"] == "RunBegun"


def test_check_finds_damage_and_repair_removes_it(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gems(capsys, data, "check")[:2] == (
        0,
        f"21 records, {(data / 'memory' / 'log').stat().st_size / 1024:.1f} KiB: whole\n",
    )
    code, out, _ = gems(capsys, data, "check", "--images")
    assert code == 1
    assert "No such file" in out
    with (data / "memory" / "log").open("r+b") as file:
        file.seek(300)
        file.write(b"\xff")
    code, out, _ = gems(capsys, data, "check", "--json")
    found = json.loads(out)
    assert (code, found["is_whole"], len(found["problems"])) == (1, False, 2)
    for command in ("runs", "rebuild"):
        code, _, err = gems(capsys, data, command)
        assert (code, err.count("\n")) == (78, 1)
        assert "`gems memory repair` continues without it" in err
    assert gems(capsys, data, "repair", "--dry-run")[0] == 0
    code, out, _ = gems(capsys, data, "repair")
    assert code == 0
    assert "lost: record" in out
    assert gems(capsys, data, "check")[0] == 0
    assert gems(capsys, data, "runs")[0] == 0


def test_the_index_can_be_rebuilt(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = gems(capsys, data, "runs")
    assert gems(capsys, data, "rebuild")[:2] == (0, "21 records\n")
    assert gems(capsys, data, "runs") == before


def test_all_records_are_exported_as_json_lines(data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["memory", "export", "--data", str(data)]) == 0
    out, err = capsysbinary.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["sequence"] for row in rows] == list(range(1, 22))
    assert rows[1]["task"]["prompt"] == "a green frog"
    assert datetime.fromisoformat(rows[1]["at"]).timestamp() == 1000.0
    assert err == b"21 records\n"


def test_a_parquet_table_has_a_row_per_record(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.parquet"
    assert gems(capsys, data, "export", "--format", "parquet", "-o", str(path), "--run", "bulk")[0] == 0
    rows = parquet.read_table(path).to_pylist()
    assert {row["run"] for row in rows} == {"bulk"}
    (drawn,) = [row for row in rows if row["type"] == "AttemptVerified" and row["round"] == 1]
    assert (drawn["line"], drawn["met"], drawn["unmet"], drawn["unsure"]) == (0, 1, 1, 0)
    assert json.loads(drawn["body"])["attempt"]["round"] == 1
    assert [row["outcome"] for row in rows if row["outcome"]] == ["all_met"]
    assert not list(tmp_path.glob(".out*"))


def test_archived_runs_can_still_be_shown(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = gems(capsys, data, "archive", "--before", "2020-01-01", "--dry-run")
    assert (code, out) == (0, "old\n")
    assert "1 run, 9 records would be moved" in err
    assert "stays: bulk: 1 trajectories are not finished" in err
    code, out, err = gems(capsys, data, "archive", "--before", "2020-01-01")
    assert (code, out) == (0, "old\n")
    assert "archive/0001.log" in err
    assert "a green frog" in gems(capsys, data, "show", trajectory_id("old", 0, 0))[1]
    assert "21 records" in gems(capsys, data, "check")[1]
    assert "nothing to move" in gems(capsys, data, "archive", "--before", "2020-01-01")[2]


def test_unreferenced_pictures_are_counted_and_deleted_with_a_flag(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = BlobFolder(data / "blobs").path_of("sha256:" + "a" * 64)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"nobody's")
    assert "1 file, 8 bytes, would be deleted with --delete" in gems(capsys, data, "gc")[1]
    assert stray.exists()
    assert "1 file, 8 bytes, deleted" in gems(capsys, data, "gc", "--delete")[1]
    assert not stray.exists()


def test_pictures_in_a_shared_folder_are_deleted_only_with_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = BlobFolder(tmp_path / "shared").path_of("sha256:" + "a" * 64)
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"another mesh's")
    shared = ("gc", "--set", f"blobs=file://{tmp_path}/shared")
    assert "1 file, 14 bytes, would be deleted with --delete" in gems(capsys, data, *shared)[1]
    code, _, err = gems(capsys, data, *shared, "--delete")
    assert (code, err.count("\n"), "expected --alone with a folder that hosts share" in err) == (2, 1, True)
    assert stray.exists()
    assert "1 file, 14 bytes, deleted" in gems(capsys, data, *shared, "--delete", "--alone")[1]
    assert not stray.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("show", "zz"), 2, "TRAJECTORY: expected 4 to 32 hexadecimal digits, got 'zz'"),
        (("show", "ffffffffffff"), 1, "TRAJECTORY: expected one that begins with ffffffffffff, got none"),
        (("runs", "nothing"), 1, "RUN: expected one that memory knows"),
        (("runs", "--status", "done"), 2, "--status: expected one of running, ended, failed, got 'done'"),
        (("recall", ""), 2, "PROMPT: "),
        (("tail", "-n", "-1"), 2, "expected 0 to 1000000, got '-1'"),
        (("tail", "--follow"), 1, "expected a running mesh that appends to this log, got none; nothing to follow"),
        (("archive", "--before", "yesterday"), 2, "--before: expected a date such as 2026-11-21"),
        (("export", "--format", "csv"), 2, "--format: expected one of jsonl, parquet, got 'csv'"),
        (("export", "--format", "parquet"), 2, "--output: expected a file for a Parquet table, got none"),
        (("export", "-o", "/proc/none/x.jsonl"), 1, "/proc/none/x.jsonl: expected a file to write to"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_failure_is_one_line_with_its_exit_code(
    data: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, out, err = gems(capsys, data, *arguments)
    assert (got, out, err.count("\n")) == (code, "", 1)
    assert message in err


@pytest.mark.parametrize("command", ["runs", "show abcd", "tail", "check", "rebuild", "export", "gc", "repair"])
def test_a_folder_without_a_log_is_refused_and_not_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = gems(capsys, tmp_path, *command.split())
    assert (code, out) == (78, "")
    assert err == f"gems: {tmp_path}/memory: expected a memory log, got none; --data names another folder\n"
    assert not (tmp_path / "memory").exists()


@pytest.mark.slow
def test_a_mesh_that_has_the_folder_open_is_asked_and_followed(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("two red cats left of a stone dog\nthree glass owls under a sign\n")
    run = ("--set", f"router.runtime_dir={tmp_path}/run")
    surroundings = environment(tmp_path)
    follow = (*COMMAND, "memory", "tail", "--follow", "--json")
    with ExitStack() as stack:
        mesh = stack.enter_context(
            started((*COMMAND, "up", *run), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=surroundings)
        )
        assert mesh.stdout is not None
        assert "mesh ready" in mesh.stdout.readline()
        router = f"ipc://{tmp_path}/run/router.ipc"
        draw = ("draw", "a dog", "--rounds", "1", "-o", "dog.png", "--router", router)
        assert run_gems(tmp_path, *draw).returncode == 0
        follower = stack.enter_context(started(follow, stdout=subprocess.PIPE, env=surroundings))
        assert follower.stdout is not None
        lines = (json.loads(line)["record"]["type"] for line in follower.stdout)
        assert "TrajectoryEnded" in lines, "the follower shows the latest records first, and follows from then on"
        assert run_gems(tmp_path, "bulk", str(prompts), "--out", "out", "--router", router).returncode == 0
        assert next(lines) == "RunBegun"
        assert "TrajectoryEnded" in lines
        assert "TrajectoryEnded" in lines
        follower.send_signal(signal.SIGINT)
        assert follower.wait(timeout=120) == 130
        for where in ((), ("--router", router)):
            listed = run_gems(tmp_path, "memory", "runs", "--json", *where)
            found = [(run["what"], run["ended"], run["running"]) for run in json.loads(listed.stdout)]
            assert (str(prompts), 2, 0) in found
        checked = run_gems(tmp_path, "memory", "check", "--images")
        assert checked.returncode == 0, checked.stdout
        refused = run_gems(tmp_path, "memory", "rebuild")
        assert refused.returncode == 78
        assert "expected a log that no process writes, got one held by process" in refused.stderr
        assert run_gems(tmp_path, "scale", "memory=0", "--router", router).returncode == 0
        archive = ("memory", "archive", "--before", "2100-01-01")  # while the mesh waits for its memory
        while "held by process" in (archived := run_gems(tmp_path, *archive)).stderr:  # the actor is still ending
            assert mesh.poll() is None
        assert archived.returncode == 0, archived.stderr
        assert run_gems(tmp_path, "scale", "memory=1", "--router", router).returncode == 0
        checked = run_gems(tmp_path, "memory", "check")
        assert (checked.returncode, "in 1 archive: whole" in checked.stdout) == (0, True)


@pytest.mark.slow
def test_the_output_folder_of_a_bulk_has_a_memory(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("two red cats left of a stone dog\n")
    assert run_gems(tmp_path, "bulk", str(prompts), "--out", "out").returncode == 0
    done = run_gems(tmp_path, "memory", "runs", "--data", str(tmp_path / "out"))
    assert "1 of 1" in done.stdout
