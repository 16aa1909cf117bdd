"""What a run knows of its tasks while it reads millions of them: tables of 64-bit ids, some 40 bytes per task.

Pure. A task is known by its reference: its id, or its index in a folder of an earlier version.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Final, Literal
from zlib import crc32

TaskRef = str | int
"""The id of a task, 16 hexadecimal digits; its index where tasks are known by their place in the input."""

_BUCKET_BITS: Final = 12
"""A bucket is searched as bytes, 250 ids of a million in about 0.3 µs; it costs some 80 bytes per column."""
_ID_BYTES: Final = 8
_BITS: Final = 64
_MASK: Final = (1 << _BITS) - 1
_SPREAD: Final = 0x9E3779B97F4A7C15
"""2**64 over the golden ratio, odd: multiplication maps small numbers one to one to numbers that are spread evenly."""
_SAMPLE_SPREAD: Final = 0xC2B2AE3D27D4EB4F
"""Another odd number, so that no index has the number of another index's sample."""
_MAX_INDEX: Final = 0xFFFFFFFF

State = Literal["new", "done", "changed"]
Columns = tuple["array[int]", ...]
Found = tuple[Columns, int]
"""Columns of a bucket, and the position of the numbers of an id in each of them."""


def number_of(ref: TaskRef, sample: int) -> int:
    """Return the 64-bit id of one sample of a task, spread evenly."""
    base = int(ref, 16) if isinstance(ref, str) else (ref + 1) * _SPREAD
    return (base + sample * _SAMPLE_SPREAD) & _MASK


class IdTable:
    """A table from 64-bit ids, which must be spread evenly as digests are, to a few numbers each."""

    def __init__(self, typecodes: str = "") -> None:
        """Make an empty table; `typecodes` are those of the numbers, as in `array`."""
        self._typecodes = typecodes
        self._buckets: list[tuple[bytearray, Columns] | None] = [None] * (1 << _BUCKET_BITS)

    def find(self, id_: int) -> Found | None:
        """Return where the numbers of an id are, or None for an id that is not in the table."""
        bucket = self._buckets[id_ >> (_BITS - _BUCKET_BITS)]
        if bucket is None:
            return None
        ids, columns = bucket
        sought = id_.to_bytes(_ID_BYTES, "big")
        at = ids.find(sought)
        while at % _ID_BYTES and at > 0:  # it lies across two ids
            at = ids.find(sought, at + 1)
        return None if at < 0 else (columns, at // _ID_BYTES)

    def add(self, id_: int, *numbers: int) -> None:
        """Add an id that is not in the table."""
        place = id_ >> (_BITS - _BUCKET_BITS)
        bucket = self._buckets[place]
        if bucket is None:
            bucket = self._buckets[place] = bytearray(), tuple(array(typecode) for typecode in self._typecodes)
        ids, columns = bucket
        ids += id_.to_bytes(_ID_BYTES, "big")
        for column, number in zip(columns, numbers, strict=True):
            column.append(number)

    def add_new(self, id_: int) -> bool:
        """Add an id without numbers, and return whether it was not in the table."""
        is_new = self.find(id_) is None
        if is_new:
            self.add(id_)
        return is_new


class Ledger:
    """The pictures of a folder: the key of each, the index of its record, and the skill that it was drawn with."""

    def __init__(self) -> None:
        self.pictures = 0
        self.seen = 0
        """Pictures whose record was read."""
        self.has_new_metadata = False
        """Whether a record has other columns than when its picture was drawn."""
        self.is_in_order = False
        """Whether their file is known to hold exactly their rows, in the order of the records."""
        self._table = IdTable("QIHIB")  # key, index, number of the skill, checksum of the metadata, whether read
        self._skills: dict[tuple[str, str], int] = {}
        """Number of each skill and digest with which a picture was drawn, from 1."""
        self._stale = frozenset[int]()
        """Numbers of skills whose digest is another one now."""
        self._last_sample = 0

    def put(
        self,
        ref: TaskRef,
        sample: int,
        index: int,
        key: str,
        skill: str | None = None,
        digest: str = "",
        metadata: str | None = None,
    ) -> None:
        """Add a picture, or replace an earlier drawing of it."""
        self.is_in_order = False
        number = self._skills.setdefault((skill, digest), len(self._skills) + 1) if skill and digest else 0
        values = (int(key, 16), min(index, _MAX_INDEX), number, _checksum_of(metadata), 0)
        id_ = number_of(ref, sample)
        if (found := self._table.find(id_)) is None:
            self._table.add(id_, *values)
            self.pictures += 1
        else:
            for column, value in zip(found[0], values, strict=True):
                column[found[1]] = value
        self._last_sample = max(self._last_sample, sample)

    def has(self, ref: TaskRef, sample: int) -> bool:
        """Return whether a sample of a task has a picture."""
        return self._table.find(number_of(ref, sample)) is not None

    def state_of(self, ref: TaskRef, sample: int, key: str) -> State:
        """Return whether a task is new, done, or was drawn with another key or with a skill that has changed."""
        if (found := self._table.find(number_of(ref, sample))) is None:
            return "new"
        (keys, _, skills, *_), at = found
        return "done" if keys[at] == int(key, 16) and skills[at] not in self._stale else "changed"

    def compare_skills(self, digests: Mapping[str, str]) -> list[str]:
        """Compare the skills with which pictures were drawn with those of now; return what changed, in words."""
        stale = {pair: number for pair, number in self._skills.items() if digests.get(pair[0], "") != pair[1]}
        self._stale = frozenset(stale.values())
        names = sorted({skill for skill, _ in stale})
        return [f"skill {name} {'edited' if name in digests else 'removed'}" for name in names]

    @property
    def skills(self) -> Iterable[str]:
        """Ids of the skills with which pictures were drawn."""
        return {skill for skill, _ in self._skills}

    def note_record(self, ref: TaskRef, index: int, samples: int, metadata: str | None = None) -> None:
        """Note that a record was read, and where; its pictures take its index."""
        for sample in range(max(samples, self._last_sample + 1)):
            if (found := self._table.find(number_of(ref, sample))) is not None:
                (_, indices, _, checksums, seen), at = found
                self.seen += not seen[at]
                self.has_new_metadata |= metadata is not None and checksums[at] not in (0, _checksum_of(metadata))
                self.is_in_order &= indices[at] == index
                indices[at], seen[at] = min(index, _MAX_INDEX), 1

    def is_seen(self, ref: TaskRef, sample: int) -> bool:
        """Return whether the record of a picture was read; True for a picture that is not in the ledger."""
        found = self._table.find(number_of(ref, sample))
        return found is None or bool(found[0][4][found[1]])

    def index_of(self, ref: TaskRef, sample: int, index: int) -> int:
        """Return the index of the record as it was read last; `index` for a picture that is not in the ledger."""
        found = self._table.find(number_of(ref, sample))
        return index if found is None else found[0][1][found[1]]


def _checksum_of(metadata: str | None) -> int:
    """Return a checksum of metadata as text, at least 1; 0 for metadata of another form, which is not compared."""
    return 0 if metadata is None else crc32(metadata.encode(errors="surrogatepass")) or 1
