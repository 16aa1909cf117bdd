"""What is asked of memory, answered from its store; the same for the actor and for a command that has the folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from actors.memory_store.full_text import WordIndex
from actors.memory_store.replay import assemble_state, lessons_of
from actors.memory_store.store import MemoryStore
from actors.ranking import choose_best
from protocol.messages import (
    BestAttempt,
    CountRecords,
    FindBestAttempt,
    ListRuns,
    ListTrajectories,
    LoggedRecords,
    MemoryCounts,
    ReadLog,
    ReadTrajectory,
    RecalledExperience,
    RecallExperiences,
    Recollection,
    Reply,
    Request,
    Runs,
    Trajectories,
    TrajectoryState,
)

ReplyT = TypeVar("ReplyT", bound=Reply)

_MAX_REPLY_BYTES: Final = 1024 * 1024
MAX_ALIKE: Final = 16
"""Trajectories that are looked at for one recollection."""


def read_trajectory(store: MemoryStore, request: ReadTrajectory) -> TrajectoryState:
    """Return all that is kept of a trajectory."""
    return assemble_state(store.read(request.trajectory))


def find_best(store: MemoryStore, request: FindBestAttempt) -> BestAttempt:
    """Return the attempt that is the picture so far."""
    state = assemble_state(store.read(request.trajectory))
    if not state.attempts:
        return BestAttempt(attempt=None, decided_by="nothing has been drawn yet")
    attempt, decided_by = choose_best(state.attempts)
    return BestAttempt(attempt=attempt, decided_by=decided_by)


def list_trajectories(store: MemoryStore, request: ListTrajectories) -> Trajectories:
    """Return a page of trajectories."""
    return store.index.list_trajectories(request)


def list_runs(store: MemoryStore, request: ListRuns) -> Runs:
    """Return a page of runs."""
    return store.index.list_runs(request)


def read_log(store: MemoryStore, request: ReadLog) -> LoggedRecords:
    """Return the records behind a place that are there now."""
    records = store.read_since(request.since, request.limit, _MAX_REPLY_BYTES)
    if request.shard:
        records = [replace(found, shard=request.shard) for found in records]
    return LoggedRecords(records=tuple(records), last=store.last)


def count_records(store: MemoryStore, request: CountRecords) -> MemoryCounts:
    """Return how much there is."""
    return MemoryCounts(
        records=store.last,
        log_bytes=store.live.end,
        index_bytes=store.index.path.stat().st_size if store.index.path.exists() else 0,
        **store.index.counts(),
    )


def recall(store: MemoryStore, request: RecallExperiences, words: WordIndex) -> Recollection:
    """Return lessons for a prompt."""
    store.index.flush()
    return recollect(store, words.alike(request.prompt, MAX_ALIKE), request.limit)


def recollect(store: MemoryStore, alike: Mapping[int, float], limit: int) -> Recollection:
    """Return the lesson that gained most of each of some trajectories, in their order, and the evidence of them all.

    Args:
        store: has them.
        alike: numbers in its index with their likeness, the most alike first.
        limit: of the lessons.
    """
    experiences: dict[str, RecalledExperience] = {}
    gained = 0
    for id_, likeness in zip(store.index.ids([*alike]), alike.values(), strict=True):
        state = assemble_state(store.read(id_))
        lessons = lessons_of(state)
        if state.task is None or not lessons:
            continue
        best = max(lessons, key=lambda lesson: (lesson.gain, lesson.experience.round))
        if best.gain <= 0:
            continue
        gained += 1
        text = best.experience.text
        if len(experiences) < limit and text not in experiences:
            experiences[text] = RecalledExperience(
                trajectory=state.task.trajectory,
                prompt=state.task.prompt,
                round=best.experience.round,
                text=text,
                met_before=best.met_before,
                met_after=best.met_after,
                requirements=best.requirements,
                likeness=likeness,
            )
    return Recollection(
        experiences=tuple(experiences.values()),
        trajectories=len(alike),
        gained=gained,
        likeness=max(alike.values(), default=0.0),
    )


def answer(store: MemoryStore, request: Request[ReplyT]) -> ReplyT:
    """Return the reply to any question about the past.

    Raises:
        TypeError: it is another request.
    """
    return cast(ReplyT, _answer(store, request))


def _answer(store: MemoryStore, request: Request[Any]) -> Reply:
    match request:
        case ReadTrajectory():
            return read_trajectory(store, request)
        case FindBestAttempt():
            return find_best(store, request)
        case ListTrajectories():
            return list_trajectories(store, request)
        case ListRuns():
            return list_runs(store, request)
        case ReadLog():
            return read_log(store, request)
        case CountRecords():
            return count_records(store, request)
        case RecallExperiences():
            return recall(store, request, WordIndex(store.index.connection))
    raise TypeError(f"memory does not answer {type(request).__name__}")
