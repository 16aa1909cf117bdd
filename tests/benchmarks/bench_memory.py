"""Memory: durable appends against bare stores with the same sync, appends through the mesh, and a million records.

Bare stores, in batches of 256 with one fdatasync each, in the same run and on the same disk: the store without an
actor, the log's file alone, which encodes and frames records and knows no trajectory, and a table of SQLite in WAL mode
with synchronous=FULL, whose rows are bytes that were encoded before.
"""

from __future__ import annotations

import gc
import itertools
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar, cast

import apsw
import structlog
import trio

from actors.memory import Memory
from actors.memory_store.index_db import remove_index
from actors.memory_store.log import Identity, create_log_file, pack_commit
from actors.memory_store.sharding import shard_folder
from actors.memory_store.store import open_memory_store
from gems_actors.client import Mesh, open_client
from gems_actors.config import MeshConfig, RouterConfig
from gems_actors.shards import role_of_shard
from protocol.codec import encode_body
from protocol.identity import trajectory_id
from protocol.messages import (
    AnyRecord,
    AppendRecord,
    Attempt,
    AttemptVerified,
    DrawPicture,
    Ending,
    Experience,
    ExperienceKept,
    ImageRef,
    PromptDecomposed,
    PromptPlanned,
    PromptRefined,
    ReadStatus,
    ReadTrajectory,
    RecallExperiences,
    Refinement,
    Requirement,
    TrajectoryBegun,
    TrajectoryEnded,
    Verdict,
)
from tests.processes import memory_kib

RequestT = TypeVar("RequestT")

_BATCH, _RECORDS, _TURNS, _WRITERS = 256, 60_000, 3, 256
_STEPS = 11
"""Records of one trajectory of three rounds."""
_MILLION = 1_000_000
_QUESTIONS, _RECALLS, _WINDOW, _TRIPS = 2000, 300, 256, 15_000
_WORDS = [f"word{number}" for number in range(20_000)]
_WEIGHTS = list(itertools.accumulate(1 / rank for rank in range(1, len(_WORDS) + 1)))  # as words of a language are


def write_prompt(chance: random.Random, words: int) -> str:
    """Return a prompt in which common words are as common as in a language."""
    return " ".join(chance.choices(_WORDS, cum_weights=_WEIGHTS, k=words))


def records_of(line: int) -> Iterator[AnyRecord]:
    """Yield the records of one trajectory of three rounds and eight requirements, 660 bytes each in the mean."""
    chance = random.Random(line)
    task = DrawPicture(run=f"run {line // 1000}", line=line, prompt=write_prompt(chance, 40), seed=line)
    id_ = task.trajectory
    yield TrajectoryBegun(trajectory=id_, task=task)
    yield PromptPlanned(trajectory=id_, prompt=task.prompt)
    questions = tuple(Requirement(id=f"r{n}", question="Is it in the image?", kind="object") for n in range(8))
    yield PromptDecomposed(trajectory=id_, requirements=questions)
    for round_ in (1, 2, 3):
        verdicts = tuple(
            Verdict(requirement=f"r{n}", answer="met" if n < 3 * round_ else "unmet", reason="seen") for n in range(8)
        )
        image = ImageRef(
            digest=f"sha256:{line:062x}{round_:02x}", media_type="image/png", bytes=1000, width_px=768, height_px=768
        )
        attempt = Attempt(
            round=round_, candidate=1, prompt=task.prompt[:200], image=image, seed=line, verdicts=verdicts
        )
        yield AttemptVerified(trajectory=id_, attempt=attempt)
        if round_ < 3:
            lesson = Experience(round=round_, text="what worked and what did not, in sixty words or so " * 8)
            yield ExperienceKept(trajectory=id_, experience=lesson)
            refinement = Refinement(round=round_ + 1, prompt=task.prompt[:250], reasoning="because of that " * 12)
            yield PromptRefined(trajectory=id_, refinement=refinement)
    ending = Ending(outcome="all_met", best_round=3, best_candidate=1, decided_by="8 of 8 requirements met")
    yield TrajectoryEnded(trajectory=id_, ending=ending)


def batches_of(items: Iterable[AnyRecord], size: int) -> Iterator[list[AnyRecord]]:
    """Yield the items in lists of a size."""
    source = iter(items)
    while batch := list(itertools.islice(source, size)):
        yield batch


# ------------------------------------------------------------------------------------------------------- appends


def rate_of_log_file(folder: Path, records: list[AnyRecord]) -> float:
    """Return records a second that the log's file alone keeps."""
    file = create_log_file(folder / "bare", Identity(bytes(16), 1))
    began = time.perf_counter()
    sequence = 1
    for batch in batches_of(records, _BATCH):
        bodies = [encode_body(record) for record in batch]
        file.write(b"".join(pack_commit(bodies, range(sequence, sequence + len(bodies)), 0.0)))
        file.sync()
        sequence += len(bodies)
    return len(records) / (time.perf_counter() - began)


def rate_of_sqlite(folder: Path, records: list[AnyRecord], *, has_index: bool) -> float:
    """Return rows a second that SQLite keeps, with or without an index by trajectory."""
    rows = [(getattr(record, "trajectory", ""), encode_body(record)) for record in records]
    connection = apsw.Connection(str(folder / f"bare-{has_index}.db"))
    for pragma in ("page_size = 8192", "journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()
    connection.execute("CREATE TABLE log (sequence INTEGER PRIMARY KEY, trajectory TEXT, body BLOB)")
    if has_index:
        connection.execute("CREATE INDEX by_trajectory ON log (trajectory, sequence)")
    began = time.perf_counter()
    for start in range(0, len(rows), _BATCH):
        with connection:
            connection.executemany("INSERT INTO log (trajectory, body) VALUES (?, ?)", rows[start : start + _BATCH])
    seconds = time.perf_counter() - began
    connection.close()
    return len(rows) / seconds


def rate_of_store(folder: Path, records: list[AnyRecord]) -> float:
    """Return records a second that the store keeps, with all it derives and without an actor."""
    with open_memory_store(folder / "store") as store:
        began = time.perf_counter()
        for batch in batches_of(records, _BATCH):
            store.append(batch)
        return len(records) / (time.perf_counter() - began)


class _Address:
    """All that memory asks of its mesh."""

    address = "ipc:///nowhere"
    role = "memory"
    routers = 1


async def rate_of_actor(folder: Path, writers: int, lines: int) -> float:
    """Return the records a second that an actor acknowledges to `writers` tasks that wait for each."""
    work = [
        [AppendRecord(record=record) for line in range(writer, lines, writers) for record in records_of(line)]
        for writer in range(writers)
    ]
    gc.collect()
    gc.freeze()  # as the parent of all roles does before it forks them
    memory = Memory(MeshConfig(data_dir=str(folder)), cast(Mesh, _Address()))
    async with memory.open():

        async def write(requests: list[AppendRecord]) -> None:
            for request in requests:
                await memory.append(request)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for requests in work:
                nursery.start_soon(write, requests)
        return sum(map(len, work)) / (time.perf_counter() - began)


def show_appends(root: Path) -> None:
    """Print the records stored per second, interleaved, and the ratios."""
    lines = _RECORDS // _STEPS
    records = [record for line in range(lines) for record in records_of(line)]
    rates: dict[str, list[float]] = {}
    for turn in range(_TURNS):  # interleaved, because a virtual machine's disk changes by the minute
        folder = root / f"turn-{turn}"
        folder.mkdir()
        measured = {
            "the log's file alone, batches of 256": rate_of_log_file(folder, records),
            "a table of SQLite, batches of 256": rate_of_sqlite(folder, records, has_index=False),
            "the same with an index by trajectory": rate_of_sqlite(folder, records, has_index=True),
            "the store without an actor, batches of 256": rate_of_store(folder, records),
            "actor, 256 writers": trio.run(rate_of_actor, folder / "256", 256, lines),
            "actor, 16 writers": trio.run(rate_of_actor, folder / "16", 16, lines // 10),
            "actor, 1 writer": trio.run(rate_of_actor, folder / "1", 1, lines // 50),
        }
        for name, rate in measured.items():
            rates.setdefault(name, []).append(rate)
    actor = median(rates["actor, 256 writers"])
    for name, found in rates.items():
        print(f"{name:<44} {median(found):9,.0f} records/s; actor with 256 writers: {actor / median(found):.2f} of it")


# ------------------------------------------------------------------------------------------------------- the mesh

_ROLE = """
import sys
from gems_actors.config import load_config
from gems_actors.supervision.child_main import run_role
settings = [f"router.runtime_dir={sys.argv[1]}", f"data_dir={sys.argv[2]}", "log.level=error"]
settings.append(f"memory.shards={sys.argv[4]}")
config = load_config(environment={}, settings=settings)
sys.exit(run_role(sys.argv[3], config, config.local_address, sys.argv[3] + "-1"))
"""
_EMPTY = """
import logging, sys, structlog, trio
from functools import partial
from gems_actors.actor import Actor, answers, serve_actor
from gems_actors.config import MeshConfig
from protocol.messages import Appended, AppendRecord
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
class Empty(Actor):
    role = "memory"
    default_capacity = 1024
    @answers
    async def append(self, request: AppendRecord) -> Appended:
        return Appended(sequence=1, is_new=True)
trio.run(partial(serve_actor, partial(Empty, MeshConfig()), f"ipc://{sys.argv[1]}/router.ipc", "memory-1"))
"""


class _Roles:
    """A router and memory, as processes."""

    def __init__(self, data: Path, memory: str = _ROLE, shards: int = 1) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="gems-")
        name = self._folder.name
        self.address = MeshConfig(router=RouterConfig(runtime_dir=name)).local_address
        self._processes = [
            subprocess.Popen((sys.executable, "-P", "-c", script, name, str(data), role, str(shards)))
            for script, role in ((_ROLE, "router"), *((memory, role_of_shard(shard)) for shard in range(shards)))
        ]

    @property
    def memory_pid(self) -> int:
        return self._processes[1].pid

    def __enter__(self) -> _Roles:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()
        self._folder.cleanup()


async def await_memory(mesh: Mesh, shards: int = 1) -> None:
    """Return once memory is ready."""
    async with mesh.events("mesh") as events:
        while sum(len(role.actors) for role in (await mesh.ask(ReadStatus())).roles) < shards:
            await events.receive()


async def rate_of_mesh(address: str, shards: int) -> float:
    """Return appends a second through the mesh, 256 under way."""
    async with open_client(address, connect_within_s=20) as mesh:
        await await_memory(mesh, shards)
        records = (record for line in itertools.count() for record in records_of(line))
        requests = iter([AppendRecord(record=record) for record in itertools.islice(records, _TRIPS)])

        async def ask() -> None:
            for request in requests:
                await mesh.ask(request)

        began = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(_WINDOW):
                nursery.start_soon(ask)
        return _TRIPS / (time.perf_counter() - began)


def show_mesh(root: Path) -> None:
    """Print appends through the mesh, with one and two shards, and what the same actor answers that keeps nothing.

    Client, router and shards are one process each: with fewer cores than processes a second shard gains nothing.
    """
    kinds = {"memory": (_ROLE, 1), "two shards": (_ROLE, 2), "a handler that keeps nothing": (_EMPTY, 1)}
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(_TURNS):
        for name, (script, shards) in kinds.items():
            with _Roles(root / f"mesh-{turn}-{shards}", script, shards) as roles:
                rates[name].append(trio.run(rate_of_mesh, roles.address, shards))
    kept, shared, empty = (median(found) for found in rates.values())
    print(
        f"through the mesh, 256 under way: {kept:,.0f} appends/s, {kept / empty:.2f} of {empty:,.0f} that keep nothing;"
        f" with two shards {shared:,.0f}, {shared / kept:.2f} times as many on {os.cpu_count()} cores"
    )


# ------------------------------------------------------------------------------------------------------- a million


def fill(folder: Path) -> None:
    """Write a log of a million records, a thousand trajectories under way at a time."""
    lines = iter(range(_MILLION // _STEPS))
    under_way = [records_of(line) for line in itertools.islice(lines, 1000)]
    with open_memory_store(folder) as store:
        while under_way:
            batch = [record for story in under_way if (record := next(story, None)) is not None]
            if batch:
                store.append(batch)
                continue
            under_way = [records_of(line) for line in itertools.islice(lines, 1000)]
        print(f"{store.last:,} records, {store.live.end / 2**20:,.0f} MiB of log", end=", ")
    print(f"{(folder / 'index.db').stat().st_size / 2**20:,.0f} MiB of index")


def time_opening(folder: Path) -> float:
    """Return the seconds in which a log is open, verified from its first byte to its last."""
    began = time.perf_counter()
    with open_memory_store(folder):
        return time.perf_counter() - began


def describe(seconds: list[float]) -> str:
    """Return median and 99th percentile in milliseconds."""
    return f"p50 {1e3 * median(seconds):.2f} ms, p99 {1e3 * quantiles(seconds, n=100)[98]:.2f} ms"


async def seconds_of(ask: Callable[[RequestT], Awaitable[object]], request: RequestT) -> float:
    """Return how long the answer took."""
    began = time.perf_counter()
    await ask(request)
    return time.perf_counter() - began


async def time_questions(address: str, pid: int) -> None:
    """Print how long questions take through the mesh, and what memory's process holds after them."""
    chance = random.Random(5)
    lines = _MILLION // _STEPS

    def read() -> ReadTrajectory:
        line = chance.randrange(lines)
        return ReadTrajectory(trajectory=trajectory_id(f"run {line // 1000}", line, 0))

    def recall() -> RecallExperiences:
        return RecallExperiences(prompt=write_prompt(chance, 60))

    async with open_client(address, connect_within_s=60) as mesh:
        await await_memory(mesh)
        print(f"memory's process once it is open: {memory_kib(pid)[0] / 1024:.0f} MiB resident")
        seconds = [await seconds_of(mesh.ask, read()) for _ in range(_QUESTIONS)]
        print(f"trajectory state through the mesh: {describe(seconds)}")
        seconds = [await seconds_of(mesh.ask, recall()) for _ in range(_RECALLS)]
        print(f"recall for 60 words through the mesh: {describe(seconds)}")
        for line in range(lines, lines + 1000):
            for record in records_of(line):
                await mesh.ask(AppendRecord(record=record))
        print(f"after these and {1000 * _STEPS:,} appends: {memory_kib(pid)[0] / 1024:.0f} MiB resident")


def show_million(root: Path) -> None:
    """Print what a million records cost."""
    folder = shard_folder(root, 0)
    fill(folder)
    print(f"open, all bytes verified: {median(time_opening(folder) for _ in range(3)):.2f} s")
    with _Roles(root) as roles:
        trio.run(time_questions, roles.address, roles.memory_pid)
    remove_index(folder / "index.db")
    began = time.perf_counter()
    with open_memory_store(folder) as store:
        seconds = time.perf_counter() - began
        print(f"index rebuilt: {seconds:.1f} s, {store.last / seconds:,.0f} records/s")


def main() -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # Not in /tmp, which may be memory: a sync there costs nothing and proves nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=os.environ.get("GEMS_BENCH_DIR", Path.cwd())) as name:
        show_appends(Path(name))
        show_mesh(Path(name))
        show_million(Path(name) / "million")


if __name__ == "__main__":
    main()
