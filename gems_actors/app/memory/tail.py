"""Streams the newest records of all shards in order of time, and then the records that are appended."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from gems_actors.app.memory.access import MemoryReader
from gems_actors.tasks import gather
from protocol import messages as m
from protocol.messages import LoggedRecord

_PAGE = 500
_FOLLOW_S = 30.0
"""Time for which memory holds a request open until a record is appended."""


async def tail_log(
    memory: MemoryReader,
    count: int,
    show: Callable[[LoggedRecord], None],
    *,
    run: str | None = None,
    is_following: bool = False,
) -> None:
    """Call `show` with those of the `count` newest records that belong to a run, or with all of them, oldest first.

    With `is_following`, continue with the records that are appended later, until cancelled.
    """
    filter_ = _RunFilter(memory, run)
    streams: list[_Stream] = []
    for shard in range((await memory.ask(m.CountRecords())).shards):
        newest = (await memory.ask(m.CountRecords(shard=shard))).records
        streams.append(_Stream(memory, shard, max(0, newest - count), newest))
    skipped = sum(stream.slots for stream in streams) - count
    async for logged in _in_order_of_time(streams):
        skipped -= 1
        if skipped < 0 and await filter_.accepts(logged):
            show(logged)
    if is_following:
        await gather(*(partial(stream.follow, filter_, show) for stream in streams))


class _RunFilter:
    """Tells the records of one run from others; asks memory once per trajectory."""

    def __init__(self, memory: MemoryReader, run: str | None) -> None:
        self._memory = memory
        self._run = run
        self._runs: dict[str, str] = {}

    async def accepts(self, logged: LoggedRecord) -> bool:
        return self._run is None or await self._run_of(logged) == self._run

    async def _run_of(self, logged: LoggedRecord) -> str:
        record = logged.record
        if isinstance(record, m.TrajectoryBegun):
            self._runs[record.trajectory] = record.task.run
        if not isinstance(record, m.TrajectoryRecord):
            return record.run if isinstance(record, m.RunBegun) else ""
        if record.trajectory not in self._runs:
            found = (await self._memory.ask(m.ListTrajectories(prefix=record.trajectory))).trajectories
            self._runs[record.trajectory] = found[0].run if found else ""
        return self._runs[record.trajectory]


class _Stream:
    """The records of one shard's log behind a sequence number."""

    def __init__(self, memory: MemoryReader, shard: int, since: int, end: int) -> None:
        self.slots = end - since
        """Sequence numbers up to the end of the log at the time of opening; that of a lost record has no record."""
        self._memory = memory
        self._shard = shard
        self._since = since
        self._end = end
        self._page: deque[LoggedRecord] = deque()

    async def head(self) -> LoggedRecord | None:
        """Return the next record up to the end without consuming it, or None at the end."""
        if not self._page and self._since < self._end:
            await self._read(wait_s=0.0)
        return self._page[0] if self._page and self._page[0].sequence <= self._end else None

    def advance(self) -> None:
        """Consume the next record."""
        self._since = self._page.popleft().sequence

    async def follow(self, filter_: _RunFilter, show: Callable[[LoggedRecord], None]) -> None:
        """Show the records behind the end as they are appended, until cancelled."""
        while True:
            while self._page:
                if await filter_.accepts(self._page[0]):
                    show(self._page[0])
                self.advance()
            await self._read(wait_s=_FOLLOW_S)

    async def _read(self, wait_s: float) -> None:
        request = m.ReadLog(shard=self._shard, since=self._since, limit=_PAGE, wait_s=wait_s)
        self._page.extend((await self._memory.ask(request, within_s=3 * _FOLLOW_S)).records)


async def _in_order_of_time(streams: Sequence[_Stream]) -> AsyncIterator[LoggedRecord]:
    while True:
        heads = [(head.at, index, head) for index, stream in enumerate(streams) if (head := await stream.head())]
        if not heads:
            return
        _, index, logged = min(heads, key=lambda item: item[:2])
        streams[index].advance()
        yield logged
