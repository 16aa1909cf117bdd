"""The routes of jobs: `/v1/gems/jobs` and below."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gems_actors.config import MeshConfig
from gems_actors.errors import RequestError
from gems_actors.gateway.answers import Emit, EventStream, FileStream, json_answer
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.edits.uploads import MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S, UploadRoom
from gems_actors.gateway.front import caller_of, read_body
from gems_actors.gateway.image_request import parse_json
from gems_actors.gateway.jobs.archive import write_archive
from gems_actors.gateway.jobs.parsing import parse_job
from gems_actors.gateway.jobs.records import description_of, summary_of
from gems_actors.gateway.jobs.runner import Jobs, LiveJob

_PAGE: Final = 20
_PICTURE: Final = re.compile(r"(\d{1,6}-\d{1,6})(?:-(\d{1,3}))?\.(png|jpeg|webp)")


class JobRoutes:
    """Answers requests about jobs."""

    def __init__(self, config: MeshConfig, jobs: Jobs, draws: Draws, uploads: UploadRoom) -> None:
        self._config, self._jobs, self._draws, self._uploads = config, jobs, draws, uploads

    def routes(self) -> list[Route]:
        """Return the table of these routes."""
        path = "/v1/gems/jobs"
        return [
            Route(path, self.create, methods=["POST"]),
            Route(path, self.list, methods=["GET"]),
            Route(path + "/{id}", self.show, methods=["GET"]),
            Route(path + "/{id}", self.cancel, methods=["DELETE"]),
            Route(path + "/{id}/retry", self.retry, methods=["POST"]),
            Route(path + "/{id}/events", self.follow),
            Route(path + "/{id}/view", self.view),
            Route(path + "/{id}/zip", self.archive),
            Route(path + "/{id}/pictures/{name}", self.picture),
        ]

    async def create(self, request: Request) -> Response:
        """Start a job, and answer before anything is drawn."""
        caller, key = caller_of(request), request.headers.get("idempotency-key")
        with self._uploads.hold() as take:
            tree = parse_json(await read_body(request, MAX_UPLOAD_BYTES, UPLOAD_TIMEOUT_S, room=take))
            limiter = self._uploads.decoding if "image" in tree else None
            parse = partial(parse_job, tree, self._config, caller=caller.name, key=key, now=time.time())
            job, references = await trio.to_thread.run_sync(parse, limiter=limiter)
        try:
            live = await self._jobs.add(job, references)
        except RequestError as error:
            raise api_error_of(error) from error
        return json_answer(description_of(live.job, _base(request)), 202, {"location": f"/v1/gems/jobs/{live.job.id}"})

    async def list(self, request: Request) -> Response:
        """List the caller's jobs, the newest first; `after` is the id of the last one of the page before."""
        await trio.lowlevel.checkpoint()
        jobs = self._jobs.of(caller_of(request))
        after = request.query_params.get("after")
        ids = [job.id for job in jobs]
        if after is not None and after not in ids:
            raise ApiError(400, "after: expected the id of a job", code="invalid_value", param="after")
        start = 0 if after is None else ids.index(after) + 1
        page = jobs[start : start + _PAGE]
        data = [summary_of(job, _base(request)) for job in page]
        return json_answer({"object": "list", "data": data, "has_more": start + _PAGE < len(jobs)})

    async def show(self, request: Request) -> Response:
        """Describe a job and its pictures."""
        await trio.lowlevel.checkpoint()
        return json_answer(description_of(self._find(request).job, _base(request)))

    async def cancel(self, request: Request) -> Response:
        """Cancel a job; one that is over stays as it is."""
        live = self._find(request)
        await self._jobs.cancel(live)
        return json_answer(summary_of(live.job, _base(request)))

    async def retry(self, request: Request) -> Response:
        """Draw again what a job that is over has not drawn; one that runs stays as it is."""
        live = self._find(request)
        for name in parse_json(await read_body(request) or b"{}"):  # what is drawn again keeps its settings
            raise ApiError(400, f"{name}: expected no fields to retry a job", code="invalid_value", param=name)
        try:
            await self._jobs.retry(live)
        except RequestError as error:
            raise api_error_of(error) from error
        return json_answer(summary_of(live.job, _base(request)), 202)

    async def view(self, request: Request) -> Response:
        """Stream what the page shows of a job: everything, then what changes, at most four times a second."""
        await trio.lowlevel.checkpoint()
        live = self._find(request)

        async def follow(emit: Emit) -> None:
            with self._jobs.watch(live) as view:
                await view.follow(emit)

        return EventStream(follow)

    async def follow(self, request: Request) -> Response:
        """Stream the events of a job, those after `Last-Event-ID` if they are known, else first the whole job."""
        await trio.lowlevel.checkpoint()
        live = self._find(request)
        position = live.events.position_of(request.headers.get("last-event-id"))
        if live.job.is_over and position == live.events.last:
            return Response(status_code=204)  # which tells a client not to connect again
        return EventStream(partial(_follow, live, position, _base(request)))

    async def archive(self, request: Request) -> Response:
        """Send a job that is over as a zip file."""
        await trio.lowlevel.checkpoint()
        job = self._find(request).job
        if not job.is_over:
            raise ApiError(409, f"job: expected one that is over, got {job.status}", code="not_over", retry_after_s=10)
        write = partial(write_archive, job, self._draws, _base(request))
        return FileStream(write, "application/zip", f"{job.id}.zip")

    async def picture(self, request: Request) -> Response:
        """Send a picture of a job, or the best image of one of its rounds."""
        job, match = self._find(request).job, _PICTURE.fullmatch(str(request.path_params["name"]))
        picture = None if match is None else job.find(match[1])
        image = None
        if picture is not None and match is not None and match[3] == job.picture_format:
            shown = {str(found.round): found.image for found in picture.rounds}
            image = picture.image if match[2] is None else shown.get(match[2])
        if image is None:
            raise ApiError(404, "picture: expected an address that the job has, got another", code="not_found")
        try:
            data = await self._draws.read_image(image, job.picture_format, job.compression)
        except RequestError as error:
            raise api_error_of(error) from error
        headers = {"cache-control": "private, max-age=3600"}
        return Response(data, headers=headers, media_type=f"image/{job.picture_format}")

    def _find(self, request: Request) -> LiveJob:
        return self._jobs.find(caller_of(request), str(request.path_params["id"]))


async def _follow(live: LiveJob, position: int | None, base: str, emit: Emit) -> None:
    """Emit the events of a job until it is over, or this gateway ends: the client goes on at the next one."""
    while not live.events.is_closed:
        if position is None or not live.events.has_all_after(position):
            position = live.events.last
            await emit("job.snapshot", description_of(live.job, base), live.events.id_of(position))
        for number, event, tree in live.events.after(position):
            await emit(event, tree, live.events.id_of(number))
            position = number
        if position == live.events.last:
            if live.job.is_over:
                return
            await live.events.changed()


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
