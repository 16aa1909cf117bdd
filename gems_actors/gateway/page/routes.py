"""The routes of the page: its files, and runs, trajectories and the mesh in JSON."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Final, TypeVar

import msgspec
import trio
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gems_actors.app.mesh_requests import ask_within
from gems_actors.app.picture_files import ENDINGS, PictureFormat
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import RequestError
from gems_actors.gateway.answers import json_answer, json_bytes
from gems_actors.gateway.api_errors import ApiError, api_error_of
from gems_actors.gateway.draws import Draws
from gems_actors.gateway.front import caller_of, read_body
from gems_actors.gateway.image_request import parse_fields
from gems_actors.gateway.page.files import POLICY, read_files
from gems_actors.gateway.page.shared_answers import SharedAnswers
from gems_actors.gateway.page.trees import (
    best_of,
    figures_tree,
    lessons_tree,
    may_scale,
    mesh_tree,
    run_tree,
    states_of,
    trajectory_tree,
)
from gems_actors.gateway.run_names import is_run_of, job_of
from gems_actors.gateway.tokens import Caller
from protocol.limits import MAX_ACTORS, MAX_NAME_CHARS, MAX_NOTE_CHARS
from protocol.messages import (
    Control,
    ControlRun,
    ImageRef,
    ListRuns,
    ListTrajectories,
    MeshStatus,
    ReadRunFigures,
    ReadStatus,
    ReadTimeline,
    ReadTrajectory,
    RecallExperiences,
    ReplyT,
    RunSummary,
    ScaleRole,
    SearchTrajectories,
    TrajectoryState,
    TrajectoryStatus,
    TrajectorySummary,
)
from protocol.messages import Request as MeshRequest

STATIC_PATH: Final = "/static/"
_PAGE: Final = 50
_KEPT_S: Final = 0.5
"""Time for which an answer that pages ask for again and again is the same for all of them."""
_MAX_SKIPPED: Final = 20
"""Pages of what others began that are read for one page of a caller's own."""
_LESSONS: Final = 20
_THUMBNAIL_PX: Final = 240
_ID: Final = re.compile(r"[0-9a-f]{32}")
_IMAGE: Final = re.compile(r"(\d{1,6})-(\d{1,6})")
_NUMBER: Final = re.compile(r"\d{1,15}")
_STATUSES: Final[tuple[TrajectoryStatus, ...]] = ("running", "ended", "failed")
_FORMATS: Final[dict[str, PictureFormat]] = {f"image/{name}": name for name in ENDINGS}


class _Action(Struct, frozen=True, forbid_unknown_fields=True):
    action: Control


class _Count(Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=0, le=MAX_ACTORS)]


ItemT = TypeVar("ItemT", RunSummary, TrajectorySummary)


class PageRoutes:
    """Answers the page of a browser."""

    def __init__(self, config: MeshConfig, mesh: Mesh, draws: Draws, *, shows_own_only: bool) -> None:
        """Read the files; `shows_own_only`: callers see the runs that they began with their token, admins see all."""
        self._config, self._mesh, self._draws, self._shows_own_only = config, mesh, draws, shows_own_only
        self._files = read_files()
        self._answers: SharedAnswers[bytes] = SharedAnswers(_KEPT_S)
        self._statuses: SharedAnswers[MeshStatus] = SharedAnswers(_KEPT_S)
        self._trajectories: SharedAnswers[tuple[str, bytes]] = SharedAnswers(_KEPT_S)

    def routes(self) -> list[Route]:
        """Return the table of these routes."""
        return [
            Route("/", self.show_page),
            Route(STATIC_PATH + "{name}", self.show_file),
            Route("/v1/gems/runs", self.list_runs),
            Route("/v1/gems/runs/{run}", self.show_run, methods=["GET"]),
            Route("/v1/gems/runs/{run}", self.control_run, methods=["POST"]),
            Route("/v1/gems/history", self.search),
            Route("/v1/gems/trajectories/{id}", self.show_trajectory),
            Route("/v1/gems/trajectories/{id}/images/{name}", self.show_image),
            Route("/v1/gems/trajectories/{id}/references/{number}", self.show_reference),
            Route("/v1/gems/trajectories/{id}/thumbnail", self.show_thumbnail),
            Route("/v1/gems/lessons", self.recall),
            Route("/v1/gems/mesh", self.show_mesh),
            Route("/v1/gems/mesh/roles/{role}", self.scale_role, methods=["POST"]),
        ]

    async def show_page(self, request: Request) -> Response:
        """Send the page itself."""
        return await self._send(request, "index.html")

    async def show_file(self, request: Request) -> Response:
        """Send a file of the page."""
        return await self._send(request, str(request.path_params["name"]))

    async def list_runs(self, request: Request) -> Response:
        """List a page of the caller's runs, the latest first."""
        caller, before = caller_of(request), _number(request, "before")

        async def answer() -> bytes:
            states = states_of(await self._status())

            async def read(cursor: int | None) -> tuple[Sequence[RunSummary], int | None]:
                page = await self._ask(ListRuns(before=cursor, limit=_PAGE))
                return page.runs, page.next

            runs, cursor = await self._own(caller, before, read)
            return msgspec.json.encode({"runs": [run_tree(run, states) for run in runs], "next": cursor})

        return json_bytes(await self._answers.get(("runs", self._view_of(caller), before), answer))

    async def search(self, request: Request) -> Response:
        """List a page of the caller's trajectories whose prompts have all words of a query, the latest first."""
        caller, before, words = caller_of(request), _number(request, "before"), _query_of(request)

        async def read(cursor: int | None) -> tuple[Sequence[TrajectorySummary], int | None]:
            page = await self._ask(SearchTrajectories(words=words, before=cursor, limit=_PAGE))
            return page.trajectories, page.next

        found, cursor = await self._own(caller, before, read)
        return json_answer({"trajectories": msgspec.to_builtins(found), "next": cursor})

    async def show_run(self, request: Request) -> Response:
        """Describe a run, with a page of its trajectories."""
        caller, run = caller_of(request), str(request.path_params["run"])
        status, after = _status_of(request), _number(request, "after") or 0
        self._check_run(caller, run)

        async def answer() -> bytes:
            found = (await self._ask(ListRuns(named=(run,), limit=1))).runs
            if not found:
                raise _no_such_run()
            page = await self._ask(ListTrajectories(of_run=run, status=status, after=after, limit=_PAGE))
            figures = await self._ask(ReadRunFigures(of_run=run))
            tree = run_tree(found[0], states_of(await self._status())) | figures_tree(figures)
            trajectories = [msgspec.to_builtins(item) for item in page.trajectories]
            return msgspec.json.encode({**tree, "job": job_of(run), "trajectories": trajectories, "next": page.next})

        return json_bytes(await self._answers.get(("run", run, status, after), answer))

    async def control_run(self, request: Request) -> Response:
        """Pause, resume or cancel a run that the caller may see."""
        caller, run = caller_of(request), str(request.path_params["run"])
        self._check_run(caller, run)
        action = parse_fields(await read_body(request), _Action).action
        if not (await self._ask(ListRuns(named=(run,), limit=1))).runs:
            raise _no_such_run()
        done = await self._ask(ControlRun(run=run, action=action, by=f"{caller.name} over HTTP"))
        self._forget_answers()
        return json_answer({"run": run, "before": done.before, "waiting": done.waiting, "in_flight": done.in_hand})

    async def show_trajectory(self, request: Request) -> Response:
        """Describe a trajectory, round by round."""
        caller, id_ = caller_of(request), str(request.path_params["id"])

        async def answer() -> tuple[str, bytes]:
            state = await self._ask(ReadTrajectory(trajectory=id_)) if _ID.fullmatch(id_) else TrajectoryState()
            run = state.task.run if state.task else ""
            steps = (await self._ask(ReadTimeline(trajectory=id_))).steps if run else ()
            tree = trajectory_tree(id_, state) | {"steps": msgspec.to_builtins(steps)}
            return run, msgspec.json.encode(tree)

        run, data = await self._trajectories.get(id_, answer)
        if not run or not self._may_see(caller, run):
            raise _no_such_trajectory()
        return json_bytes(data)

    async def show_image(self, request: Request) -> Response:
        """Send an image of a trajectory by its round and candidate; it never changes."""
        match = _IMAGE.fullmatch(str(request.path_params["name"]))
        key = (int(match[1]), int(match[2])) if match else (0, 0)
        state = await self._read(request)
        return await self._send_image(
            next((it.image for it in state.attempts if (it.round, it.candidate) == key), None)
        )

    async def show_reference(self, request: Request) -> Response:
        """Send a picture that a trajectory is drawn from, by its number from 1; it never changes."""
        task, number = (await self._read(request)).task, str(request.path_params["number"])
        references = dict(enumerate(task.references if task else (), 1))
        return await self._send_image(references.get(int(number) if _NUMBER.fullmatch(number) else 0))

    async def _send_image(self, image: ImageRef | None) -> Response:
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
        caller = caller_of(request)
        found = (await self._ask(RecallExperiences(prompt=_query_of(request), limit=_LESSONS))).experiences
        if not self._sees_all(caller):
            owned = []
            for lesson in found:
                state = await self._ask(ReadTrajectory(trajectory=lesson.trajectory))
                if state.task is not None and self._may_see(caller, state.task.run):
                    owned.append(lesson)
            found = tuple(owned)
        return json_answer({"lessons": lessons_tree(found)})

    async def show_mesh(self, request: Request) -> Response:
        """Describe the mesh; what went wrong is told to admins, because it may quote what others asked for."""
        is_admin = caller_of(request).is_admin

        async def answer() -> bytes:
            return msgspec.json.encode(mesh_tree(await self._status(), self._config.role_specs, is_admin=is_admin))

        return json_bytes(await self._answers.get(("mesh", is_admin), answer))

    async def scale_role(self, request: Request) -> Response:
        """Change the number of actors of a role on the router's host."""
        caller, role = caller_of(request), str(request.path_params["role"])
        if not caller.is_admin:
            raise ApiError(403, f"expected the token of an admin, got that of {caller.name}", code="not_admin")
        count = parse_fields(await read_body(request), _Count).count
        if not may_scale(self._config.role_specs, role):
            raise ApiError(404, "role: expected one that can be scaled, got another", code="not_found")
        done = await self._ask(ScaleRole(scaled_role=role, count=count))
        self._forget_answers()
        return json_answer({"role": role, "before": done.before, "after": done.after})

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

    async def _read(self, request: Request) -> TrajectoryState:
        """Return a trajectory that the caller may see; those of others are answered as those that do not exist."""
        id_ = str(request.path_params["id"])
        state = await self._ask(ReadTrajectory(trajectory=id_)) if _ID.fullmatch(id_) else TrajectoryState()
        if state.task is None or not self._may_see(caller_of(request), state.task.run):
            raise _no_such_trajectory()
        return state

    async def _own(
        self,
        caller: Caller,
        before: int | None,
        read: Callable[[int | None], Awaitable[tuple[Sequence[ItemT], int | None]]],
    ) -> tuple[list[ItemT], int | None]:
        """Return a page of what a caller may see, and the cursor of the next one; pages of others are skipped."""
        found: list[ItemT] = []
        cursor = before
        for _ in range(_MAX_SKIPPED):
            items, cursor = await read(cursor)
            found += [item for item in items if self._may_see(caller, item.run)]
            if found or cursor is None:
                break
        return found, cursor

    def _forget_answers(self) -> None:
        """Have the next answers show what was just changed."""
        self._answers.forget()
        self._statuses.forget()

    def _check_run(self, caller: Caller, run: str) -> None:
        if len(run) > MAX_NAME_CHARS or not self._may_see(caller, run):
            raise _no_such_run()

    def _sees_all(self, caller: Caller) -> bool:
        return not self._shows_own_only or caller.is_admin

    def _may_see(self, caller: Caller, run: str) -> bool:
        return self._sees_all(caller) or is_run_of(caller, run)

    def _view_of(self, caller: Caller) -> str | None:
        """Return whose runs a caller sees; None: everybody's."""
        return None if self._sees_all(caller) else caller.name

    async def _status(self) -> MeshStatus:
        return await self._statuses.get("status", lambda: self._ask(ReadStatus()))

    async def _ask(self, message: MeshRequest[ReplyT]) -> ReplyT:
        try:
            return await ask_within(self._mesh, message)
        except RequestError as error:
            raise api_error_of(error) from error


def _no_such_run() -> ApiError:
    return ApiError(404, "run: expected one that memory has, got another", code="not_found")


def _no_such_trajectory() -> ApiError:
    return ApiError(404, "trajectory: expected one that memory has, got another", code="not_found")


def _query_of(request: Request) -> str:
    query = request.query_params.get("q", "").strip()
    if not 0 < len(query) <= MAX_NOTE_CHARS:
        raise ApiError(400, f"q: expected 1 to {MAX_NOTE_CHARS} characters", code="invalid_value", param="q")
    return query


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
