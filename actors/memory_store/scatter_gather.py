"""Scatter-gather: answers requests to memory as a whole from the replies of its shards."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

from msgspec.structs import replace

from actors.memory_store.full_text import MIN_RELATIVE_LIKENESS
from actors.memory_store.run_tally import merge_figures
from gems_actors.errors import RefusedError
from gems_actors.tasks import gather
from protocol import messages as m
from protocol.limits import MAX_PAGE

ReplyT = TypeVar("ReplyT", bound=m.Reply)

CURSORS_A_SHARD: Final = 1 << 40
"""Factor of a global cursor, which is the shard number times this, plus the shard's own cursor."""
_LAST_CURSOR: Final = CURSORS_A_SHARD - 1
"""Cursor after all that a shard lists backwards."""
_PAGE: Final = 1000


class AskShard(Protocol):
    """Sends a request to the shard that it names."""

    async def __call__(self, request: m.MemoryRequest[ReplyT]) -> ReplyT:
        """Return the reply of that shard."""
        ...


async def answer_from_all_shards(request: m.MemoryRequest[ReplyT], shards: int, ask: AskShard) -> ReplyT:
    """Return the combined reply of all shards to a request that names no shard.

    Raises:
        RequestError: a shard cannot answer, or shards do not answer this type of request.
    """
    return cast(ReplyT, await _answer(request, shards, ask))


async def _answer(request: m.MemoryRequest[Any], shards: int, ask: AskShard) -> m.Reply:
    match request:
        case m.ListTrajectories():
            return await _list_trajectories(request, shards, ask)
        case m.ListRuns():
            return await _list_runs(request, shards, ask)
        case m.CountRecords():
            return await _count_records(request, shards, ask)
        case m.SearchTrajectories():
            return await _search(request, shards, ask)
        case m.ReadRunFigures():
            return merge_figures(await _ask_all(request, shards, ask))
        case m.CountSkills():
            return merge_skill_uses(await _ask_all(request, shards, ask))
        case m.RecallExperiences():
            return merge_recollections(await _ask_all(request, shards, ask), request.limit)
        case m.ReadLog():
            return await ask(replace(request, shard=0))
        case m.ReadTrajectory():
            return await _read_trajectory(request, shards, ask)
        case m.ReadTimeline():
            found = await _ask_all(request, shards, ask)
            return next((timeline for timeline in found if timeline.steps), found[0])
        case m.FindBestAttempt():
            return await _find_best(request, shards, ask)
    raise RefusedError(f"expected a read request to memory, got {type(request).__name__}")


async def _ask_all(request: m.MemoryRequest[ReplyT], shards: int, ask: AskShard) -> tuple[ReplyT, ...]:
    return await gather(*(partial(ask, replace(request, shard=shard)) for shard in range(shards)))


async def _read_trajectory(request: m.ReadTrajectory, shards: int, ask: AskShard) -> m.TrajectoryState:
    states = await _ask_all(request, shards, ask)
    return next((state for state in states if state.began_at is not None), states[0])


async def _find_best(request: m.FindBestAttempt, shards: int, ask: AskShard) -> m.BestAttempt:
    found = await _ask_all(request, shards, ask)
    return next((best for best in found if best.attempt is not None), found[0])


async def _list_trajectories(request: m.ListTrajectories, shards: int, ask: AskShard) -> m.Trajectories:
    """List the trajectories shard by shard, each in its own order."""
    shard, after = divmod(request.after, CURSORS_A_SHARD)
    found: list[Any] = []
    while shard < shards and len(found) < request.limit:
        page = await ask(replace(request, shard=shard, after=after, limit=request.limit - len(found)))
        found += page.trajectories
        if page.next is not None:
            return m.Trajectories(trajectories=tuple(found), next=shard * CURSORS_A_SHARD + page.next)
        shard, after = shard + 1, 0
    return m.Trajectories(trajectories=tuple(found), next=shard * CURSORS_A_SHARD if shard < shards else None)


async def _search(request: m.SearchTrajectories, shards: int, ask: AskShard) -> m.Trajectories:
    """List the trajectories that a search finds shard by shard, of each the latest first."""
    shard, before = divmod(_LAST_CURSOR if request.before is None else request.before, CURSORS_A_SHARD)
    found: list[Any] = []
    while shard < shards and len(found) < request.limit:
        page = await ask(replace(request, shard=shard, before=before, limit=request.limit - len(found)))
        found += page.trajectories
        if page.next is not None:
            return m.Trajectories(trajectories=tuple(found), next=shard * CURSORS_A_SHARD + page.next)
        shard, before = shard + 1, _LAST_CURSOR
    following = shard * CURSORS_A_SHARD + _LAST_CURSOR if shard < shards else None
    return m.Trajectories(trajectories=tuple(found), next=following)


async def _list_runs(request: m.ListRuns, shards: int, ask: AskShard) -> m.Runs:
    """List the runs shard by shard; a run in several shards appears once, with the first, counted over all."""
    cursor: int | None = _LAST_CURSOR if request.before is None else request.before
    runs: tuple[m.RunSummary, ...] = ()
    while cursor is not None and not runs:
        shard, before = divmod(cursor, CURSORS_A_SHARD)
        if shard >= shards:
            return m.Runs(runs=())
        page = await ask(replace(request, shard=shard, before=before))
        runs = await _count_over_all(page.runs, shard, shards, ask)
        if page.next is not None:
            cursor = shard * CURSORS_A_SHARD + page.next
        else:
            cursor = (shard + 1) * CURSORS_A_SHARD + _LAST_CURSOR if shard + 1 < shards else None
    return m.Runs(runs=runs, next=cursor)


async def _count_over_all(
    runs: Sequence[m.RunSummary], shard: int, shards: int, ask: AskShard
) -> tuple[m.RunSummary, ...]:
    """Return the runs of a shard with their counts over all shards, without the runs that an earlier shard lists."""
    found = {run.run: run for run in runs}
    others = [other for other in range(shards) if other != shard] if found else []
    named = m.ListRuns(named=tuple(found), limit=max(len(found), 1))
    known = await gather(*(partial(ask, replace(named, shard=other)) for other in others))
    for other, page in zip(others, known, strict=True):
        for run in page.runs:
            if other < shard:
                found.pop(run.run, None)
            elif run.run in found:
                found[run.run] = merge_runs(found[run.run], run)
    return tuple(found.values())


def merge_runs(first: m.RunSummary, second: m.RunSummary) -> m.RunSummary:
    """Return one run with the counts of two shards."""
    return replace(
        first,
        what=first.what or second.what,
        total=second.total if first.total is None else first.total,
        began_at=min(first.began_at, second.began_at),
        last_at=max(first.last_at, second.last_at),
        **_sums(("running", "ended", "failed", "all_met", "images"), (first, second)),
    )


def _sums(fields: Sequence[str], items: Sequence[object]) -> dict[str, int]:
    return {field: sum(getattr(item, field) for item in items) for field in fields}


async def _count_records(request: m.CountRecords, shards: int, ask: AskShard) -> m.MemoryCounts:
    counts = await _ask_all(request, shards, ask)
    runs = 0
    page = m.Runs(runs=(), next=_LAST_CURSOR)
    while page.next is not None:
        page = await _list_runs(m.ListRuns(before=page.next, limit=_PAGE), shards, ask)
        runs += len(page.runs)
    summed = ("records", "archived", "running", "ended", "failed", "recallable", "log_bytes", "index_bytes")
    return m.MemoryCounts(runs=runs, shards=shards, **_sums(summed, counts))


def merge_skill_uses(found: Sequence[m.SkillUses]) -> m.SkillUses:
    """Return the uses of skills over several memories, those chosen last first, and all of their latest trials."""
    uses: dict[tuple[str, str], m.SkillUse] = {}
    for use in (use for part in found for use in part.uses):
        known = uses.get((use.skill, use.digest))
        uses[use.skill, use.digest] = use if known is None else merge_uses(known, use)
    trials = sorted((trial for part in found for trial in part.trials), key=lambda trial: trial.at)
    latest = sorted(uses.values(), key=lambda use: -use.last_at)
    return m.SkillUses(uses=tuple(latest[:MAX_PAGE]), trials=tuple(trials[-MAX_PAGE:]))


def merge_uses(first: m.SkillUse, second: m.SkillUse) -> m.SkillUse:
    """Return one use of a skill with the counts of two."""
    last_at = max(first.last_at, second.last_at)
    return replace(first, last_at=last_at, **_sums(("chosen", "fixed"), (first, second)))


def merge_recollections(found: tuple[m.Recollection, ...], limit: int) -> m.Recollection:
    """Return the lessons of the most similar prompts of all shards, and the evidence of shards that come close."""
    likeness = max(recalled.likeness for recalled in found)
    least = MIN_RELATIVE_LIKENESS * likeness
    similar = [recalled for recalled in found if recalled.trajectories and recalled.likeness >= least]
    lessons = [experience for recalled in similar for experience in recalled.experiences]
    by_text: dict[str, m.RecalledExperience] = {}
    for experience in sorted(lessons, key=lambda lesson: -lesson.likeness):
        if experience.likeness >= least:
            by_text.setdefault(experience.text, experience)
    return m.Recollection(
        experiences=tuple(by_text.values())[:limit],
        trajectories=sum(recalled.trajectories for recalled in similar),
        gained=sum(recalled.gained for recalled in similar),
        likeness=likeness,
    )
