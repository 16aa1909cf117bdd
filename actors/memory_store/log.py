"""The file in which records stand one behind the other, each with its checksum. It knows bytes and places, no record.

    file     "GEMSLOG1", the log's id (16 bytes), its generation (uint32), CRC-32 of these 28 bytes; little-endian
    record   F1 "GEM", CRC-32 of all that follows, bytes of the body (uint32), records of the commit (uint16), place
             among them from 0 (uint16), sequence (uint64), Unix time (float64), then the body

A file of our own, because every byte of it is under a checksum and everything before a wrong one can still be read.
SQLite does not promise that: of 300 logs in it with one bit flipped 290 were read without an error, as other data, and
a bit flipped in its write-ahead log made acknowledged records vanish without a word in 24 of 100.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from gems_actors.errors import ConfigError, LogError
from gems_actors.locks import sync_folder

FORMAT: Final = b"GEMSLOG1"
HEADER_BYTES: Final = 32
FRAME_BYTES: Final = 32
MAX_COMMIT: Final = 0xFFFF
"""Records that become durable together."""

_MARK: Final = b"\xf1GEM"  # no UTF-8 holds it, so no text of a body does
_HEADER: Final = struct.Struct("<8s16sI")
_CRC: Final = struct.Struct("<I")
_FRAME: Final = struct.Struct("<4sIIHHQd")
_FRAME_TAIL: Final = struct.Struct("<IHHQd")
_MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_MIN_FREE_BYTES: Final = 32 * 1024 * 1024
"""On a disk fuller than this nothing is appended: the index beside the log must be able to follow it."""


class Identity(NamedTuple):
    """Which log a file is."""

    id: bytes
    """16 random bytes, the same in all archives of a log."""
    generation: int
    """One more with each time the live file was written anew, so that places in the older one are not taken for its."""


class Entry(NamedTuple):
    """A record in its file."""

    sequence: int
    at: float
    body: bytes
    offset: int
    size: int
    """Bytes from `offset` to the next record."""
    place: int
    """In its commit, which has `commit` records."""
    commit: int


class Damage(NamedTuple):
    """Bytes of a file that are no record."""

    offset: int
    size: int
    problem: str
    after: int
    """Sequence of the record before them, 0 where there is none."""


class Tail(NamedTuple):
    """What stands behind the last whole commit: one that is being written, or that a crash or a cut left."""

    offset: int
    size: int
    problem: str
    after: int


def pack_commit(bodies: Sequence[bytes], sequences: Sequence[int], at: float) -> list[bytes]:
    """Return the frames of records that become durable together; their sequences follow one another."""
    count = len(bodies)
    frames = []
    for place, (body, sequence) in enumerate(zip(bodies, sequences, strict=True)):
        tail = _FRAME_TAIL.pack(len(body), count, place, sequence, at)
        frames.append(b"".join((_MARK, _CRC.pack(crc32(body, crc32(tail))), tail, body)))
    return frames


def pack_header(identity: Identity) -> bytes:
    """Return the first bytes of a file."""
    head = _HEADER.pack(FORMAT, *identity)
    return head + _CRC.pack(crc32(head))


class LogFile:
    """One open file of a log; made by `open_log_file`."""

    def __init__(self, path: Path, descriptor: int, identity: Identity, size_bytes: int) -> None:
        self.path = path
        self.identity = identity
        self.end = size_bytes
        """Where the next record will stand."""
        self._descriptor = descriptor
        self._broken = ""

    def write(self, data: bytes) -> int:
        """Put a commit behind the last record and return where; it is durable after the next `sync`.

        Raises:
            LogError: nothing was written; says why.
        """
        if self._broken:
            raise LogError(self._broken)
        try:
            self._check_room()
            done = 0
            while done < len(data):
                done += os.write(self._descriptor, memoryview(data)[done:])
        except OSError as error:
            problem = f"{self.path}: expected to append {len(data)} bytes: {error.strerror}"
            try:
                os.ftruncate(self._descriptor, self.end)
            except OSError:
                self._broken = problem  # nothing may stand behind a torn commit; it is cut off when the log is opened
            raise LogError(problem) from error
        offset, self.end = self.end, self.end + len(data)
        return offset

    def sync(self) -> None:
        """Return when all that was written outlives a power cut.

        Raises:
            LogError: the disk failed, and what it holds is not known; nothing more is written before the log is opened
                anew.
        """
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._broken = f"{self.path}: expected the disk to keep what was written: {error.strerror}"
            raise LogError(self._broken) from error

    def read(self, offset: int, size: int, sequence: int) -> Entry:
        """Return a record, verified.

        Raises:
            LogError: what stands there is not that record.
        """
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise LogError(f"{self.path}: expected record {sequence} at byte {offset}: {error.strerror}") from error
        found = _parse(data, 0, offset)
        if isinstance(found, str):
            raise LogError(f"{self.path}: expected record {sequence} at byte {offset}, {found}")
        if found.sequence != sequence:
            raise LogError(f"{self.path}: expected record {sequence} at byte {offset}, got record {found.sequence}")
        return found

    def scan(self, start: int = HEADER_BYTES, end: int | None = None, after: int = 0) -> Iterator[Entry | Damage]:
        """Yield every record from a place on, which is behind record `after`, and what is between them that is none."""
        window = _Window(self._descriptor, self.end if end is None else end)
        offset, last = start, after
        while offset < window.end:
            found = _parse_at(window, offset)
            if isinstance(found, Entry):
                yield found
                offset, last = offset + found.size, found.sequence
            else:
                following = _find_record(window, offset + 1)
                yield Damage(offset, following - offset, found, last)
                offset = following

    def scan_commits(self, start: int = HEADER_BYTES, after: int = 0) -> Iterator[Entry | Damage | Tail]:
        """Yield the same to the end of the file, but what does not end with a whole commit as the `Tail` it is.

        Only the last commit can be torn: it was on disk before the next one began.
        """
        held: list[Entry | Damage] = []
        first = last = after
        for found in self.scan(start, after=after):
            if isinstance(found, Damage):
                first = first if held else found.after + 1
                held.append(found)
                continue
            begins = found.sequence - found.place
            if held and begins != first:
                if not any(isinstance(item, Damage) for item in held):
                    held.append(Damage(found.offset, 0, "got another commit before this one was whole", last))
                yield from held
                held.clear()
            first, last = begins, found.sequence
            held.append(found)
            if len(held) == found.commit and not any(isinstance(item, Damage) for item in held):
                yield from held
                after = last
                held.clear()
        if held:
            problems = [item.problem for item in held if isinstance(item, Damage)]
            problem = problems[0] if problems else "got the end of the file within a commit"
            yield Tail(held[0].offset, self.end - held[0].offset, problem, after)

    def checksum(self, start: int, end: int, checksum: int = 0) -> int:
        """Return the CRC-32 of some bytes of the file, and of those before them whose checksum is given."""
        while start < end and (data := os.pread(self._descriptor, min(_CHUNK_BYTES, end - start), start)):
            checksum = crc32(data, checksum)
            start += len(data)
        return checksum

    def copy_tail(self, start: int, path: Path) -> None:
        """Write what stands behind a place into a file of its own, durably.

        Raises:
            OSError: it cannot be written.
        """
        with path.open("xb") as file:
            while data := os.pread(self._descriptor, _CHUNK_BYTES, start):
                file.write(data)
                start += len(data)
            file.flush()
            os.fsync(file.fileno())

    def cut_off(self, tail: Tail) -> None:
        """Let the file end before its torn last commit, durably.

        Raises:
            LogError: a whole commit stands there, and the log is append-only.
            OSError: it cannot be written.
        """
        if any(not isinstance(found, Tail) for found in self.scan_commits(tail.offset, tail.after)):
            raise LogError(f"{self.path}: expected a torn commit behind byte {tail.offset}; the log is append-only")
        os.ftruncate(self._descriptor, tail.offset)
        os.fsync(self._descriptor)
        self.end = tail.offset

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _check_room(self) -> None:
        disk = os.fstatvfs(self._descriptor)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < _MIN_FREE_BYTES:
            raise LogError(
                f"{self.path}: expected at least {_MIN_FREE_BYTES >> 20} MiB free on its disk, "
                f"got {free_bytes / 2**20:.1f}; nothing was written"
            )


def open_log_file(path: Path, *, is_writer: bool = False) -> LogFile:
    """Open a file of a log.

    A writer's descriptor is in append mode: the kernel puts whatever is written through it behind what is there.

    Raises:
        ConfigError: it cannot be opened, or is no log of ours.
    """
    flags = os.O_RDWR | os.O_APPEND if is_writer else os.O_RDONLY
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: expected a memory log that can be opened: {error.strerror}") from error
    try:
        head = os.pread(descriptor, HEADER_BYTES, 0)
        return LogFile(path, descriptor, _identity_of(path, head), os.fstat(descriptor).st_size)
    except BaseException:
        os.close(descriptor)
        raise


def create_log_file(path: Path, identity: Identity) -> LogFile:
    """Make a log without records, there whole or not at all, and open it for writing.

    Raises:
        OSError: it cannot be made.
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
        """See that `data` has so many bytes from an offset on, if the file does; return where in it they begin."""
        if not self.start <= offset or offset + size > self.start + len(self.data):
            wanted = min(max(size, _CHUNK_BYTES), self.end - offset)
            self.data, self.start = os.pread(self._descriptor, wanted, offset), offset
        return offset - self.start


def _parse_at(window: _Window, offset: int) -> Entry | str:
    at = window.hold(offset, FRAME_BYTES)
    size_bytes = int.from_bytes(window.data[at + 8 : at + 12], "little")
    if size_bytes <= _MAX_BODY_BYTES:
        at = window.hold(offset, FRAME_BYTES + size_bytes)
    return _parse(window.data, at, offset)


def _parse(data: bytes, at: int, offset: int) -> Entry | str:
    """Read the frame at a place in some bytes, or say what is wrong with it."""
    if len(data) - at < FRAME_BYTES:
        return f"got the end of the file after {len(data) - at} bytes"
    mark, checksum, size, commit, place, sequence, time = _FRAME.unpack_from(data, at)
    if mark != _MARK:
        return f"got bytes that are no record ({mark.hex()})"
    end = at + FRAME_BYTES + size
    if end > len(data):
        if size > _MAX_BODY_BYTES:
            return f"got a record that says it has {size} bytes"
        return f"got the end of the file after {len(data) - at} of {FRAME_BYTES + size} bytes"
    body = data[at + FRAME_BYTES : end]
    if crc32(body, crc32(data[at + 8 : at + FRAME_BYTES])) != checksum:
        return f"got {FRAME_BYTES + size} bytes whose checksum is wrong"
    return Entry(sequence, time, body, offset, FRAME_BYTES + size, place, commit)


def _find_record(window: _Window, offset: int) -> int:
    """Return where the next whole record begins, or where the file ends."""
    while offset < window.end:
        at = window.hold(offset, FRAME_BYTES)
        found = window.data.find(_MARK, at)
        if found < 0:
            offset = max(offset + 1, window.start + len(window.data) - len(_MARK) + 1)
            if offset + len(_MARK) > window.end:
                break
            continue
        offset = window.start + found
        if isinstance(_parse_at(window, offset), Entry):
            return offset
        offset += 1
    return window.end
