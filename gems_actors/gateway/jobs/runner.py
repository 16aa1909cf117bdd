"""Runs jobs: draws their pictures in the bulk lane, keeps their files, and goes on with those of an earlier gateway."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
import trio

from gems_actors.app.draw_progress import count_met, leading_attempt
from gems_actors.app.mesh_requests import ask_within
from gems_actors.app.references.pictures import Reference
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import LogError, OverloadedError, RequestError
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.jobs import webhooks
from gems_actors.gateway.jobs.event_log import EventLog
from gems_actors.gateway.jobs.records import Job, JobPicture, ShownRound, picture_tree, round_tree, summary_of
from gems_actors.gateway.jobs.store import JobStore
from gems_actors.gateway.jobs.views import JobView
from gems_actors.gateway.page.trees import trajectory_tree
from gems_actors.gateway.tokens import Caller
from gems_actors.tasks import open_background
from protocol.envelope import Lane
from protocol.messages import (
    AppendRecord,
    Attempt,
    AttemptVerified,
    ControlRun,
    Event,
    ReadTrajectory,
    RunBegun,
    StepTaken,
    TrajectoryRecord,
)

MAX_RUNNING: Final = 1000
MAX_KEPT: Final = 1000
"""Jobs that are over; the oldest are forgotten first."""
_SAVE_S: Final = 1.0
_RETRY_S: Final = 5.0

_log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class LiveJob:
    """A job of this gateway."""

    job: Job
    events: EventLog
    view: JobView
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_dirty: bool = False
    """Whether its file is older than it."""


class Jobs:
    """All jobs by id; `run` must run meanwhile."""

    def __init__(
        self,
        config: MeshConfig,
        mesh: Mesh,
        draws: Draws,
        find_caller: Callable[[str], Caller],
        *,
        webhook_delays_s: Sequence[float] = webhooks.DELAYS_S,
    ) -> None:
        """Start without jobs; `find_caller` raises ApiError for a name that has no token any more."""
        self._mesh, self._draws, self._find_caller = mesh, draws, find_caller
        self._delays_s = webhook_delays_s
        self._store = JobStore(config.data_path / "gateway" / "jobs")
        self._room = trio.CapacityLimiter(config.gateway.max_draws)
        self._boot = secrets.token_hex(4)
        self._jobs: dict[str, LiveJob] = {}
        self._nursery: trio.Nursery

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run jobs until cancelled, those of an earlier gateway first.

        Raises:
            ConfigError: the folder of jobs cannot be written to.
        """
        await trio.to_thread.run_sync(self._store.open)
        async with trio.open_nursery() as self._nursery:
            for job in await trio.to_thread.run_sync(lambda: [*self._store.read_all()]):
                self._start(job)
            self._nursery.start_soon(self._save_often)
            task_status.started()

    def close_events(self) -> None:
        """End the streams of events, which would keep a gateway that drains waiting."""
        for live in self._jobs.values():
            live.events.close()
            live.view.close()

    def of(self, caller: Caller) -> list[Job]:
        """Return the jobs of a caller, the newest first."""
        return [live.job for live in reversed(self._jobs.values()) if live.job.caller == caller.name]

    def find(self, caller: Caller, id_: str) -> LiveJob:
        """Return a job of a caller.

        Raises:
            ApiError: the caller has no such job.
        """
        live = self._jobs.get(id_)
        if live is None or not (caller.is_admin or live.job.caller == caller.name):
            raise ApiError(404, f"job: expected one of yours, got {id_[:100]!r}", code="not_found")
        return live

    async def add(self, job: Job, references: Sequence[Reference] = ()) -> LiveJob:
        """Start a job once its file and references are durable, or return the one that the same request has started.

        Raises:
            ApiError: another request has started a job with this key.
            OverloadedError: too many jobs run.
            BlobError, LogError: a reference, or its file, cannot be written.
        """
        if (known := self._jobs.get(job.id)) is not None:
            if known.job.body_digest != job.body_digest:
                raise ApiError(409, "idempotency-key: expected the body that it was first sent with", code="key_reused")
            return known
        if sum(not live.job.is_over for live in self._jobs.values()) >= MAX_RUNNING:
            raise OverloadedError(f"expected fewer than {MAX_RUNNING} jobs, got one more", 60.0)
        await self._draws.keep(references)
        await self._store.write(job)
        if (known := self._jobs.get(job.id)) is not None:  # begun meanwhile, with the same key
            return known
        self._forget_old()
        return self._start(job)

    async def cancel(self, live: LiveJob) -> None:
        """Withdraw what a job has in flight; what it has drawn stays."""
        if not live.job.is_over:
            live.job.end(time.time(), is_cancelled=True)
            live.scope.cancel()
            await self._finish(live)

    async def retry(self, live: LiveJob) -> None:
        """Draw again what has failed or was withdrawn; nothing happens while a job runs or if all is drawn.

        Raises:
            RequestError: the router does not let a run that was cancelled go on.
        """
        job = live.job
        if not job.is_over or not job.unfinished:
            return
        await self._mesh.ask(ControlRun(run=job.run, action="resume", by=job.caller))
        if job.status == "running":  # another request was faster
            return
        job.begin_again()
        live.scope, live.is_dirty = trio.CancelScope(), True
        live.events.add("job.retried", summary_of(job, ""))
        live.view.touch(*(job.task(picture).trajectory for picture in job.unfinished))
        self._nursery.start_soon(self._run, live)

    def watch(self, live: LiveJob) -> AbstractContextManager[JobView]:
        """Keep the view of a job up to date within the block."""
        return live.view.watched(self._nursery)

    def _start(self, job: Job) -> LiveJob:
        live = self._jobs[job.id] = LiveJob(job, EventLog(self._boot), JobView(job, self._read_trajectory))
        if not job.is_over:
            self._nursery.start_soon(self._run, live)
        elif job.webhook is not None and not job.is_reported:
            self._nursery.start_soon(self._report, live)
        return live

    async def _run(self, live: LiveJob) -> None:
        job = live.job
        with live.scope:
            await self._begin(job)
            async with self._mesh.events(job.run) as events, open_background() as watching:
                watching.start_soon(self._note_rounds, live, events)
                async with trio.open_nursery() as drawing:
                    for picture in job.pictures:
                        if picture.status == "waiting":
                            await self._room.acquire_on_behalf_of((job.id, picture.name))
                            drawing.start_soon(self._draw, live, picture)
            job.end(time.time())
            await self._finish(live)

    async def _begin(self, job: Job) -> None:
        """Tell memory of the run, however long memory is away."""
        total = len(job.pictures)
        begun = RunBegun(run=job.run, what=job.pictures[0].prompt, total=total, references=job.references)
        while True:
            try:
                await self._mesh.ask(AppendRecord(record=begun), lane=Lane.BULK)
                return
            except RequestError as error:
                _log.warning("job_waits", job=job.id, reason=str(error))
                await trio.sleep(_RETRY_S)

    async def _draw(self, live: LiveJob, picture: JobPicture) -> None:
        job = live.job
        try:
            task = job.task(picture)
            drawn = await self._draws.draw_one(self._find_caller(job.caller), task)
            picture.status, picture.image = "done", drawn.best.image
            picture.revised_prompt, picture.story = drawn.final_prompt, self._draws.story_of(drawn, task)
            rounds: dict[int, list[Attempt]] = {}
            for attempt in drawn.attempts:
                rounds.setdefault(attempt.round, []).append(attempt)
            picture.rounds = [_shown(attempts) for _, attempts in sorted(rounds.items())]
        except (ApiError, RequestError) as error:
            found = error if isinstance(error, ApiError) else api_error_of(error)
            picture.status, picture.error = "failed", found.tree["error"]
        finally:
            self._room.release_on_behalf_of((job.id, picture.name))
        live.is_dirty = True
        live.events.add(f"picture.{picture.status}", picture_tree(job, picture, ""))
        live.view.touch(job.task(picture).trajectory)

    async def _note_rounds(self, live: LiveJob, events: trio.MemoryReceiveChannel[Event]) -> None:
        """Add an event for each round that is judged; one that is lost is in the picture at the end."""
        job = live.job
        by_trajectory = {job.task(picture).trajectory: picture for picture in job.pictures}
        attempts: dict[tuple[str, int], list[Attempt]] = {}
        async for event in events:
            record = event.record if isinstance(event, StepTaken) else None
            if isinstance(record, TrajectoryRecord):
                live.view.touch(record.trajectory)
            if not isinstance(record, AttemptVerified):
                continue
            picture = by_trajectory.get(record.trajectory)
            if picture is None or picture.status != "waiting":
                continue
            judged = attempts.setdefault((record.trajectory, record.attempt.round), [])
            judged.append(record.attempt)
            if len(judged) == job.settings.candidates:
                del attempts[record.trajectory, record.attempt.round]
                shown = _shown(judged)
                picture.rounds = [*(known for known in picture.rounds if known.round != shown.round), shown]
                live.is_dirty = True
                address = f"/v1/gems/jobs/{job.id}/pictures/{picture.name}"
                about = {"index": picture.index, "sample": picture.sample}
                live.events.add("picture.round", about | round_tree(job, shown, address))

    async def _finish(self, live: LiveJob) -> None:
        """Keep the end of a job, and report it."""
        _log.info("job_ended", job=live.job.id, status=live.job.status)
        live.events.add("job.ended", summary_of(live.job, ""))
        live.view.touch()
        live.is_dirty = True
        await self._save(live)
        if live.job.webhook is not None:
            self._nursery.start_soon(self._report, live)

    async def _report(self, live: LiveJob) -> None:
        job = live.job
        assert job.webhook is not None
        data: dict[str, Any] = {"id": job.id, "object": "event", "type": f"gems.job.{job.status}"}
        body = msgspec.json.encode(data | {"created_at": int(job.ended_at or 0), "data": summary_of(job, "")})
        id_ = f"{job.id}-{job.retries}" if job.retries else job.id  # each end of a job is reported for itself
        await webhooks.report(job.webhook, id_, body, self._delays_s)
        job.is_reported, live.is_dirty = True, True

    async def _read_trajectory(self, id_: str) -> dict[str, Any]:
        return trajectory_tree(id_, await ask_within(self._mesh, ReadTrajectory(trajectory=id_)))

    async def _save_often(self) -> None:
        while True:
            await trio.sleep(_SAVE_S)
            for live in [*self._jobs.values()]:
                await self._save(live)

    async def _save(self, live: LiveJob) -> None:
        if live.is_dirty and self._jobs.get(live.job.id) is live:
            live.is_dirty = False
            try:
                await self._store.write(live.job)
            except LogError as error:
                live.is_dirty = True
                _log.error("job_not_saved", job=live.job.id, reason=str(error))

    def _forget_old(self) -> None:
        over = [live for live in self._jobs.values() if live.job.is_over]
        for live in over[: max(0, len(over) - MAX_KEPT)]:
            del self._jobs[live.job.id]
            self._store.remove(live.job)


def _shown(attempts: list[Attempt]) -> ShownRound:
    best = leading_attempt(attempts)
    assert best is not None
    return ShownRound(
        round=best.round,
        prompt=best.shown_prompt,
        met=count_met(best),
        requirements=len(best.verdicts),
        image=best.image,
    )
