"""The routes of the page: its files, and runs, trajectories and the mesh in JSON."""

from __future__ import annotations

import re
from typing import Final

import msgspec
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gems_actors.app.mesh_requests import ask_within
from gems_actors.app.picture_files import ENDINGS, PictureFormat
from gems_actors.client import Mesh
from gems_actors.errors import RequestError
from gems_actors.gateway.answers import json_answer
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.front import caller_of
from gems_actors.gateway.page.files import POLICY, read_files
from gems_actors.gateway.page.trees import best_of, lessons_tree, mesh_tree, trajectory_tree
from gems_actors.gateway.run_names import is_run_of
from protocol.messages import (
    ListRuns,
    ListTrajectories,
    ReadStatus,
    ReadTrajectory,
    RecallExperiences,
    ReplyT,
    TrajectoryState,
    TrajectoryStatus,
)
from protocol.messages import Request as MeshRequest

STATIC_PATH: Final = "/static/"
_PAGE: Final = 50
_LESSONS: Final = 20
_THUMBNAIL_PX: Final = 240
_ID: Final = re.compile(r"[0-9a-f]{32}")
_IMAGE: Final = re.compile(r"(\d{1,6})-(\d{1,6})")
_NUMBER: Final = re.compile(r"\d{1,15}")
_STATUSES: Final[tuple[TrajectoryStatus, ...]] = ("running", "ended", "failed")
_MAX_QUERY_CHARS: Final = 2000
_FORMATS: Final[dict[str, PictureFormat]] = {f"image/{name}": name for name in ENDINGS}


class PageRoutes:
    """Answers the page of a browser."""

    def __init__(self, mesh: Mesh, draws: Draws, *, shows_own_only: bool) -> None:
        """Read the files; `shows_own_only`: callers see the runs that they began with their token, and no others."""
        self._mesh, self._draws, self._shows_own_only = mesh, draws, shows_own_only
        self._files = read_files()

    def routes(self) -> list[Route]:
        """Return the table of these routes."""
        return [
            Route("/", self.show_page),
            Route(STATIC_PATH + "{name}", self.show_file),
            Route("/v1/gems/runs", self.list_runs),
            Route("/v1/gems/runs/{run}", self.show_run),
            Route("/v1/gems/trajectories/{id}", self.show_trajectory),
            Route("/v1/gems/trajectories/{id}/images/{name}", self.show_image),
            Route("/v1/gems/trajectories/{id}/thumbnail", self.show_thumbnail),
            Route("/v1/gems/lessons", self.recall),
            Route("/v1/gems/mesh", self.show_mesh),
        ]

    async def show_page(self, request: Request) -> Response:
        """Send the page itself."""
        return await self._send(request, "index.html")

    async def show_file(self, request: Request) -> Response:
        """Send a file of the page."""
        return await self._send(request, str(request.path_params["name"]))

    async def list_runs(self, request: Request) -> Response:
        """List a page of the caller's runs, the latest first."""
        found = await self._ask(ListRuns(before=_number(request, "before"), limit=_PAGE))
        runs = [msgspec.to_builtins(run) for run in found.runs if self._may_see(request, run.run)]
        return json_answer({"runs": runs, "next": found.next})

    async def show_run(self, request: Request) -> Response:
        """Describe a run, with a page of its trajectories."""
        run, status = str(request.path_params["run"]), _status_of(request)
        found = [] if len(run) > 128 or not self._may_see(request, run) else await self._summaries(run)
        if not found:
            raise ApiError(404, "run: expected one that memory has, got another", code="not_found")
        after = _number(request, "after") or 0
        page = await self._ask(ListTrajectories(of_run=run, status=status, after=after, limit=_PAGE))
        trajectories = [msgspec.to_builtins(item) for item in page.trajectories]
        return json_answer({**found[0], "trajectories": trajectories, "next": page.next})

    async def show_trajectory(self, request: Request) -> Response:
        """Describe a trajectory, round by round."""
        return json_answer(trajectory_tree(str(request.path_params["id"]), await self._read(request)))

    async def show_image(self, request: Request) -> Response:
        """Send an image of a trajectory by its round and candidate; it never changes."""
        match = _IMAGE.fullmatch(str(request.path_params["name"]))
        key = (int(match[1]), int(match[2])) if match else (0, 0)
        state = await self._read(request)
        image = next((item.image for item in state.attempts if (item.round, item.candidate) == key), None)
        picture_format = _FORMATS.get(image.media_type) if image else None
        if image is None or picture_format is None:
            raise ApiError(404, "image: expected one that the trajectory has, got another", code="not_found")
        try:
            data = await self._draws.read_image(image, picture_format, None)
        except RequestError as error:
            raise api_error_of(error) from error
        return Response(data, headers={"cache-control": "private, max-age=86400"}, media_type=image.media_type)

    async def show_thumbnail(self, request: Request) -> Response:
        """Send a small version of the chosen image of a trajectory, or of its best one so far."""
        state = await self._read(request)
        if (best := best_of(state)) is None:
            raise ApiError(404, "thumbnail: expected a trajectory with an image, got none yet", code="not_found")
        try:
            data = await self._draws.read_thumbnail(best.image, _THUMBNAIL_PX)
        except RequestError as error:
            raise api_error_of(error) from error
        kept = "no-store" if state.ending is None else "private, max-age=3600"
        return Response(data, headers={"cache-control": kept}, media_type="image/webp")

    async def recall(self, request: Request) -> Response:
        """List lessons of trajectories with similar prompts."""
        query = request.query_params.get("q", "").strip()
        if not 0 < len(query) <= _MAX_QUERY_CHARS:
            raise ApiError(400, f"q: expected 1 to {_MAX_QUERY_CHARS} characters", code="invalid_value", param="q")
        found = (await self._ask(RecallExperiences(prompt=query, limit=_LESSONS))).experiences
        if self._shows_own_only:
            owned = []
            for lesson in found:
                state = await self._ask(ReadTrajectory(trajectory=lesson.trajectory))
                if state.task is not None and self._may_see(request, state.task.run):
                    owned.append(lesson)
            found = tuple(owned)
        return json_answer({"lessons": lessons_tree(found)})

    async def show_mesh(self, request: Request) -> Response:
        """Describe the mesh."""
        return json_answer(mesh_tree(await self._ask(ReadStatus())))

    async def _send(self, request: Request, name: str) -> Response:
        await trio.lowlevel.checkpoint()
        if (file := self._files.get(name)) is None:
            raise ApiError(404, "file: expected one of the page, got another", code="not_found")
        headers = {
            "content-security-policy": POLICY,
            "referrer-policy": "no-referrer",
            "cache-control": "no-cache",
            "etag": file.tag,
        }
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.data, headers=headers, media_type=file.media_type)

    async def _summaries(self, run: str) -> list[dict[str, object]]:
        return [msgspec.to_builtins(item) for item in (await self._ask(ListRuns(named=(run,), limit=1))).runs]

    async def _read(self, request: Request) -> TrajectoryState:
        """Return a trajectory that the caller may see; those of others are answered as those that do not exist."""
        id_ = str(request.path_params["id"])
        state = await self._ask(ReadTrajectory(trajectory=id_)) if _ID.fullmatch(id_) else TrajectoryState()
        if state.task is None or not self._may_see(request, state.task.run):
            raise ApiError(404, "trajectory: expected one that memory has, got another", code="not_found")
        return state

    def _may_see(self, request: Request, run: str) -> bool:
        return not self._shows_own_only or is_run_of(caller_of(request), run)

    async def _ask(self, message: MeshRequest[ReplyT]) -> ReplyT:
        try:
            return await ask_within(self._mesh, message)
        except RequestError as error:
            raise api_error_of(error) from error


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise ApiError(400, f"{name}: expected a cursor of an earlier page", code="invalid_value", param=name)
    return int(text)


def _status_of(request: Request) -> TrajectoryStatus | None:
    text = request.query_params.get("status")
    found = next((status for status in _STATUSES if status == text), None)
    if text is not None and found is None:
        raise ApiError(400, f"status: expected one of {', '.join(_STATUSES)}", code="invalid_value", param="status")
    return found
