"""Memory: owns the log, and answers what was done and found in a trajectory, in a run, or for a prompt like this one.

Everything that arrives while a commit is under way shares the next one, so a hundred conductors wait for a handful of
syncs. Nobody else writes the log and nobody else reads it: others ask.

Where memory is several shards, each is such a process. A trajectory's records are all with one of them, its keeper, to
which the others pass on what they are asked; what is asked of memory as a whole any of them puts together.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Final, TypeVar, cast

import apsw
import structlog
import trio
from msgspec.structs import replace

from actors.memory_store import queries
from actors.memory_store.full_text import WordIndex
from actors.memory_store.index import IndexFailedError
from actors.memory_store.index_db import open_reader
from actors.memory_store.log import MAX_COMMIT
from actors.memory_store.scatter_gather import answer_from_all_shards
from actors.memory_store.sharding import note_layout, shard_folder
from actors.memory_store.store import MemoryStore, open_memory_store
from gems_actors.actor import Actor, answers
from gems_actors.errors import ConfigError, LogError, OverloadedError, RefusedError
from gems_actors.shards import address_of_shard, homes_of, shard_of_role
from gems_actors.tasks import open_background
from protocol.messages import (
    AnyRecord,
    Appended,
    AppendRecord,
    AppendRecords,
    BestAttempt,
    CountRecords,
    FindBestAttempt,
    ListRuns,
    ListTrajectories,
    LoggedRecords,
    MemoryCounts,
    MemoryRequest,
    ReadLog,
    ReadTrajectory,
    RecallExperiences,
    Recollection,
    Reply,
    Runs,
    Trajectories,
    TrajectoryState,
)

ReplyT = TypeVar("ReplyT", bound=Reply)

_INDEX_WRITTEN_EACH_S: Final = 1.0
"""What the index has not written when its process is killed, it reads from the log again."""
_KEEPERS_KNOWN: Final = 65_536
"""Trajectories of which a shard remembers who keeps them; of others it asks again."""
_BUSY_S: Final = 0.2
"""After so long a request that this shard could not pass on may come again."""

_log = structlog.get_logger()


class _Batch:
    """Records that wait for the same commit."""

    def __init__(self) -> None:
        self.records: list[AnyRecord] = []
        self.done = trio.Event()
        self.outcomes: list[tuple[int, bool]] = []
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
        self._shard = shard_of_role(self.mesh.role) or 0
        self._layouts = note_layout(self.config.data_path, self.config.memory.shards)
        self._shards = max(*self._layouts, self._shard + 1)
        self._keepers: OrderedDict[str, int] = OrderedDict()
        self._passed_on = 0
        capacity, least = self.config.role(self.role).capacity or self.default_capacity, 2 * self.mesh.routers
        self._max_passed_on = capacity // least
        if self._shards > 1 and capacity < least:
            raise ConfigError(
                f"roles.memory.capacity: expected at least {least} where memory is several shards, got {capacity}"
            )
        folder = shard_folder(self.config.data_path, self._shard)
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
        if (keeper := await self._other_keeper(request, request.trajectory)) is not None:
            return await self._pass_on(replace(request, shard=keeper))
        return await self._keep(request.record)

    @answers
    async def append_all(self, request: AppendRecords) -> Appended:
        """Answer once all of the records are on disk."""
        if (keeper := await self._other_keeper(request, request.trajectory)) is not None:
            return await self._pass_on(replace(request, shard=keeper))
        return await self._keep(*request.records)

    async def _keep(self, *records: AnyRecord) -> Appended:
        """Have records kept by the same commit, and return the place of the last."""
        while len(self._next.records) + len(records) > MAX_COMMIT:
            await self._next.done.wait()
        batch = self._next
        batch.records += records
        position = len(batch.records) - 1
        self._arrived.set()
        await batch.done.wait()
        if batch.error is not None:
            raise LogError(str(batch.error)) from batch.error
        sequence, is_new = batch.outcomes[position]
        return Appended(sequence=sequence, is_new=is_new, is_first=is_new and self._store.is_only_record(records[-1]))

    @answers
    async def read(self, request: ReadTrajectory) -> TrajectoryState:
        """Answer with all that is kept of a trajectory."""
        if (keeper := await self._other_keeper(request, request.trajectory)) is not None:
            return await self._pass_on(replace(request, shard=keeper))
        async with self._outliving_the_index():
            return queries.read_trajectory(self._store, request)

    @answers
    async def find_best(self, request: FindBestAttempt) -> BestAttempt:
        """Answer with the attempt that is the picture so far."""
        if (keeper := await self._other_keeper(request, request.trajectory)) is not None:
            return await self._pass_on(replace(request, shard=keeper))
        async with self._outliving_the_index():
            return queries.find_best(self._store, request)

    @answers
    async def list_trajectories(self, request: ListTrajectories) -> Trajectories:
        """Answer with a page of trajectories."""
        if self._is_for_others(request):
            return await self._ask_others(request)
        async with self._outliving_the_index():
            return queries.list_trajectories(self._store, request)

    @answers
    async def list_runs(self, request: ListRuns) -> Runs:
        """Answer with a page of runs."""
        if self._is_for_others(request):
            return await self._ask_others(request)
        async with self._outliving_the_index():
            return queries.list_runs(self._store, request)

    @answers
    async def count(self, request: CountRecords) -> MemoryCounts:
        """Answer how much there is."""
        if self._is_for_others(request):
            return await self._ask_others(request)
        async with self._outliving_the_index():
            return queries.count_records(self._store, request)

    @answers
    async def read_log(self, request: ReadLog) -> LoggedRecords:
        """Answer with what stands behind a place; where that is nothing, once something does or the wait is over."""
        if self._is_for_others(request):
            return await self._ask_others(request)
        with trio.move_on_after(request.wait_s):
            while self._store.last <= request.since:
                await self._grown.wait()
        async with self._outliving_the_index():
            return queries.read_log(self._store, request)

    @answers
    async def recall(self, request: RecallExperiences) -> Recollection:
        """Answer with lessons for a prompt; the search runs beside the loop, through a connection of its own."""
        if self._is_for_others(request):
            return await self._ask_others(request)
        async with self._outliving_the_index():
            async with self._recalling:
                self._store.index.commit()  # another connection sees nothing before
                alike = await trio.to_thread.run_sync(self._alike, request.prompt)
            return queries.recollect(self._store, alike, request.limit)

    # ----------------------------------------------------------------------------------------- shards

    def _is_for_others(self, request: MemoryRequest[ReplyT]) -> bool:
        """Whether this log alone is not what a request is about."""
        return request.shard != self._shard and (request.shard is not None or self._shards > 1)

    async def _ask_others(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        if request.shard is not None:
            return await self._pass_on(request)
        with self._waiting_for_others():
            return await answer_from_all_shards(request, self._shards, self._ask)

    async def _other_keeper(self, request: MemoryRequest[ReplyT], trajectory: str | None) -> int | None:
        """Return the shard that a request about a trajectory is to be passed on to, or None where it is for this one.

        What is of no trajectory is kept by shard 0.
        """
        if self._shards == 1 and not request.shard:
            return None
        keeper = request.shard
        if keeper is None:
            keeper = 0 if trajectory is None else await self._keeper_of(trajectory)
        return None if keeper == self._shard else keeper

    async def _keeper_of(self, trajectory: str) -> int:
        """Return the shard that has the records of a trajectory or, where none has any, is its home.

        It was decided when its first record was kept; in an earlier layout, its home of that time has it.
        """
        keeper = self._keepers.get(trajectory)
        if keeper is not None:
            return keeper
        async with self._outliving_the_index():
            is_here = bool(self._store.index.locations(trajectory))
        homes = homes_of(trajectory, self._layouts)
        keeper = self._shard if is_here else homes[0]
        for shard in homes if not is_here and len(homes) > 1 else ():
            if shard != self._shard:
                state = await self._pass_on(ReadTrajectory(trajectory=trajectory, shard=shard))
                if state.began_at is not None:
                    keeper = shard
                    break
        self._keepers[trajectory] = keeper
        if len(self._keepers) > _KEEPERS_KNOWN:
            self._keepers.popitem(last=False)
        return keeper

    async def _pass_on(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        """Return the reply of another shard, which a request names.

        Raises:
            RequestError: it cannot answer.
        """
        if request.shard is None or request.shard >= self._shards:
            raise RefusedError(f"shard: expected a number below {self._shards}, got {request.shard}")
        with self._waiting_for_others():
            return await self._ask(request)

    async def _ask(self, request: MemoryRequest[ReplyT]) -> ReplyT:
        if request.shard == self._shard:
            return cast(ReplyT, await self.handlers[type(request)](self, request))
        return await self.mesh.ask(request, role=address_of_shard(request.shard or 0))

    @contextmanager
    def _waiting_for_others(self) -> Iterator[None]:
        """Take a place among the requests that wait for other shards.

        They may take half of what one router gives this shard at once; if they took all of it, two shards could wait
        for each other for ever.

        Raises:
            OverloadedError: there is none; whoever asks comes again.
        """
        if self._passed_on >= self._max_passed_on:
            raise OverloadedError(f"{self._passed_on} requests wait for other shards of memory already", _BUSY_S)
        self._passed_on += 1
        try:
            yield
        finally:
            self._passed_on -= 1

    # ----------------------------------------------------------------------------------------- inside

    def _alike(self, prompt: str) -> dict[int, float]:
        try:
            return self._words.find_similar(prompt, queries.MAX_SIMILAR)
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
                self._store.add_to_index(written)
            except IndexFailedError:
                raise  # and end: what is in hand goes to the next process, which derives the index anew
            except LogError as error:
                batch.error = error
            else:
                batch.outcomes = written.outcomes
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
