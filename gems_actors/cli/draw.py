"""`gems draw`: one prompt, from words to a picture's file."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import click
import msgspec
import trio

from gems_actors.app.draw_progress import Progress
from gems_actors.app.interrupts import Interrupts, open_interrupts
from gems_actors.app.options import MAX_SEED, budget_of, draw_settings, read_config
from gems_actors.app.picture_files import (
    OutputError,
    check_writable,
    encode_json,
    parameters_of,
    png_of,
    story_of,
    summary_lines,
    text_of_path,
    write_whole,
)
from gems_actors.app.prompts import PromptError, check_prompt, read_prompt, slug_of
from gems_actors.app.run_registry import RegistryEntry, registered
from gems_actors.app.session import (
    LOG_NAME,
    configure_command_log,
    explain_failures,
    open_connection,
    open_place,
    redirect_logs,
    watch_complaints,
    watch_mark,
)
from gems_actors.cli.exit_codes import DONE, INTERRUPTED
from gems_actors.cli.options import (
    candidates_option,
    config_option,
    exact_option,
    guidance_option,
    json_option,
    memory_option,
    negative_option,
    rounds_option,
    router_option,
    seed_option,
    set_option,
    size_option,
    steps_option,
)
from gems_actors.cli.terminal.watch import Watch, can_show_live, choose_watch
from gems_actors.client import Mesh
from gems_actors.config import MeshConfig
from gems_actors.errors import CancelledRequestError
from gems_actors.tasks import open_background
from protocol.envelope import Lane
from protocol.messages import AppendRecord, DrawPicture, MemoryMode, Picture, RunBegun, RunState

_FINISHING = "finishing the round in hand; Ctrl-C again stops at once"


@dataclass(frozen=True, slots=True)
class _Job:
    """What the user asked for."""

    request: DrawPicture
    path: Path
    model: str
    as_json: bool
    is_live: bool


@click.command()
@click.argument("prompt")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="PNG", help="Where to put the picture.")
@rounds_option
@candidates_option
@memory_option
@size_option
@steps_option
@guidance_option
@negative_option
@exact_option
@click.option("--skill", metavar="ID", help="The skill to write by, or none; the planner chooses unless given.")
@seed_option("Seed of the draw, 0 to 4294967295; random unless given.")
@config_option
@set_option
@router_option
@json_option
@click.option("-v", "--verbose", "is_verbose", is_flag=True, help="Show what the roles log.")
def draw(
    prompt: str,
    output: Path | None,
    rounds: int | None,
    candidates: int | None,
    memory: MemoryMode | None,
    size: tuple[int, int] | None,
    steps: int | None,
    guidance: float | None,
    negative_prompt: str | None,
    exact: bool,
    skill: str | None,
    seed: int | None,
    config_file: Path | None,
    overrides: tuple[str, ...],
    router: str | None,
    as_json: bool,
    is_verbose: bool,
) -> int:
    """Draw PROMPT, round by round until all that it asks for is met; `-` reads it from standard input.

    Starts a mesh of its own, or asks the one at --router. Ctrl-C once ends with the best picture so far, twice at once.
    """
    text = _read_prompt(prompt)
    config = read_config(config_file, overrides)
    seed = secrets.randbelow(MAX_SEED + 1) if seed is None else seed
    job = _Job(
        request=DrawPicture(
            run=f"draw-{secrets.token_hex(4)}",
            prompt=text,
            seed=seed,
            settings=draw_settings(
                config,
                rounds=rounds,
                candidates=candidates,
                memory=memory,
                size=size,
                steps=steps,
                guidance=guidance,
                negative_prompt=negative_prompt,
                exact=exact,
                skill=skill,
            ),
            budget=budget_of(config),
        ),
        path=_choose_path(output, text, seed),
        model=config.image.shown_name,
        as_json=as_json,
        is_live=not as_json and not is_verbose and can_show_live(sys.stderr),
    )
    with open_place(config, router) as placed:
        log = None if is_verbose else Path(os.devnull) if router else placed.runtime_path / LOG_NAME
        with explain_failures(log), redirect_logs(log) as stream:
            ready = configure_command_log(placed, is_verbose=is_verbose)
            return trio.run(_draw, job, ready, router, stream)


def _read_prompt(argument: str) -> str:
    source = "standard input" if argument == "-" else "PROMPT"
    try:
        return read_prompt(sys.stdin.buffer) if argument == "-" else check_prompt(argument)
    except PromptError as error:
        raise click.UsageError(f"{source}: {error}") from error


def _choose_path(output: Path | None, prompt: str, seed: int) -> Path:
    """Return where the picture goes, once it is certain that a file can be written there."""
    name = f"{slug_of(prompt)}-{seed}.png"
    path = Path(name) if output is None else output / name if output.is_dir() else output
    if path.suffix.lower() != ".png":
        raise click.UsageError(f"--output: expected a name that ends in .png, got {path.name!r}")
    try:
        check_writable(path.parent)
    except OutputError as error:
        raise click.UsageError(f"--output: {error}") from error
    return path


async def _draw(job: _Job, config: MeshConfig, router: str | None, stream: TextIO) -> int:
    began = trio.current_time()
    request = job.request
    progress = Progress(request.prompt, request.settings.max_rounds, request.settings.candidates)
    watch = choose_watch(stream, progress, request.seed, is_live=job.is_live)
    is_wound_down, called_off = False, ""
    try:
        async with (
            open_interrupts() as interrupts,
            open_connection(config, router, interrupts) as connection,
        ):
            mesh = connection.mesh
            with registered(RegistryEntry(run=request.run, what=request.prompt, total=1, address=mesh.address)):
                picture = await _ask(mesh, request, watch, interrupts)
            data = await connection.blobs.get(picture.best.image)
            story = story_of(picture, seed=request.seed, model=job.model)
            texts = {"parameters": parameters_of(picture, job.model), "gems": encode_json(story)}
            write_whole(job.path, png_of(data, picture.best.image.media_type, texts))
            is_wound_down = picture.ending.outcome == "wound_down"
            watch.finish(picture)
            seconds = trio.current_time() - began
            if job.as_json:
                place = {"picture": text_of_path(job.path), "trajectory": picture.trajectory, "run": request.run}
                spent = {"spent": msgspec.to_builtins(picture.spent), "seconds": round(seconds, 3)}
                click.echo(encode_json({**place, **story, **spent}))
            else:
                click.echo(text_of_path(job.path))
                lines = summary_lines(picture, seed=request.seed, seconds=seconds, interrupted=is_wound_down)
                click.echo("\n".join(lines))
    except CancelledRequestError as error:
        called_off = str(error)
    finally:
        watch.close()
    if called_off:
        print(f"gems: {called_off}", file=stream)
        return INTERRUPTED
    if interrupts.is_hurried:
        print("gems: interrupted", file=stream)
    return INTERRUPTED if interrupts.is_hurried or is_wound_down else DONE


async def _ask(mesh: Mesh, request: DrawPicture, watch: Watch, interrupts: Interrupts) -> Picture:
    """Return the picture while the watch shows how it comes to be."""

    async def announce_the_end() -> None:
        await interrupts.asked.wait()
        watch.note(_FINISHING)

    def say_whether_paused(mark: RunState | None) -> None:
        if mark is None or mark.state == "paused":
            watch.note("goes on" if mark is None else f"paused by {mark.by}")

    async with mesh.events(request.run) as events, open_background() as nursery:
        nursery.start_soon(announce_the_end)
        nursery.start_soon(watch.run, mesh)
        nursery.start_soon(watch_complaints, mesh, lambda text: watch.note(text or "all is well again"))

        nursery.start_soon(watch_mark, mesh, request.run, say_whether_paused)

        async def tell() -> None:
            async for event in events:
                watch.take(event)

        nursery.start_soon(tell)
        begun = RunBegun(run=request.run, what=request.prompt, total=1)
        await mesh.ask(AppendRecord(record=begun), lane=Lane.INTERACTIVE)
        return await mesh.ask(request, lane=Lane.INTERACTIVE, stop_gracefully=interrupts.asked)
