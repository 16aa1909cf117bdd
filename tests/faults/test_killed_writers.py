"""kill -9 of the log's writer at any moment: each acknowledged record is stored once, and the log is intact."""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from actors.memory_store.maintenance import check_log, export_records
from actors.memory_store.store import open_memory_store
from protocol.identity import trajectory_id
from protocol.messages import LoggedRecord, PromptPlanned
from tests.processes import environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
LIVES = 200
MAX_LIFE_S = 0.03
"""Maximum lifetime of a writer: some are killed before they have opened the log, some after many commits."""

LARGE_WRITE_BYTES = 64 * 1024


def write_for_ever(folder: Path, life: int, acknowledged: Connection) -> None:
    """Append commits of 1 to 60 records of up to 20 kB, and acknowledge each once it is durable."""
    chance = random.Random(life)
    number = 0
    with open_memory_store(folder) as store:
        while True:
            count = chance.choice((1, 3, 60))
            records = [planned(life, number + n, chance.choice((10, 600, 20_000))) for n in range(count)]
            places = store.append(records)
            number += count
            acknowledged.send((places[0][0], life, number - count, [len(record.prompt) for record in records]))


def planned(life: int, number: int, size: int) -> PromptPlanned:
    prompt = f"{life} {number} ".ljust(size, "x")
    return PromptPlanned(trajectory=trajectory_id(f"life {life}", number, 0), prompt=prompt)


def test_every_acknowledged_record_outlives_two_hundred_kills(tmp_path: Path) -> None:
    command = (sys.executable, "-P", "-c", f"from {__name__} import *; kill_writers(Path({str(tmp_path)!r}))")
    env = {**environment(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr


def kill_writers(folder: Path) -> None:
    """Start and kill writers, and check what they leave behind."""
    context = multiprocessing.get_context("forkserver")  # which imports once and forks in a millisecond
    context.set_forkserver_preload(["actors.memory_store.store", "tests.faults.test_killed_writers"])
    chance = random.Random(1)
    expected: dict[int, PromptPlanned] = {}
    moments = {"before the first commit": 0, "with a torn commit": 0}
    for life in range(LIVES):
        ours, theirs = context.Pipe(duplex=False)
        writer = context.Process(target=write_for_ever, args=(folder, life, theirs), daemon=True)
        writer.start()
        theirs.close()
        if life % 4:
            ours.poll(240)  # otherwise the kill may come while the log is being opened
        if life % 2:
            await_large_write(folder / "log")
        else:
            time.sleep(chance.uniform(0, MAX_LIFE_S))  # a random moment, not a wait
        writer.kill()
        writer.join()
        before = len(expected)
        expected |= dict(acknowledged_by(ours))
        ours.close()
        moments["before the first commit"] += len(expected) == before
        if life % 20 == 19:
            assert_whole(folder, expected)
    with open_memory_store(folder) as store:
        assert store.last >= max(expected)
    assert_whole(folder, expected)
    moments["with a torn commit"] = len(list((folder / "torn").glob("*")))
    assert len(expected) > LIVES
    assert all(moments.values()), moments  # otherwise the kills came at the wrong moments to test anything


def await_large_write(file: Path) -> None:
    """Return while a file grows by a large commit, with luck before all of it is written."""
    resting = last = file.stat().st_size
    while last - resting < LARGE_WRITE_BYTES:
        size = file.stat().st_size
        resting, last = (size if size == last else resting), size


def acknowledged_by(connection: Connection) -> list[tuple[int, PromptPlanned]]:
    """Return the acknowledged records by sequence number; an acknowledgement cut short by the kill does not count."""
    found: list[tuple[int, PromptPlanned]] = []
    try:
        while True:
            sequence, life, number, sizes = connection.recv()
            found += [(sequence + n, planned(life, number + n, size)) for n, size in enumerate(sizes)]
    except (EOFError, OSError):
        return found


def assert_whole(folder: Path, expected: dict[int, PromptPlanned]) -> None:
    assert check_log(folder).problems == []
    there: dict[int, object] = {}
    for item in export_records(folder):
        assert isinstance(item, LoggedRecord), item
        assert item.sequence not in there
        there[item.sequence] = item.record
    assert {sequence: there.get(sequence) for sequence in expected} == expected
    assert sorted(there) == list(range(1, len(there) + 1))
