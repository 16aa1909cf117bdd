"""The log file: what is written comes back, and damaged bytes are never read as a record."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.memory_store.log import (
    FRAME_BYTES,
    HEADER_BYTES,
    Damage,
    Identity,
    LogEntry,
    LogFile,
    Tail,
    create_log_file,
    open_log_file,
    pack_commit,
)
from gems_actors.errors import ConfigError, LogError

IDENTITY = Identity(b"sixteen bytes!!!", 1)
COMMITS = [[b"one"], [b"two", b"three", b"four" * 50], [b""], [b"five", b"six"]]
BODIES = [body for commit in COMMITS for body in commit]


def write(path: Path, commits: list[list[bytes]] = COMMITS) -> list[int]:
    """Write commits and return the offset at which each ends."""
    file = create_log_file(path, IDENTITY)
    ends, sequence = [], 1
    for commit in commits:
        file.write(b"".join(pack_commit(commit, range(sequence, sequence + len(commit)), 12.5)))
        sequence += len(commit)
        ends.append(file.end)
    file.sync()
    file.close()
    return ends


def bodies(file: LogFile) -> list[bytes]:
    return [found.body for found in file.scan_commits() if isinstance(found, LogEntry)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_records_come_back_with_their_sequences_and_times(path: Path) -> None:
    write(path)
    file = open_log_file(path)
    found = [entry for entry in file.scan_commits() if isinstance(entry, LogEntry)]
    assert [entry.body for entry in found] == BODIES
    assert [entry.sequence for entry in found] == list(range(1, 8))
    assert {entry.at for entry in found} == {12.5}
    assert file.identity == IDENTITY
    for entry in found:
        assert file.read(entry.offset, entry.size, entry.sequence) == entry
    file.close()


def test_a_file_cut_at_any_byte_has_the_whole_commits_before_it_and_a_tail(path: Path) -> None:
    ends = write(path)
    data = path.read_bytes()
    for size in range(HEADER_BYTES, len(data)):
        path.write_bytes(data[:size])
        file = open_log_file(path)
        found = list(file.scan_commits())
        whole = sum(len(commit) for commit, end in zip(COMMITS, ends, strict=True) if end <= size)
        assert [item.body for item in found if isinstance(item, LogEntry)] == BODIES[:whole]
        tails = [item for item in found if isinstance(item, Tail)]
        last_end = max([HEADER_BYTES, *(end for end in ends if end <= size)])
        assert [(tail.offset, tail.size, tail.after) for tail in tails] == (
            [(last_end, size - last_end, whole)] if size > last_end else []
        )
        assert not [item for item in found if isinstance(item, Damage)]
        file.close()


def test_any_flipped_byte_is_found_and_never_read_as_data(path: Path) -> None:
    ends = write(path)
    data = path.read_bytes()
    for at in range(HEADER_BYTES, len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        file = open_log_file(path)
        found = list(file.scan_commits())
        entries = [item for item in found if isinstance(item, LogEntry)]
        assert {entry.body for entry in entries} < set(BODIES)
        (wrong,) = [item for item in found if not isinstance(item, LogEntry)]
        assert wrong.offset <= at < wrong.offset + wrong.size
        is_in_last_commit = at >= ends[-2]
        assert isinstance(wrong, Tail if is_in_last_commit else Damage)
        before = [entry for entry in entries if entry.offset + entry.size <= wrong.offset]
        assert [entry.body for entry in before] == BODIES[: len(before)]
        assert len(entries) == (len(BODIES) - 1 if isinstance(wrong, Damage) else 5)
        with pytest.raises(LogError, match=rf"record \d+ at byte {wrong.offset}"):
            file.read(wrong.offset, FRAME_BYTES + 8, 99)
        file.close()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_happens_to_the_bytes_only_written_records_are_read(data: st.DataObject) -> None:
    commits = data.draw(st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=4), min_size=1, max_size=5))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        write(path, commits)
        raw = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(HEADER_BYTES, len(raw)))
            end = data.draw(st.integers(at, len(raw)))
            raw[at:end] = data.draw(st.binary(max_size=64))
        path.write_bytes(raw)
        file = open_log_file(path)
        items = list(file.scan())
        file.close()
    written = set(enumerate((body for commit in commits for body in commit), 1))
    assert all((item.sequence, item.body) in written for item in items if isinstance(item, LogEntry))
    assert sum(item.size for item in items) == len(raw) - HEADER_BYTES
    assert [item.offset for item in items] == sorted(item.offset for item in items)


def test_a_damaged_commit_that_is_not_the_last_is_damage_rather_than_a_tail(path: Path) -> None:
    ends = write(path)
    data = bytearray(path.read_bytes())
    data[ends[0] + 10] ^= 1  # the first record of the second commit
    path.write_bytes(data)
    file = open_log_file(path)
    assert [type(item) for item in file.scan_commits()] == [LogEntry, Damage, *[LogEntry] * 5]
    file.close()


def test_a_writer_cannot_overwrite_existing_bytes(path: Path) -> None:
    write(path)
    before = path.read_bytes()
    file = open_log_file(path, is_writer=True)
    os.pwrite(file.fileno(), b"overwritten", HEADER_BYTES)  # in append mode Linux ignores the offset
    file.close()
    assert path.read_bytes() == before + b"overwritten"


@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_whole_commits_cannot_be_cut_off(path: Path, number: int) -> None:
    ends = write(path)
    before = path.read_bytes()
    file = open_log_file(path, is_writer=True)
    start = [HEADER_BYTES, *ends][number]
    kept = sum(len(commit) for commit in COMMITS[:number])
    with pytest.raises(LogError, match=rf"expected a torn commit after byte {start}; the log is append-only"):
        file.cut_off(Tail(start, len(before) - start, "", kept))
    file.close()
    assert path.read_bytes() == before


def test_a_reader_cannot_write(path: Path) -> None:
    write(path)
    file = open_log_file(path)
    with pytest.raises(LogError, match="Bad file descriptor"):
        file.write(b"more")
    file.close()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"", "begins with b'GEMSLOG1', got b''"),
        (b"SQLite format 3\0" * 4, "begins with b'GEMSLOG1', got b'SQLite f'"),
        (b"GEMSLOG9" + b"\0" * 24, "of format b'GEMSLOG1', got b'GEMSLOG9'"),
        (b"GEMSLOG1" + b"\0" * 24, "bytes 0 to 31, got one that is damaged"),
    ],
)
def test_a_file_that_is_not_a_memory_log_is_refused(path: Path, head: bytes, words: str) -> None:
    path.write_bytes(head)
    with pytest.raises(ConfigError, match=words):
        open_log_file(path)


def test_a_file_that_cannot_be_opened_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{path}: expected a memory log that can be opened: No such file"):
        open_log_file(path)
