"""A mesh as tools for agents: draw, show, recall and list skills, by the Model Context Protocol (extra `[mcp]`)."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from typing import Annotated, Any, cast

import anyio
import trio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp_types import CallToolResult, ContentBlock, ImageContent, TextContent, ToolAnnotations
from pydantic import Field

from gems_actors import __version__
from gems_actors.app import draw_progress
from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.memory.access import MeshMemory, read_trajectory
from gems_actors.app.options import MAX_SEED, STRATEGIES, DrawOptions, budget_of, draw_settings, parse_size
from gems_actors.app.picture_files import encode_json, picture_of, reason_of
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.app.references.drawing import keep_references, settings_from
from gems_actors.app.references.pictures import BadReferenceError, Reference, file_in, read_references
from gems_actors.app.session import Connection, open_session, start_or_connect
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.config.skill_folders import catalogue_of
from gems_actors.errors import BlobError, GemsError
from gems_actors.tasks import open_background
from protocol.envelope import Lane
from protocol.limits import MAX_REFERENCES
from protocol.messages import (
    AppendRecord,
    Attempt,
    DrawPicture,
    FindBestAttempt,
    Picture,
    ReadTrajectory,
    RecallExperiences,
    Requirement,
    RunBegun,
)

_INSTRUCTIONS = (
    "Draws pictures with a loop that checks every requirement of the prompt on the picture, and draws again until all "
    "are met. Give `draw` the whole request in plain words; it writes better prompts by itself."
)
_IMAGE = (
    "Pictures to draw from, if the image model can: PNG, JPEG or WebP files in base64. The prompt says what changes."
)
_READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_CHUNK_BYTES = 64 * 1024
_ID_DIGITS = 32
MAX_IMAGE_BYTES = 700_000
"""Size of a picture in a result: the SDK's client takes events of up to 1 MiB, and base64 makes a third more of it."""
_QUALITIES = (90, 75, 50, 25)


class Bounds:
    """What the callers of the tools may do; this base class bounds nothing."""

    sees_all: bool = True
    """Whether every caller sees all runs."""

    def hold(self, ctx: Context[Any, Any], request: DrawPicture) -> AbstractContextManager[list[int]]:
        """Hold the place of a picture while the block draws it; the block appends how many images it took."""
        return nullcontext([])

    def name_run(self, ctx: Context[Any, Any]) -> str:
        """Return a name for a new run of the caller."""
        return f"mcp-{secrets.token_hex(8)}"

    def may_see(self, ctx: Context[Any, Any], run: str) -> bool:
        """Return whether the caller may see a run."""
        return self.sees_all


class MeshTools:
    """The tools, and the mesh that they use once there is one."""

    def __init__(self, config: MeshConfig, options: DrawOptions, bounds: Bounds | None = None) -> None:
        """Offer the tools for a mesh of these settings, to callers within bounds.

        `options` say how to draw what a call does not say.
        """
        self._config, self._options, self._bounds = config, options, bounds or Bounds()
        self._catalogue = catalogue_of(config)
        self._connection: Connection | None = None
        self._is_connected = trio.Event()
        self.server: MCPServer[Any] = MCPServer(
            "gems", title="GEMS", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
        )
        self.server.add_tool(self.draw, title="Draw a picture", annotations=ToolAnnotations(destructive_hint=False))
        self.server.add_tool(self.show, title="Show how a picture was drawn", annotations=_READ_ONLY)
        self.server.add_tool(self.recall, title="Recall lessons for a prompt", annotations=_READ_ONLY)
        self.server.add_tool(self.list_skills, title="List skills", annotations=_READ_ONLY)

    def connect(self, connection: Connection) -> None:
        """Let the tools use a mesh; until then, calls wait."""
        self._connection = connection
        self._is_connected.set()

    async def draw(
        self,
        ctx: Context[Any, Any],
        prompt: Annotated[str, Field(description="What the picture shows, in plain words.")],
        seed: Annotated[int | None, Field(ge=0, le=MAX_SEED, description="Same seed, same picture.")] = None,
        rounds: Annotated[int | None, Field(ge=1, le=64, description="Maximum rounds of drawing and checking.")] = None,
        strategy: Annotated[str | None, Field(description=f"One of {', '.join(STRATEGIES)}; gems by default.")] = None,
        images: Annotated[int | None, Field(ge=1, le=64, description="Images that the strategy may draw.")] = None,
        size: Annotated[str | None, Field(description="Pixels, such as 768x512.")] = None,
        image: Annotated[list[str] | None, Field(max_length=MAX_REFERENCES, description=_IMAGE)] = None,
    ) -> CallToolResult:
        """Draw a picture, check it against every requirement of the prompt, and return the best one with its verdicts.

        Progress is reported after every round. The text of the result is JSON: which requirements are met, and the
        trajectory for `show`.
        """
        seed = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
        try:
            options = DrawOptions(
                rounds=rounds, strategy=strategy, images=images, size=None if size is None else parse_size(size)
            )
            references = await trio.to_thread.run_sync(read_references, [file_in(text) for text in image or ()])
            settings = draw_settings(self._config, self._options.settings() | options.settings())
            sized = self._options if options.size is None else options
            request = DrawPicture(
                run=self._bounds.name_run(ctx),
                prompt=check_prompt(prompt),
                seed=seed,
                references=tuple(one.ref for one in references),
                settings=settings_from(references, settings, sized),
                budget=budget_of(self._config),
            )
            mesh, progress = await self._mesh(), _Progress(ctx, request)
            with self._bounds.hold(ctx, request) as drawn:
                await self._keep(references)
                picture = await self._draw(mesh, request, progress)
                drawn.append(len(picture.attempts))
            best = await self._image_of(picture.best)
        except BadReferenceError as error:
            raise ToolError(f"image: {error}") from error
        except (GemsError, PromptError) as error:
            raise ToolError(str(error)) from error
        return _result([best], {"seed": seed, **_summary_of(picture)})

    async def show(
        self,
        ctx: Context[Any, Any],
        trajectory: Annotated[str, Field(pattern=r"^[0-9a-f]{4,32}$", description="Its id, or the beginning of one.")],
    ) -> CallToolResult:
        """Show how a picture was drawn: its requirements, and each round with prompt, verdicts and lesson."""
        mesh = await self._mesh()
        try:
            if self._bounds.sees_all:
                state = await read_trajectory(MeshMemory(mesh), trajectory)
            elif len(trajectory) == _ID_DIGITS:
                state = await mesh.ask(ReadTrajectory(trajectory=trajectory))
            else:  # the beginning of an id would find those of others
                raise ToolError(f"trajectory: expected a whole id of {_ID_DIGITS} digits, got {trajectory}")
            if state.task is None or not self._bounds.may_see(ctx, state.task.run):
                raise ToolError(f"trajectory: expected one that begins with {trajectory}, got none")
            best = (await mesh.ask(FindBestAttempt(trajectory=state.task.trajectory))).attempt
            images = [] if best is None else [await self._image_of(best)]
        except GemsError as error:
            raise ToolError(str(error)) from error
        lessons = {one.round: one.text for one in state.experiences}
        requirements = state.requirements or ()
        return _result(
            images,
            {
                "trajectory": state.task.trajectory,
                "prompt": state.task.prompt,
                "seed": state.task.seed,
                "skill": None if state.plan is None else state.plan.skill,
                "outcome": "running" if state.ending is None else state.ending.outcome,
                "best_round": None if best is None else best.round,
                "rounds": [
                    {
                        "round": attempt.round,
                        "prompt": attempt.shown_prompt,
                        **_verdicts_of(attempt, requirements),
                        "lesson": lessons.get(attempt.round),
                    }
                    for attempt in state.attempts
                ],
            },
        )

    async def recall(
        self,
        ctx: Context[Any, Any],
        prompt: Annotated[str, Field(description="The prompt to find lessons for.")],
        limit: Annotated[int, Field(ge=1, le=20)] = 3,
    ) -> CallToolResult:
        """Return lessons that memory keeps of similar prompts whose pictures met every requirement in the end."""
        mesh = await self._mesh()
        try:
            found = await mesh.ask(RecallExperiences(prompt=check_prompt(prompt), limit=limit))
            seen = [one for one in found.experiences if await self._may_see(ctx, mesh, one.trajectory)]
        except (GemsError, PromptError) as error:
            raise ToolError(str(error)) from error
        lessons = [
            {
                "prompt": one.prompt,
                "lesson": one.text,
                "met_before": f"{one.met_before} of {one.requirements}",
                "met_after": f"{one.met_after} of {one.requirements}",
                "trajectory": one.trajectory,
            }
            for one in seen
        ]
        return _result([], {"lessons": lessons})

    async def list_skills(self) -> CallToolResult:
        """List the skills that the planner can choose from, each with what it is for."""
        entries = await trio.to_thread.run_sync(self._catalogue.manifest)
        return _result([], {"skills": [{"id": entry.id, "description": entry.description} for entry in entries]})

    async def _draw(self, mesh: Mesh, request: DrawPicture, progress: _Progress) -> Picture:
        async with mesh.events(request.run) as events, open_background() as nursery:
            nursery.start_soon(progress.follow, events)
            begun = RunBegun(run=request.run, what=request.prompt, total=1)
            await mesh.ask(AppendRecord(record=begun), lane=Lane.INTERACTIVE)
            picture = await mesh.ask(request, lane=Lane.INTERACTIVE)
        await progress.finish(picture)
        return picture

    async def _may_see(self, ctx: Context[Any, Any], mesh: Mesh, trajectory: str) -> bool:
        if self._bounds.sees_all:
            return True
        task = (await mesh.ask(ReadTrajectory(trajectory=trajectory))).task
        return task is not None and self._bounds.may_see(ctx, task.run)

    async def _keep(self, references: Sequence[Reference]) -> None:
        assert self._connection is not None
        await keep_references(self._connection.blobs, references)

    async def _mesh(self) -> Mesh:
        await self._is_connected.wait()
        assert self._connection is not None
        return self._connection.mesh

    async def _image_of(self, attempt: Attempt) -> ContentBlock:
        assert self._connection is not None
        try:
            data = await self._connection.blobs.get(attempt.image)
        except BlobError as error:
            return TextContent(type="text", text=f"The picture's file is lost: {error}")
        data, media_type = await fitting(data, attempt.image.media_type)
        return ImageContent(type="image", data=base64.b64encode(data).decode(), mime_type=media_type)


async def fitting(data: bytes, media_type: str) -> tuple[bytes, str]:
    """Return a picture's file with its media type, encoded as JPEG where it is too large for a result."""
    if len(data) <= MAX_IMAGE_BYTES:
        return data, media_type
    for quality in _QUALITIES:
        smaller = await trio.to_thread.run_sync(partial(picture_of, data, media_type, "jpeg", {}, quality=quality))
        if len(smaller) <= MAX_IMAGE_BYTES:
            break
    return smaller, "image/jpeg"


async def serve_stdio(options: DrawOptions) -> None:
    """Serve the tools at standard input and output until the input ends or a signal comes.

    The mesh is started, or connected to with `options.router`, meanwhile: models may load for minutes.

    Raises:
        ConfigError: the mesh cannot run with this configuration.
        GemsError: the mesh failed or did not answer.
    """
    config = options.read_config()
    draw_settings(config, options.settings())  # refuses impossible options now
    with open_session(config, options.router, redirects_stderr=False) as session_config:
        tools = MeshTools(session_config, options)
        async with open_interrupts() as interrupts, open_background() as nursery:
            nursery.start_soon(interrupts.call_at_first, nursery.cancel_scope.cancel)

            async def hold_mesh() -> None:
                async with start_or_connect(session_config, options.router, interrupts) as connection:
                    tools.connect(connection)
                    await trio.sleep_forever()

            nursery.start_soon(hold_mesh)
            async with _open_wire() as (wire_in, wire_out):
                await _run_at(tools.server, wire_in, wire_out)


async def _run_at(server: MCPServer[Any], wire_in: _WireIn, wire_out: _WireOut) -> None:
    """Run the SDK's server at two streams of ours: it reads its own in a thread, which no signal can end."""
    lower = server._lowlevel_server
    streams = stdio_server(cast("anyio.AsyncFile[str]", wire_in), cast("anyio.AsyncFile[str]", wire_out))
    async with streams as (reading, writing):
        await lower.run(reading, writing, lower.create_initialization_options())


class _WireIn:
    """The lines of a stream of bytes, as the SDK reads them from a file."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[str]:
        rest = bytearray()
        while data := await self._stream.receive_some(_CHUNK_BYTES):
            rest += data
            *lines, rest = rest.split(b"\n") if b"\n" in data else (rest,)
            for line in lines:
                yield line.decode(errors="replace")


class _WireOut:
    """A stream of bytes, as the SDK writes to a file."""

    def __init__(self, stream: trio.abc.SendStream) -> None:
        self._stream = stream

    async def write(self, text: str) -> None:
        await self._stream.send_all(text.encode())

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def _open_wire() -> AsyncIterator[tuple[_WireIn, _WireOut]]:
    """Take standard input and output for the protocol; other code reads nothing, and prints to standard error."""
    wire_in, wire_out = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    async with trio.lowlevel.FdStream(wire_in) as reading, trio.lowlevel.FdStream(wire_out) as writing:
        yield _WireIn(reading), _WireOut(writing)


class _Progress:
    """Tells an agent of each round once, as soon as its image is verified."""

    def __init__(self, ctx: Context[Any, Any], request: DrawPicture) -> None:
        self._ctx, self._max_rounds = ctx, request.settings.max_rounds
        self._progress = draw_progress.progress_of(request)
        self._reported = 0

    async def follow(self, events: AsyncIterator[Any]) -> None:
        """Report the rounds that events tell of, until cancelled."""
        async for event in events:
            self._progress = draw_progress.advance(self._progress, event)
            await self._report(self._progress.attempts, self._progress.requirements or ())

    async def finish(self, picture: Picture) -> None:
        """Report the rounds whose events have not come before the picture."""
        await self._report(picture.attempts, picture.requirements)

    async def _report(self, attempts: Sequence[Attempt], requirements: tuple[Requirement, ...]) -> None:
        for attempt in attempts:
            if attempt.round > self._reported:
                self._reported = attempt.round
                verdicts = _verdicts_of(attempt, requirements)
                unmet = f"; not met: {'; '.join(verdicts['not_met'])}" if verdicts["not_met"] else ""
                text = f"round {attempt.round}: {verdicts['met']} met{unmet}"
                await self._ctx.report_progress(attempt.round, self._max_rounds, text)


def _summary_of(picture: Picture) -> dict[str, Any]:
    return {
        "trajectory": picture.trajectory,
        "prompt": picture.prompt,
        "final_prompt": picture.final_prompt,
        "skill": picture.skill,
        "all_met": picture.all_met,
        **_verdicts_of(picture.best, picture.requirements),
        "not_understood": list(picture.not_understood),
        "round": picture.best.round,
        "rounds": max(attempt.round for attempt in picture.attempts),
        "images": len(picture.attempts),
        "outcome": picture.ending.outcome,
        "failure": reason_of(picture),
    }


def _verdicts_of(attempt: Attempt, requirements: tuple[Requirement, ...]) -> dict[str, Any]:
    questions = {requirement.id: requirement.question for requirement in requirements}
    answers = {questions.get(one.requirement, one.requirement): one.answer for one in attempt.verdicts}
    met = sum(answer == "met" for answer in answers.values())
    return {
        "met": f"{met} of {len(answers)}",
        "not_met": [question for question, answer in answers.items() if answer == "unmet"],
        "not_sure": [question for question, answer in answers.items() if answer == "unsure"],
    }


def _result(images: list[ContentBlock], tree: Mapping[str, Any]) -> CallToolResult:
    text = TextContent(type="text", text=encode_json(dict(tree)))
    return CallToolResult(content=[*images, text], structured_content=dict(tree))
