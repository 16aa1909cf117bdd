"""Draw one prompt: send it to a mesh, show how the picture develops, write its file."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import trio

from gems_actors.app import picture_files
from gems_actors.app.graceful_stop import await_hopeless
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.model_pairing import pairing_warnings
from gems_actors.app.options import MAX_SEED, DrawOptions, budget_of, draw_settings
from gems_actors.app.prompts import slug_of
from gems_actors.app.references.drawing import keep_references, settings_from
from gems_actors.app.references.pictures import BadReferenceError, GivenImage, Reference, read_references
from gems_actors.app.run_history import HistoryEntry, remembered
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.app.session import Connection, open_session, start_or_connect, watch_role_notes, watch_run_state
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import BlobError, CancelledRequestError, UsageError
from gems_actors.supervision.zygote_process import ZygoteProcess
from gems_actors.tasks import open_background
from gems_actors.transport.sockets import require_trio
from protocol.envelope import Lane
from protocol.messages import AppendRecord, DrawPicture, Event, Picture, RunBegun, RunState


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRequest:
    """What `run` draws, and where the picture goes."""

    prompt: str
    output: Path | None = None
    """PNG file, or folder for it; by default a name made from prompt and seed in the working directory."""
    options: DrawOptions = field(default_factory=DrawOptions)
    images: Sequence[GivenImage] = ()
    """Up to 16 pictures to draw from; without a size in the options, the result has the proportions of the first."""
    redirects_stderr: bool = False
    """Whether standard error of this process and of the mesh that it starts is hidden while drawing."""
    zygote: ZygoteProcess | None = None
    """Fork server that was started ahead for the mesh of this draw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawResult:
    """A picture and its file."""

    run: str
    picture: Picture
    path: Path
    seed: int
    model: str
    """Name of the image model."""
    seconds: float
    """Time from the start of the command to the file."""
    is_interrupted: bool
    """Whether a signal ended the draw early; the picture is then the best so far."""

    def to_tree(self) -> dict[str, Any]:
        """Return the result as a tree for JSON."""
        return {
            "picture": picture_files.text_of_path(self.path),
            "trajectory": self.picture.trajectory,
            "run": self.run,
            **picture_files.story_of(self.picture, seed=self.seed, model=self.model),
            "spent": msgspec.to_builtins(self.picture.spent),
            "seconds": round(self.seconds, 3),
        }


class DrawView:
    """Shows a draw while it runs; this base class shows nothing."""

    def warn(self, text: str) -> None:
        """Show a warning that stays, before the request is shown."""

    def start(self, request: DrawPicture) -> None:
        """Show the request, before the mesh is started."""

    def take(self, event: Event) -> None:
        """Show an event of the draw."""

    def note(self, text: str) -> None:
        """Show a note on what happens next."""

    def finish(self, result: DrawResult) -> None:
        """Show the outcome once the file is written, before the mesh drains; nothing is shown after it."""

    def close(self) -> None:
        """Show nothing more, with or without a picture; may be called twice."""

    async def run(self, mesh: Mesh) -> None:
        """Update what is shown until cancelled."""


async def run(request: DrawRequest, view: DrawView | None = None) -> DrawResult:
    """Draw a prompt and write the picture's file; without a view, nothing is shown.

    The first SIGINT, SIGTERM or SIGHUP ends the draw with the round in progress, the second one at once.

    Raises:
        UsageError: the options contradict one another, a picture to draw from cannot be used, or the file cannot be
            written.
        ConfigError: the mesh cannot run with this configuration.
        CancelledRequestError: the run was cancelled.
        GemsError: the draw failed.
        KeyboardInterrupt: a second signal ended the draw before there was a picture.
    """
    require_trio("app.draw.run")
    began, view, options = trio.current_time(), view or DrawView(), request.options
    config = options.read_config()
    seed = secrets.randbelow(MAX_SEED + 1) if options.seed is None else options.seed
    path = picture_path(request.output, request.prompt, seed)
    references = await _read_references(request)
    task = _task_of(request, config, seed, references)
    model = config.image.drawn_by
    result: DrawResult | None = None
    _show_warnings(config, options, view)
    where = picture_files.text_of_path(path.absolute())
    entry = HistoryEntry(run=task.run, kind="draw", what=task.prompt, where=where, total=1)
    with (
        open_session(config, options.router, redirects_stderr=request.redirects_stderr) as config,
        remembered(entry) as memo,
    ):
        view.start(task)
        try:
            async with (
                open_interrupts() as interrupts,
                start_or_connect(config, options.router, interrupts, zygote=request.zygote) as connection,
            ):
                address = connection.mesh.address
                await keep_references(connection.blobs, references)
                with registered(RegistryEntry(run=task.run, what=task.prompt, total=1, address=address)):
                    picture = await _ask(connection.mesh, task, view, interrupts)
                picture = await _write_file(path, connection, picture, task, model, view)
                result = DrawResult(
                    run=task.run,
                    picture=picture,
                    path=path,
                    seed=seed,
                    model=model,
                    seconds=trio.current_time() - began,
                    is_interrupted=picture.ending.outcome == "wound_down",
                )
                memo.note(outcome="interrupted" if result.is_interrupted else "done", done=1)
                view.finish(result)
        finally:
            view.close()
    if result is None:  # the second signal cancelled the block above
        raise KeyboardInterrupt
    return replace(result, is_interrupted=result.is_interrupted or interrupts.is_hurried)


async def _read_references(request: DrawRequest) -> Sequence[Reference]:
    if request.options.strength is not None and not request.images:
        raise UsageError("--strength: expected it with --image, got it alone")
    if not request.images:
        return ()
    try:
        return await trio.to_thread.run_sync(read_references, request.images)
    except BadReferenceError as error:
        raise UsageError(f"--image: {error}") from error


def _task_of(request: DrawRequest, config: MeshConfig, seed: int, references: Sequence[Reference]) -> DrawPicture:
    settings = draw_settings(config, request.options.settings())
    return DrawPicture(
        run=f"draw-{secrets.token_hex(4)}",
        prompt=request.prompt,
        seed=seed,
        references=tuple(one.ref for one in references),
        settings=settings_from(references, settings, request.options),
        budget=budget_of(config),
    )


def _show_warnings(config: MeshConfig, options: DrawOptions, view: DrawView) -> None:
    for warning in pairing_warnings(config) if options.router is None else ():  # else another configuration counts
        view.warn(warning)


def picture_path(output: Path | None, prompt: str, seed: int) -> Path:
    """Return the path of a picture after checking that a file can be written there.

    Raises:
        UsageError: the file cannot be written, or its name does not end in .png.
    """
    name = f"{slug_of(prompt)}-{seed}.png"
    path = Path(name) if output is None else output / name if output.is_dir() else output
    if path.suffix.lower() != ".png":
        raise UsageError(f"--output: expected a name that ends in .png, got {path.name!r}")
    try:
        picture_files.check_writable(path.parent)
    except picture_files.OutputError as error:
        raise UsageError(f"--output: {error}") from error
    return path


async def _write_file(
    path: Path, connection: Connection, picture: Picture, task: DrawPicture, model: str, view: DrawView
) -> Picture:
    """Write the file of a picture, and return the picture with what was drawn again because the store had lost it."""
    try:
        data = await connection.blobs.get(picture.best.image)
    except BlobError as error:
        view.warn(f"drawing a lost picture again: {error}")
        picture = await connection.mesh.ask(task, lane=Lane.INTERACTIVE)  # finished, so only what is lost is drawn
        data = await connection.blobs.get(picture.best.image)
    texts = picture_files.texts_of(picture, seed=task.seed, model=model)
    picture_files.write_whole(path, picture_files.picture_of(data, picture.best.image.media_type, "png", texts))
    return picture


async def _ask(mesh: Mesh, request: DrawPicture, view: DrawView, interrupts: Interrupts) -> Picture:
    """Return the picture, and let the view show events and notes meanwhile."""

    async def announce_graceful_stop() -> None:
        await interrupts.asked.wait()
        view.note("finishing this round; Ctrl-C again stops at once")

    async def end_when_hopeless() -> None:
        obstacle = await await_hopeless(mesh, request.run, interrupts.asked)
        raise CancelledRequestError(f"interrupted; the round in progress cannot be finished: {obstacle}")

    def show_run_state(state: RunState | None) -> None:
        if state is None or state.state == "paused":
            view.note("resumed" if state is None else f"paused by {state.by}")

    async with mesh.events(request.run) as events, open_background() as nursery:

        async def show_events() -> None:
            async for event in events:
                view.take(event)

        nursery.start_soon(announce_graceful_stop)
        nursery.start_soon(end_when_hopeless)
        nursery.start_soon(view.run, mesh)
        nursery.start_soon(watch_role_notes, mesh, lambda text: view.note(text or "recovered"))
        nursery.start_soon(watch_run_state, mesh, request.run, show_run_state)
        nursery.start_soon(show_events)
        begun = RunBegun(run=request.run, what=request.prompt, total=1)
        await mesh.ask(AppendRecord(record=begun), lane=Lane.INTERACTIVE)
        return await mesh.ask(request, lane=Lane.INTERACTIVE, stop_gracefully=interrupts.asked)
