"""Memory: owns the log, and answers what was done and found in a trajectory, in a run, or for a prompt like this one.

Everything that arrives while a commit is under way shares the next one, so a hundred conductors wait for a handful of
syncs. Nobody else writes the log and nobody else reads it: others ask.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Final

import apsw
import structlog
import trio

from actors.memory_store import queries
from actors.memory_store.index import IndexFailedError, open_reader
from actors.memory_store.log import MAX_COMMIT
from actors.memory_store.store import FOLDER_NAME, MemoryStore, open_memory_store
from actors.memory_store.words import WordIndex
from gems_actors.actor import Actor, answers
from gems_actors.errors import LogError
from gems_actors.tasks import open_background
from protocol.messages import (
    AnyRecord,
    Appended,
    AppendRecord,
    BestAttempt,
    CountRecords,
    FindBestAttempt,
    ListRuns,
    ListTrajectories,
    LoggedRecords,
    MemoryCounts,
    ReadLog,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Runs,
    Trajectories,
    TrajectoryState,
)

_INDEX_WRITTEN_EACH_S: Final = 1.0
"""What the index has not written when its process is killed, it reads from the log again."""

_log = structlog.get_logger()


class _Batch:
    """Records that wait for the same commit."""

    def __init__(self) -> None:
        self.records: list[AnyRecord] = []
        self.done = trio.Event()
        self.places: list[tuple[int, bool]] = []
        self.error: LogError | None = None


class Memory(Actor):
    """Keeps records and answers questions about them."""

    role = "memory"
    default_capacity = 1024
    _store: MemoryStore

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold the log for as long as requests arrive."""
        self._next = _Batch()
        self._arrived = trio.Event()
        self._grown = trio.Event()
        self._recalling = trio.Lock()
        self._failed = trio.Event()
        self._failure: IndexFailedError | None = None
        self._damaged_bytes = 0
        folder = self.config.data_path / FOLDER_NAME
        with (
            open_memory_store(folder, note=self.mesh.address) as self._store,
            closing(open_reader(self._store.index.path)) as reader,
        ):
            self._words = WordIndex(reader)
            _log.info("log_opened", path=str(folder), records=self._store.last, size=self._store.live.end)
            async with open_background() as nursery:
                nursery.start_soon(self._run_commits)
                nursery.start_soon(self._run_index)
                nursery.start_soon(self._verify_the_rest)
                yield

    def figures(self) -> dict[str, float]:
        """Return how many records the log holds, how large it is, and how much of it is damaged."""
        return {
            "records": self._store.last,
            "log_bytes": self._store.live.end,
            "damaged_bytes": self._damaged_bytes,
        }

    @answers
    async def append(self, request: AppendRecord) -> Appended:
        """Answer once the record is on disk."""
        while len(self._next.records) >= MAX_COMMIT:
            await self._next.done.wait()
        batch = self._next
        place = len(batch.records)
        batch.records.append(request.record)
        self._arrived.set()
        await batch.done.wait()
        if batch.error is not None:
            raise LogError(str(batch.error)) from batch.error
        sequence, is_new = batch.places[place]
        return Appended(sequence=sequence, is_new=is_new)

    @answers
    async def read(self, request: ReadTrajectory) -> TrajectoryState:
        """Answer with all that is kept of a trajectory."""
        async with self._outliving_the_index():
            return queries.read_trajectory(self._store, request)

    @answers
    async def find_best(self, request: FindBestAttempt) -> BestAttempt:
        """Answer with the attempt that is the picture so far."""
        async with self._outliving_the_index():
            return queries.find_best(self._store, request)

    @answers
    async def list_trajectories(self, request: ListTrajectories) -> Trajectories:
        """Answer with a page of trajectories."""
        async with self._outliving_the_index():
            return queries.list_trajectories(self._store, request)

    @answers
    async def list_runs(self, request: ListRuns) -> Runs:
        """Answer with a page of runs."""
        async with self._outliving_the_index():
            return queries.list_runs(self._store, request)

    @answers
    async def count(self, request: CountRecords) -> MemoryCounts:
        """Answer how much there is."""
        async with self._outliving_the_index():
            return queries.count_records(self._store, request)

    @answers
    async def read_log(self, request: ReadLog) -> LoggedRecords:
        """Answer with what stands behind a place; where that is nothing, once something does or the wait is over."""
        with trio.move_on_after(request.wait_s):
            while self._store.last <= request.since:
                await self._grown.wait()
        async with self._outliving_the_index():
            return queries.read_log(self._store, request)

    @answers
    async def recall(self, request: RecallExperiences) -> Recollection:
        """Answer with lessons for a prompt; the search runs beside the loop, through a connection of its own."""
        async with self._outliving_the_index():
            async with self._recalling:
                self._store.index.commit()  # another connection sees nothing before
                alike = await trio.to_thread.run_sync(self._alike, request.prompt)
            return queries.recollect(self._store, alike, request.limit)

    def _alike(self, prompt: str) -> list[int]:
        try:
            return self._words.alike(prompt, queries.MAX_ALIKE)
        except apsw.Error as error:
            raise self._store.index.fail(error) from error

    async def _run_commits(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived = trio.Event()
            batch, self._next = self._next, _Batch()
            try:
                written = self._store.write(batch.records)
                self._store.live.sync()
                self._store.keep(written)
            except IndexFailedError:
                raise  # and end: what is in hand goes to the next process, which derives the index anew
            except LogError as error:
                batch.error = error
            else:
                batch.places = written.places
                self._grown.set()
                self._grown = trio.Event()
            batch.done.set()

    @asynccontextmanager
    async def _outliving_the_index(self) -> AsyncIterator[None]:
        """Where the index fails, let this process end with the question unanswered: it goes to the next one."""
        try:
            yield
        except IndexFailedError as error:
            self._failure = error
            self._failed.set()
            await trio.sleep_forever()

    async def _run_index(self) -> None:
        while True:
            with trio.move_on_after(_INDEX_WRITTEN_EACH_S):
                await self._failed.wait()
            if self._failure is not None:
                raise self._failure
            self._store.index.commit()

    async def _verify_the_rest(self) -> None:
        """Look, beside the work, at the part of the log that was too large to be looked at while it was opened."""
        live = self._store.live
        for extent in self._store.unverified:
            if await trio.to_thread.run_sync(live.checksum, extent.offset, extent.end) != extent.checksum:
                self._damaged_bytes += extent.end - extent.offset
                _log.error("log_damaged", path=str(live.path), reason=self._store.damage_in(extent))
