"""Memory: owns the log; appends records durably and answers queries about trajectories, runs and similar prompts.

Group commit: all records that arrive during a commit share the next one, so a hundred conductors wait for a handful of
syncs. No other process writes or reads the log while this one runs.

With several shards, each shard is one such process. All records of a trajectory are in one shard, its owner, to which
the other shards forward requests; requests to memory as a whole are answered by any shard with scatter-gather.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import ClassVar, Final, TypeVar, cast

import apsw
import structlog
import trio
from msgspec.structs import replace

from actors.counting import count_record
from actors.memory_store import queries
from actors.memory_store.full_text import WordIndex
from actors.memory_store.index import IndexFailedError
from actors.memory_store.index_db import open_reader
from actors.memory_store.log import MAX_COMMIT
from actors.memory_store.scatter_gather import answer_from_all_shards
from actors.memory_store.sharding import note_layout, shard_folder
from actors.memory_store.store import MemoryStore, open_memory_store
from gems_actors.actor import Actor, answers
from gems_actors.errors import ConfigError, LogError, OverloadedError, RefusedError, storage_fault
from gems_actors.shards import address_of_shard, homes_of, shard_of_role
from gems_actors.tasks import open_background
from protocol import messages as m

ReplyT = TypeVar("ReplyT", bound=m.Reply)
FoundT = TypeVar("FoundT")

_INDEX_COMMIT_PERIOD_S: Final = 1.0
"""Period between commits of the index; after a kill, uncommitted changes are read from the log again."""
_MAX_CACHED_OWNERS: Final = 65_536
"""Maximum number of trajectories whose owner a shard remembers; for others it asks again."""
_READERS_SHARE: Final = 4
"""Readers that wait for records get one place in four of what each router hands out."""
_READER_RETRY_AFTER_S: Final = 2.0
_RETRY_AFTER_S: Final = 0.2
"""Delay after which a client may repeat a request that this shard could not forward."""

_log = structlog.get_logger()


class _PendingCommit:
    """Records that wait for the same commit."""

    def __init__(self) -> None:
        self.records: list[m.AnyRecord] = []
        self.done = trio.Event()
        self.outcomes: list[tuple[int, bool]] = []
        self.error: LogError | None = None


class Memory(Actor):
    """Answers all requests to memory, or to one of its shards."""

    role = "memory"
    default_capacity = 1024
    max_commit: ClassVar[int] = MAX_COMMIT
    """Maximum number of records in one commit."""
    _store: MemoryStore

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep the log open, locked for this process."""
        self._pending = _PendingCommit()
        self._has_records = trio.Event()
        self._has_grown = trio.Event()
        self._recalling = trio.Lock()
        self._failed = trio.Event()
        self._failure: IndexFailedError | None = None
        self._damaged_bytes = 0
        self._counts: dict[str, float] = {}
        self._shard = shard_of_role(self.mesh.role) or 0
        self._layouts = note_layout(self.config.data_path, self.config.memory.shards)
        self._shards = max(*self._layouts, self._shard + 1)
        self._owners: OrderedDict[str, int] = OrderedDict()
        self._forwarded = self._waiting_readers = 0
        capacity, least = self.config.role(self.role).capacity or self.default_capacity, 2 * self.mesh.routers
        self._max_waiting_readers = capacity // (_READERS_SHARE * self.mesh.routers)
        self._max_forwarded = capacity // least
        if self._shards > 1 and capacity < least:
            raise ConfigError(f"roles.memory.capacity: expected at least {least} with several shards, got {capacity}")
        folder = shard_folder(self.config.data_path, self._shard)
        with (
            open_memory_store(folder, note=self.mesh.address) as self._store,
            closing(open_reader(self._store.index.path)) as reader,
        ):
            self._word_index = WordIndex(reader)
            _log.info("log_opened", path=str(folder), records=self._store.last, size=self._store.live.end)
            async with open_background() as nursery:
                nursery.start_soon(self._run_commits)
                nursery.start_soon(self._run_index_commits)
                nursery.start_soon(self._verify_in_background)
                yield

    def figures(self) -> dict[str, float]:
        """Return the number of records, the size of the log, and how much of it is damaged."""
        return {
            "records": self._store.last,
            "log_bytes": self._store.live.end,
            "damaged_bytes": self._damaged_bytes,
        }

    def totals(self) -> dict[str, float]:
        """Return what was drawn and spent since this process started."""
        return self._counts

    @answers
    async def append(self, request: m.AppendRecord) -> m.Appended:
        """Answer once the record is on disk."""
        if (owner := await self._other_owner(request, request.trajectory)) is not None:
            return await self._forward(replace(request, shard=owner))
        return await self._keep(request.record)

    @answers
    async def append_all(self, request: m.AppendRecords) -> m.Appended:
        """Answer once all of the records are on disk."""
        if (owner := await self._other_owner(request, request.trajectory)) is not None:
            return await self._forward(replace(request, shard=owner))
        return await self._keep(*request.records)

    async def _keep(self, *records: m.AnyRecord) -> m.Appended:
        """Append records in one commit, and return the outcome of the last one.

        Raises:
            RefusedError: a record says that others were lost, which would hide that they are missing.
            LogError: nothing was kept, because the disk is full or failed.
        """
        if any(isinstance(record, m.RecordsLost) for record in records):
            raise RefusedError("RecordsLost: expected a record of a run, got one that only `gems memory repair` writes")
        while len(self._pending.records) + len(records) > self.max_commit:
            await self._pending.done.wait()
        batch = self._pending
        batch.records += records
        position = len(batch.records) - 1
        self._has_records.set()
        await batch.done.wait()
        if batch.error is not None:
            raise storage_fault(LogError(str(batch.error))) from batch.error
        for record, (_, is_new) in zip(records, batch.outcomes[position + 1 - len(records) :], strict=False):
            if is_new:
                count_record(self._counts, record, self._store.rounds_of(record))
        sequence, is_new = batch.outcomes[position]
        return m.Appended(sequence=sequence, is_new=is_new, is_first=is_new and self._store.is_only_record(records[-1]))

    @answers
    async def read(self, request: m.ReadTrajectory) -> m.TrajectoryState:
        """Answer with the state of a trajectory."""
        return await self._query_owner(request, request.trajectory)

    @answers
    async def read_timeline(self, request: m.ReadTimeline) -> m.Timeline:
        """Answer with the work of roles on a trajectory."""
        return await self._query_owner(request, request.trajectory)

    @answers
    async def find_best(self, request: m.FindBestAttempt) -> m.BestAttempt:
        """Answer with the best attempt of a trajectory so far."""
        return await self._query_owner(request, request.trajectory)

    @answers
    async def list_trajectories(self, request: m.ListTrajectories) -> m.Trajectories:
        """Answer with one page of trajectories."""
        return await self._query(request)

    @answers
    async def list_runs(self, request: m.ListRuns) -> m.Runs:
        """Answer with one page of runs."""
        return await self._query(request)

    @answers
    async def count(self, request: m.CountRecords) -> m.MemoryCounts:
        """Answer with the number of records, runs and trajectories, and the sizes on disk."""
        return await self._query(request)

    @answers
    async def count_skills(self, request: m.CountSkills) -> m.SkillUses:
        """Answer with how often each version of each skill was chosen, and with the trials of skills."""
        return await self._query(request)

    @answers
    async def read_log(self, request: m.ReadLog) -> m.LoggedRecords:
        """Answer with the records after a sequence; if there are none, wait for the next one up to `wait_s`."""
        if not self._needs_other_shards(request):
            await self._wait_for_growth(request)
        return await self._query(request)

    async def _wait_for_growth(self, request: m.ReadLog) -> None:
        """Wait until there is a record for a reader, up to its `wait_s`.

        A reader that waits holds a place of this actor's capacity, of which readers get a part: appends never wait for
        them. With a capacity too small to be divided, readers do not wait.

        Raises:
            OverloadedError: too many readers wait; the client repeats the request.
        """
        if self._store.last > request.since or not request.wait_s or not self._max_waiting_readers:
            return
        if self._waiting_readers >= self._max_waiting_readers:
            text = f"{self._waiting_readers} readers already wait for records, the maximum"
            raise OverloadedError(text, _READER_RETRY_AFTER_S)
        self._waiting_readers += 1
        try:
            with trio.move_on_after(request.wait_s):
                while self._store.last <= request.since:
                    await self._has_grown.wait()
        finally:
            self._waiting_readers -= 1

    @answers
    async def recall(self, request: m.RecallExperiences) -> m.Recollection:
        """Answer with lessons for a prompt; the search runs in a thread with its own connection."""
        if self._needs_other_shards(request):
            return await self._ask_others(request)
        async with self._ending_on_index_failure():
            find = partial(self._word_index.find_similar, request.prompt, queries.MAX_SIMILAR)
            similar = await self._search_words(find)
            return queries.recollect(self._store, similar, request.limit)

    @answers
    async def read_run_figures(self, request: m.ReadRunFigures) -> m.RunFigures:
        """Answer with what a run achieved and cost."""
        return await self._query(request)

    @answers
    async def search(self, request: m.SearchTrajectories) -> m.Trajectories:
        """Answer with one page of trajectories by words of their prompts; the search runs in a thread, too."""
        if self._needs_other_shards(request):
            return await self._ask_others(request)
        async with self._ending_on_index_failure():
            numbers = await self._search_words(partial(queries.find_words, self._word_index, request))
            return queries.search(self._store, numbers, request)

    async def _query(self, request: m.MemoryRequest[ReplyT]) -> ReplyT:
        """Answer from the log of this shard, or from those of other shards if the request needs them."""
        if self._needs_other_shards(request):
            return await self._ask_others(request)
        async with self._ending_on_index_failure():
            return queries.answer(self._store, request)

    # ----------------------------------------------------------------------------------------- shards

    async def _query_owner(self, request: m.MemoryRequest[ReplyT], trajectory: str) -> ReplyT:
        """Answer from the log of the shard that has a trajectory."""
        if (owner := await self._other_owner(request, trajectory)) is not None:
            return await self._forward(replace(request, shard=owner))
        async with self._ending_on_index_failure():
            return queries.answer(self._store, request)

    def _needs_other_shards(self, request: m.MemoryRequest[ReplyT]) -> bool:
        """Return whether a request needs other logs than that of this shard."""
        return request.shard != self._shard and (request.shard is not None or self._shards > 1)

    async def _ask_others(self, request: m.MemoryRequest[ReplyT]) -> ReplyT:
        if request.shard is not None:
            return await self._forward(request)
        with self._counted_as_forwarded():
            return await answer_from_all_shards(request, self._shards, self._ask)

    async def _other_owner(self, request: m.MemoryRequest[ReplyT], trajectory: str | None) -> int | None:
        """Return the shard to which a request about a trajectory is forwarded, or None if this shard answers it.

        Records without a trajectory are in shard 0.
        """
        if self._shards == 1 and not request.shard:
            return None
        owner = request.shard
        if owner is None:
            owner = 0 if trajectory is None else await self._owner_of(trajectory)
        return None if owner == self._shard else owner

    async def _owner_of(self, trajectory: str) -> int:
        """Return the shard that has the records of a trajectory, or its home if no shard has any.

        The first record decides the owner; with an earlier layout, that was its home in that layout.
        """
        owner = self._owners.get(trajectory)
        if owner is not None:
            return owner
        async with self._ending_on_index_failure():
            is_here = bool(self._store.index.locations(trajectory))
        homes = homes_of(trajectory, self._layouts)
        owner = self._shard if is_here else homes[0]
        for shard in homes if not is_here and len(homes) > 1 else ():
            if shard != self._shard:
                state = await self._forward(m.ReadTrajectory(trajectory=trajectory, shard=shard))
                if state.began_at is not None:
                    owner = shard
                    break
        self._owners[trajectory] = owner
        if len(self._owners) > _MAX_CACHED_OWNERS:
            self._owners.popitem(last=False)
        return owner

    async def _forward(self, request: m.MemoryRequest[ReplyT]) -> ReplyT:
        """Return the reply of the other shard that a request names.

        Raises:
            RequestError: there is no such shard, or it cannot answer.
        """
        if request.shard is None or request.shard >= self._shards:
            raise RefusedError(f"shard: expected a number below {self._shards}, got {request.shard}")
        with self._counted_as_forwarded():
            return await self._ask(request)

    async def _ask(self, request: m.MemoryRequest[ReplyT]) -> ReplyT:
        if request.shard == self._shard:
            return cast(ReplyT, await self.handlers[type(request)](self, request))
        return await self.mesh.ask(request, role=address_of_shard(request.shard or 0))

    @contextmanager
    def _counted_as_forwarded(self) -> Iterator[None]:
        """Count a request as waiting for other shards.

        Such requests may use half of the capacity that one router uses; with all of it, two shards could deadlock.

        Raises:
            OverloadedError: too many requests wait; the client retries.
        """
        if self._forwarded >= self._max_forwarded:
            raise OverloadedError(f"{self._forwarded} requests already wait for other shards of memory", _RETRY_AFTER_S)
        self._forwarded += 1
        try:
            yield
        finally:
            self._forwarded -= 1

    # ----------------------------------------------------------------------------------------- internals

    async def _search_words(self, find: Callable[[], FoundT]) -> FoundT:
        """Return what a search of the word index finds; it runs in a thread, and this process goes on meanwhile."""

        def find_in_thread() -> FoundT:
            try:
                return find()
            except apsw.Error as error:
                raise self._store.index.fail(error) from error

        async with self._recalling:
            self._store.index.commit()  # so that the other connection sees everything
            return await trio.to_thread.run_sync(find_in_thread)

    async def _run_commits(self) -> None:
        while True:
            await self._has_records.wait()
            self._has_records = trio.Event()
            taken = 0
            while len(self._pending.records) > taken:  # what arrived together is taken in turns; a sync costs more
                taken = len(self._pending.records)
                for _ in range(2):  # at least one whole turn of all other tasks lies between
                    await trio.lowlevel.checkpoint()
            batch, self._pending = self._pending, _PendingCommit()
            try:
                written = self._store.write(batch.records)
                self._store.live.sync()
                self._store.add_to_index(written)
            except IndexFailedError:
                raise  # ends the process: requests in flight go to the next one, which rebuilds the index
            except LogError as error:
                batch.error = error
            else:
                batch.outcomes = written.outcomes
                self._has_grown.set()
                self._has_grown = trio.Event()
            batch.done.set()

    @asynccontextmanager
    async def _ending_on_index_failure(self) -> AsyncIterator[None]:
        """If the index fails, end this process without an answer, so that the next process gets the request."""
        try:
            yield
        except IndexFailedError as error:
            self._failure = error
            self._failed.set()
            await trio.sleep_forever()

    async def _run_index_commits(self) -> None:
        while True:
            with trio.move_on_after(_INDEX_COMMIT_PERIOD_S):
                await self._failed.wait()
            if self._failure is not None:
                raise self._failure
            self._store.index.commit()

    async def _verify_in_background(self) -> None:
        """Verify the part of the log that was too large to be verified while it was opened."""
        live = self._store.live
        for extent in self._store.unverified:
            if await trio.to_thread.run_sync(live.checksum, extent.offset, extent.end) != extent.checksum:
                self._damaged_bytes += extent.end - extent.offset
                _log.error("log_damaged", path=str(live.path), reason=self._store.damage_in(extent))
