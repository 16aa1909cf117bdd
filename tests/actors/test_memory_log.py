"""The log on a real disk: what was acknowledged is there, once, whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from actors.memory_log import MemoryLog, open_memory_log
from gems_actors.errors import ConfigError, LogError
from protocol.identity import trajectory_id
from protocol.messages import (
    DrawPicture,
    Experience,
    ExperienceKept,
    Failure,
    PromptPlanned,
    TrajectoryBegun,
    TrajectoryFailed,
)

ID = trajectory_id("run", 1, 0)
BEGUN = TrajectoryBegun(trajectory=ID, task=DrawPicture(run="run", line=1, prompt="a cat", seed=1))
PLANNED = PromptPlanned(trajectory=ID, prompt="a cat, in oils")

WRITER = """
import sys
from pathlib import Path
from actors.memory_log import open_memory_log
from protocol.identity import trajectory_id
from protocol.messages import PromptPlanned
with open_memory_log(Path(sys.argv[1])) as log:
    for number in range(10**9):
        log.append([PromptPlanned(trajectory=trajectory_id("run", number, 0), prompt=f"prompt {number}")])
        print(number, flush=True)
"""


def test_records_come_back_in_order_after_closing_and_opening(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with open_memory_log(path) as log:
        assert log.append([BEGUN, PLANNED]) == [(1, True), (2, True)]
    with open_memory_log(path) as log:
        assert log.read(ID) == [BEGUN, PLANNED]
        assert len(log) == 2
        assert log.read(trajectory_id("other", 1, 0)) == []


def test_a_step_is_kept_once_even_within_one_batch_and_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    other = PromptPlanned(trajectory=ID, prompt="something else")
    with open_memory_log(path) as log:
        assert log.append([PLANNED, other]) == [(1, True), (1, False)]
    with open_memory_log(path) as log:
        assert log.append([other]) == [(1, False)]
        assert log.read(ID) == [PLANNED]


def test_failures_and_experiences_of_other_rounds_are_steps_of_their_own(tmp_path: Path) -> None:
    failed = TrajectoryFailed(trajectory=ID, failure=Failure(code="backend", message="away"))
    lessons = [ExperienceKept(trajectory=ID, experience=Experience(round=n, text="be bold")) for n in (1, 2)]
    with open_memory_log(tmp_path / "memory.db") as log:
        log.append([failed, *lessons, failed])
        assert log.read(ID) == [failed, *lessons, failed]


@pytest.mark.parametrize("statement", ["UPDATE log SET body = x'00'", "DELETE FROM log"])
def test_the_store_itself_refuses_to_change_or_remove_a_record(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "memory.db"
    with open_memory_log(path) as log:
        log.append([PLANNED])
    with pytest.raises(apsw.ConstraintError, match="append-only"):
        apsw.Connection(str(path)).execute(statement)


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with open_memory_log(path), pytest.raises(ConfigError, match="held by process"), open_memory_log(path):
        pass


def test_a_file_that_is_no_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    path.write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(ConfigError, match=str(path)), open_memory_log(path):
        pass


def test_a_log_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE other (a); PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(ConfigError, match="format 1, came format 9"), open_memory_log(path):
        pass


def test_a_record_that_cannot_be_written_is_reported_and_the_log_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with open_memory_log(path) as log:
        holder = apsw.Connection(str(path))
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogError, match="could not write 1 records"):
            log.append([PLANNED])
        holder.execute("ROLLBACK")
        assert log.append([PLANNED]) == [(1, True)]


@pytest.mark.slow
def test_killed_at_any_moment_every_acknowledged_record_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    acknowledged = -1
    for life in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-P", "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert writer.stdout is not None
        for _ in range(acknowledged + 1 + 7 * (life + 1)):  # a line a record, those of earlier lives said again
            acknowledged = max(acknowledged, int(writer.stdout.readline()))
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.stdout.close()
        writer.wait()
        acknowledged = max([acknowledged, *map(int, rest.splitlines()[:-1])])
        with open_memory_log(path) as log:
            assert acknowledged < len(log) <= acknowledged + 2
            _check_whole(log, acknowledged)


def _check_whole(log: MemoryLog, acknowledged: int) -> None:
    for number in range(acknowledged + 1):
        id_ = trajectory_id("run", number, 0)
        assert log.read(id_) == [PromptPlanned(trajectory=id_, prompt=f"prompt {number}")]
