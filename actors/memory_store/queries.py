"""Answers the requests to memory from one store, both for the actor and for a command that opened the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from msgspec.structs import replace

from actors.fitting import fit_frame
from actors.memory_store.full_text import WordIndex
from actors.memory_store.replay import assemble_state, lesson_outcomes
from actors.memory_store.store import MemoryStore
from actors.memory_store.timeline import timeline_of
from actors.ranking import choose_best
from protocol import messages as m

ReplyT = TypeVar("ReplyT", bound=m.Reply)

_MAX_REPLY_BYTES: Final = 1024 * 1024
MAX_SIMILAR: Final = 16
"""Maximum number of similar trajectories that one recollection considers."""
_BEHIND_ALL: Final = 2**62
"""A number that no trajectory has."""


def _find_best(store: MemoryStore, request: m.FindBestAttempt) -> m.BestAttempt:
    state = assemble_state(store.read(request.trajectory))
    if not state.attempts:
        return m.BestAttempt(attempt=None, decided_by="nothing has been drawn yet")
    attempt, decided_by = choose_best(state.attempts)
    return m.BestAttempt(attempt=attempt, decided_by=decided_by)


def _read_log(store: MemoryStore, request: m.ReadLog) -> m.LoggedRecords:
    """Return the records after a sequence, without waiting."""
    records = store.read_since(request.since, request.limit, _MAX_REPLY_BYTES)
    if request.shard:
        records = [replace(found, shard=request.shard) for found in records]
    return m.LoggedRecords(records=tuple(records), last=store.last)


def _count_records(store: MemoryStore) -> m.MemoryCounts:
    return m.MemoryCounts(
        records=store.last,
        log_bytes=store.live.end,
        index_bytes=store.index.path.stat().st_size if store.index.path.exists() else 0,
        **store.index.counts(),
    )


def recollect(store: MemoryStore, similar: Mapping[int, float], limit: int) -> m.Recollection:
    """Return the most effective lesson of each similar trajectory, up to `limit`, and how many of them have one.

    `similar` has the likeness of each trajectory by its number in the index, best first.
    """
    experiences: dict[str, m.RecalledExperience] = {}
    gained = 0
    for id_, likeness in zip(store.index.ids([*similar]), similar.values(), strict=True):
        state = assemble_state(store.read(id_))
        lessons = lesson_outcomes(state)
        if state.task is None or not lessons:
            continue
        best = max(lessons, key=lambda lesson: (lesson.gain, lesson.experience.round))
        if best.gain <= 0:
            continue
        gained += 1
        text = best.experience.text
        if len(experiences) < limit and text not in experiences:
            experiences[text] = m.RecalledExperience(
                trajectory=state.task.trajectory,
                prompt=state.request_prompt,
                round=best.experience.round,
                text=text,
                met_before=best.met_before,
                met_after=best.met_after,
                requirements=best.requirements,
                likeness=likeness,
            )
    return m.Recollection(
        experiences=tuple(experiences.values()),
        trajectories=len(similar),
        gained=gained,
        likeness=max(similar.values(), default=0.0),
    )


def search(store: MemoryStore, numbers: Sequence[int], request: m.SearchTrajectories) -> m.Trajectories:
    """Return the page of trajectories that a search found by their numbers in the index."""
    return store.index.summaries(numbers, request.limit)


def find_words(words: WordIndex, request: m.SearchTrajectories) -> list[int]:
    """Return the numbers of the trajectories that a request searches for, and of the first one of the next page."""
    before = _BEHIND_ALL if request.before is None else request.before
    return words.find_words(request.words, before, request.limit + 1)


def answer(store: MemoryStore, request: m.Request[ReplyT]) -> ReplyT:
    """Return the reply to any read request.

    Raises:
        TypeError: the request is not a read request to memory.
    """
    return cast(ReplyT, _answer(store, request))


def _answer(store: MemoryStore, request: m.Request[Any]) -> m.Reply:
    match request:
        case m.ReadTrajectory():
            return fit_frame(assemble_state(store.read(request.trajectory)))
        case m.ReadTimeline():
            return timeline_of(store.read(request.trajectory))
        case m.FindBestAttempt():
            return _find_best(store, request)
        case m.ListTrajectories():
            return store.index.list_trajectories(request)
        case m.ListRuns():
            return store.index.list_runs(request)
        case m.ReadLog():
            return _read_log(store, request)
        case m.CountRecords():
            return _count_records(store)
        case m.ReadRunFigures():
            return store.index.run_figures(request.of_run)
        case m.SearchTrajectories():
            store.index.flush()
            return search(store, find_words(WordIndex(store.index.connection), request), request)
        case m.CountSkills():
            return m.SkillUses(uses=store.index.skill_uses(), trials=store.read_skill_trials())
        case m.RecallExperiences():
            store.index.flush()
            similar = WordIndex(store.index.connection).find_similar(request.prompt, MAX_SIMILAR)
            return recollect(store, similar, request.limit)
    raise TypeError(f"memory does not answer {type(request).__name__}")
