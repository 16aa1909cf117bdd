"""The file that holds records one after another, each with its checksum. It knows bytes and offsets, not their meaning.

    file     "GEMSLOG1", the log's id (16 bytes), its generation (uint32), CRC-32 of these 28 bytes; little-endian
    record   F1 "GEM", CRC-32 of the rest, bytes of the body (uint32), records of the commit (uint16), position
             among them from 0 (uint16), sequence (uint64), Unix time (float64), then the body

The format is our own because every byte is under a checksum and everything before a damaged byte can still be read.
SQLite does not promise that: of 300 logs in SQLite with one flipped bit, 290 were read without an error, as other data;
a flipped bit in its write-ahead log made acknowledged records vanish silently in 24 of 100.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from gems_actors.errors import ConfigError, LogError, storage_fault
from gems_actors.files import os_reason
from gems_actors.locks import sync_folder

FORMAT: Final = b"GEMSLOG1"
HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 32
MAX_COMMIT: Final = 0xFFFF
"""Maximum number of records in one commit."""

_MARK: Final = b"\xf1GEM"  # not valid UTF-8, so no text in a body contains it
_HEADER: Final = struct.Struct("<8s16sI")
_CRC: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<4sIIHHQd")
_FRAME_TAIL: Final = struct.Struct("<IHHQd")
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 4 * 1024 * 1024
MIN_FREE_BYTES: Final = 32 * 1024 * 1024
"""Minimum free disk space for an append; the index on the same disk must have room to follow the log."""


class Identity(NamedTuple):
    """Which log a file is."""

    id: bytes
    """16 random bytes, shared by all files of a log."""
    generation: int
    """Incremented when the live file is rewritten, so that offsets into the old file are not used in the new one."""


class LogEntry(NamedTuple):
    """A record in its file."""

    sequence: int
    at: float
    body: bytes
    offset: int
    size: int
    """Bytes from `offset` to the next record."""
    position: int
    """Position in its commit, from 0."""
    commit_size: int
    """Number of records in its commit."""

    @property
    def is_last(self) -> bool:
        """Whether it is the last record of its commit."""
        return self.position == self.commit_size - 1


class Damage(NamedTuple):
    """Bytes of a file that are not a record."""

    offset: int
    size: int
    problem: str
    after: int
    """Sequence of the record before them, or 0."""


class Tail(NamedTuple):
    """Bytes after the last whole commit: a commit that is being written, or that a crash or truncation left."""

    offset: int
    size: int
    problem: str
    after: int


def pack_commit(bodies: Sequence[bytes], sequences: Sequence[int], at: float) -> list[bytes]:
    """Return the frames of the records of one commit, whose sequences are consecutive."""
    count = len(bodies)
    frames = []
    for position, (body, sequence) in enumerate(zip(bodies, sequences, strict=True)):
        tail = _FRAME_TAIL.pack(len(body), count, position, sequence, at)
        frames.append(b"".join((_MARK, _CRC.pack(crc32(body, crc32(tail))), tail, body)))
    return frames


def pack_header(identity: Identity) -> bytes:
    """Return the first bytes of a file."""
    head = _HEADER.pack(FORMAT, *identity)
    return head + _CRC.pack(crc32(head))


class LogFile:
    """One open file of a log; create with `open_log_file`."""

    def __init__(self, path: Path, descriptor: int, identity: Identity, size_bytes: int) -> None:
        self.path = path
        self.identity = identity
        self.end = size_bytes
        """Offset of the next record."""
        self.min_free_bytes = MIN_FREE_BYTES
        self._descriptor = descriptor
        self._broken = ""

    def write(self, data: bytes) -> int:
        """Append a commit and return its offset; it is durable after the next `sync`.

        Raises:
            LogError: nothing was written, because the disk is full or failed.
        """
        if self._broken:
            raise storage_fault(LogError(self._broken))
        try:
            if not os.fstat(self._descriptor).st_nlink:
                self._broken = f"{self.path}: expected the log that was opened, got none: it was removed"
                raise storage_fault(LogError(self._broken))
            self._check_room()
            done = 0
            while done < len(data):
                done += os.write(self._descriptor, memoryview(data)[done:])
        except OSError as error:
            problem = f"{self.path}: expected to append {len(data)} bytes: {os_reason(error, self.path)}"
            try:
                os.ftruncate(self._descriptor, self.end)
            except OSError:
                self._broken = problem  # nothing may follow a torn commit; opening the log cuts it off
            raise storage_fault(LogError(problem)) from error
        offset, self.end = self.end, self.end + len(data)
        return offset

    def sync(self) -> None:
        """Make everything written so far survive a power cut.

        Raises:
            LogError: the disk failed and its content is unknown; all writes fail until the log is opened again.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._broken = f"{self.path}: expected the disk to keep what was written: {os_reason(error, self.path)}"
            raise storage_fault(LogError(self._broken)) from error

    def read(self, offset: int, size: int, sequence: int) -> LogEntry:
        """Return the record at an offset, verified.

        Raises:
            LogError: there is no such record at that offset.
        """
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise LogError(
                f"{self.path}: expected record {sequence} at byte {offset}: {os_reason(error, self.path)}"
            ) from error
        found = _parse(data, 0, offset)
        if isinstance(found, str):
            raise LogError(f"{self.path}: expected record {sequence} at byte {offset}, {found}")
        if found.sequence != sequence:
            raise LogError(f"{self.path}: expected record {sequence} at byte {offset}, got record {found.sequence}")
        return found

    def scan(self, start: int = HEADER_BYTES, end: int | None = None, after: int = 0) -> Iterator[LogEntry | Damage]:
        """Yield every record from an offset on, which follows record `after`, and the damage between them."""
        window = _Window(self._descriptor, self.end if end is None else end)
        offset, last = start, after
        while offset < window.end:
            found = _parse_at(window, offset)
            if isinstance(found, LogEntry):
                yield found
                offset, last = offset + found.size, found.sequence
            else:
                following = _find_record(window, offset + 1)
                yield Damage(offset, following - offset, found, last)
                offset = following

    def scan_commits(self, start: int = HEADER_BYTES, after: int = 0) -> Iterator[LogEntry | Damage | Tail]:
        """Yield the same up to the end of the file, with a last commit that is not whole as a `Tail`.

        Only the last commit can be torn: it was on disk before the next one began.
        """
        held: list[LogEntry | Damage] = []
        first = last = after
        for found in self.scan(start, after=after):
            if isinstance(found, Damage):
                first = first if held else found.after + 1
                held.append(found)
                continue
            begins = found.sequence - found.position
            if held and begins != first:
                if not any(isinstance(item, Damage) for item in held):
                    held.append(Damage(found.offset, 0, "got another commit before this one was whole", last))
                yield from held
                held.clear()
            first, last = begins, found.sequence
            held.append(found)
            if len(held) == found.commit_size and not any(isinstance(item, Damage) for item in held):
                yield from held
                after = last
                held.clear()
        if held:
            problems = [item.problem for item in held if isinstance(item, Damage)]
            problem = problems[0] if problems else "got the end of the file within a commit"
            yield Tail(held[0].offset, self.end - held[0].offset, problem, after)

    def checksum(self, start: int, end: int, checksum: int = 0) -> int:
        """Return the CRC-32 of a range of the file, continued from the checksum of the bytes before it."""
        while start < end and (data := os.pread(self._descriptor, min(_CHUNK_BYTES, end - start), start)):
            checksum = crc32(data, checksum)
            start += len(data)
        return checksum

    def copy_tail(self, start: int, path: Path) -> None:
        """Copy everything from an offset on into a new file, durably.

        Raises:
            OSError: the copy cannot be written.
        """
        with path.open("xb") as file:
            while data := os.pread(self._descriptor, _CHUNK_BYTES, start):
                file.write(data)
                start += len(data)
            file.flush()
            os.fsync(file.fileno())

    def cut_off(self, tail: Tail) -> None:
        """Truncate the file before its torn last commit, durably.

        Raises:
            LogError: there is a whole commit, and the log is append-only.
            OSError: the file cannot be written.
        """
        if any(not isinstance(found, Tail) for found in self.scan_commits(tail.offset, tail.after)):
            raise LogError(f"{self.path}: expected a torn commit after byte {tail.offset}; the log is append-only")
        os.ftruncate(self._descriptor, tail.offset)
        os.fsync(self._descriptor)
        self.end = tail.offset

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _check_room(self) -> None:
        disk = os.fstatvfs(self._descriptor)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self.min_free_bytes:
            problem = (
                f"{self.path}: expected at least {self.min_free_bytes >> 20} MiB free on its disk, "
                f"got {free_bytes / 2**20:.1f}; nothing was written"
            )
            raise storage_fault(LogError(problem))


def open_log_file(path: Path, *, is_writer: bool = False) -> LogFile:
    """Open a file of a log.

    A writer's descriptor is in append mode, so that existing bytes cannot be overwritten through it.

    Raises:
        ConfigError: the file cannot be opened, or is not a memory log.
    """
    flags = os.O_RDWR | os.O_APPEND if is_writer else os.O_RDONLY
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: expected a memory log that can be opened: {os_reason(error)}") from error
    try:
        head = os.pread(descriptor, HEADER_BYTES, 0)
        return LogFile(path, descriptor, _identity_of(path, head), os.fstat(descriptor).st_size)
    except BaseException:  # a log that is refused must not stay open
        os.close(descriptor)
        raise


def create_log_file(path: Path, identity: Identity) -> LogFile:
    """Create a log without records, atomically, and open it for writing.

    Raises:
        OSError: the file cannot be created.
    """
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with part.open("xb") as file:
        file.write(pack_header(identity))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)
    return open_log_file(path, is_writer=True)


def _identity_of(path: Path, head: bytes) -> Identity:
    if not head.startswith(FORMAT[:-1]):
        raise ConfigError(f"{path}: expected a memory log, which begins with {FORMAT!r}, got {head[:8]!r}")
    if head[:8] != FORMAT:
        raise ConfigError(f"{path}: expected a memory log of format {FORMAT!r}, got {head[:8]!r}")
    if len(head) < HEADER_BYTES or crc32(head[:28]) != int.from_bytes(head[28:], "little"):
        raise ConfigError(f"{path}: expected the head of a memory log in bytes 0 to 31, got one that is damaged")
    _, id_, generation = _HEADER.unpack_from(head)
    return Identity(id_, generation)


class _Window:
    """A file read in large pieces."""

    def __init__(self, descriptor: int, end: int) -> None:
        self.end = end
        self._descriptor = descriptor
        self.data = b""
        self.start = 0

    def hold(self, offset: int, size: int) -> int:
        """Load `size` bytes from an offset on, as far as the file has them; return where in `data` they begin."""
        if not self.start <= offset or offset + size > self.start + len(self.data):
            wanted = min(max(size, _CHUNK_BYTES), self.end - offset)
            self.data, self.start = os.pread(self._descriptor, wanted, offset), offset
        return offset - self.start


def _parse_at(window: _Window, offset: int) -> LogEntry | str:
    at = window.hold(offset, FRAME_BYTES)
    size_bytes = int.from_bytes(window.data[at + 8 : at + 12], "little")
    if size_bytes <= _MAX_BODY_BYTES:
        at = window.hold(offset, FRAME_BYTES + size_bytes)
    return _parse(window.data, at, offset)


def _parse(data: bytes, at: int, offset: int) -> LogEntry | str:
    """Return the frame at an index of some bytes, or what is wrong with it."""
    if len(data) - at < FRAME_BYTES:
        return f"got the end of the file after {len(data) - at} bytes"
    mark, checksum, size, commit_size, position, sequence, time = _FRAME.unpack_from(data, at)
    if mark != _MARK:
        return f"got bytes that are not a record ({mark.hex()})"
    end = at + FRAME_BYTES + size
    if end > len(data):
        if size > _MAX_BODY_BYTES:
            return f"got a record with a stated size of {size} bytes"
        return f"got the end of the file after {len(data) - at} of {FRAME_BYTES + size} bytes"
    body = data[at + FRAME_BYTES : end]
    if crc32(body, crc32(data[at + 8 : at + FRAME_BYTES])) != checksum:
        return f"got {FRAME_BYTES + size} bytes whose checksum is wrong"
    return LogEntry(sequence, time, body, offset, FRAME_BYTES + size, position, commit_size)


def _find_record(window: _Window, offset: int) -> int:
    """Return the offset of the next whole record, or of the end of the file."""
    while offset < window.end:
        at = window.hold(offset, FRAME_BYTES)
        found = window.data.find(_MARK, at)
        if found < 0:
            offset = max(offset + 1, window.start + len(window.data) - len(_MARK) + 1)
            if offset + len(_MARK) > window.end:
                break
            continue
        offset = window.start + found
        if isinstance(_parse_at(window, offset), LogEntry):
            return offset
        offset += 1
    return window.end
