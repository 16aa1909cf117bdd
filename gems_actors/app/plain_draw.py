"""Drawing from plain Python: one blocking call, in a script, a notebook or next to an asyncio loop."""

from __future__ import annotations

import base64
import html
import io
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from gems_actors.app.interrupts import open_interrupts
from gems_actors.app.options import MAX_SEED, DrawOptions, budget_of, draw_settings, parse_address, parse_size
from gems_actors.app.picture_files import ENDINGS, PictureFormat, check_writable, picture_of, texts_of, write_whole
from gems_actors.app.prompts import PromptError, check_prompt
from gems_actors.app.references.drawing import keep_references, settings_from
from gems_actors.app.references.pictures import BadReferenceError, GivenImage, Reference, read_references
from gems_actors.app.session import open_session, start_or_connect
from gems_actors.config import MeshConfig
from gems_actors.errors import UsageError
from gems_actors.ops.log_setup import kept_logging
from gems_actors.terminal_text import printable
from protocol.envelope import Lane
from protocol.messages import AppendRecord, Attempt, DrawPicture, MemoryMode, Picture, RunBegun

if TYPE_CHECKING:
    from PIL import Image

_SIDE_IN_NOTEBOOK_PX = 160
ParsedT = TypeVar("ParsedT")


@dataclass(frozen=True, slots=True)
class DrawnRound:
    """One image of a draw, with what the verifier said about it."""

    number: int
    """Round, from 1; several candidates of a round have the same number."""
    prompt: str
    """What the image was drawn from; `Edit of round N: …` if it is an edit of an earlier image."""
    met: Mapping[str, bool | None]
    """By question, whether the image meets that requirement; None if the verifier was not sure."""
    data: bytes = field(repr=False)
    """The file that the image model made."""

    @property
    def image(self) -> Image.Image:
        """The image, decoded."""
        return _decoded(self.data)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished picture: the best image of a draw, and every round that led to it. Notebooks show it."""

    prompt: str
    seed: int
    """Seed that draws the same picture again."""
    model: str
    """Name of the image model."""
    picture: Picture = field(repr=False)
    """Everything that the mesh recorded: requirements, verdicts, costs and how the draw ended."""
    rounds: Sequence[DrawnRound] = field(repr=False)
    """Every image in the order in which they were drawn."""
    best: DrawnRound
    """The one that is the picture."""

    @property
    def image(self) -> Image.Image:
        """The picture, decoded."""
        return self.best.image

    @property
    def all_met(self) -> bool:
        """Whether the picture meets every requirement."""
        return self.picture.all_met

    def save(self, file: str | Path) -> Path:
        """Write the picture with its metadata as PNG, JPEG or WebP, by the ending of the name, and return the path.

        Raises:
            UsageError: the name has another ending.
            OutputError: the file cannot be written.
        """
        path = Path(file)
        suffix = ".jpg" if path.suffix.lower() == ".jpeg" else path.suffix.lower()
        found = next((name for name, ending in ENDINGS.items() if ending == suffix), None)
        if found is None:
            raise UsageError(f"file: expected a name that ends in .png, .jpg or .webp, got {path.name!r}")
        check_writable(path.parent)
        write_whole(path, self._encoded(found))
        return path

    def _encoded(self, picture_format: PictureFormat) -> bytes:
        texts = texts_of(self.picture, seed=self.seed, model=self.model)
        return picture_of(self.best.data, self.picture.best.image.media_type, picture_format, texts)

    def _repr_png_(self) -> bytes:
        return self._encoded("png")

    def _repr_html_(self) -> str:
        rounds = "".join(
            f'<figure style="display:inline-block;margin:4px;vertical-align:top;width:{_SIDE_IN_NOTEBOOK_PX}px">'
            f'<img alt="round {one.number}" style="width:100%" src="{_address_of(one)}">'
            f"<figcaption>{'★ ' if one is self.best else ''}round {one.number}: {_met_of(one)}</figcaption></figure>"
            for one in self.rounds
        )
        unmet, unsure = (_list_of(self.best, answer) for answer in (False, None))
        return (
            f'<div><img alt="{_safe(self.prompt)}" style="max-width:100%" src="{_address_of(self.best)}">'
            f"<p>{_safe(self.prompt)} – {_met_of(self.best)}, seed {self.seed}</p>"
            f"{f'<p>Not met:</p><ul>{unmet}</ul>' if unmet else ''}"
            f"{f'<p>Not sure, or not checked:</p><ul>{unsure}</ul>' if unsure else ''}"
            f"<div>{rounds if len(self.rounds) > 1 else ''}</div></div>"
        )


def draw(
    prompt: str,
    *,
    router: str | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    preset: str | None = None,
    seed: int | None = None,
    rounds: int | None = None,
    candidates: int | None = None,
    strategy: str | None = None,
    images: int | None = None,
    size: str | tuple[int, int] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str | None = None,
    image: GivenImage | Sequence[GivenImage] = (),
    strength: float | None = None,
    memory: MemoryMode | None = None,
    skill: str | None = None,
) -> Drawing:
    """Draw a prompt and return the picture; blocks until it is drawn, and needs no event loop.

    Without `router` (the address of a running mesh), a mesh is started with the settings of the TOML file `config`, of
    the named set `preset` and of `settings` (each `KEY=VALUE`), and ends with the call: about a second for the built-in
    models, which need no GPU. The other arguments are the options of `gems draw`; None stays as configured. `size` is
    in pixels: "768x512" or (768, 512). `image` is a picture to draw from, or a list of up to 16: a path, the bytes of a
    PNG, JPEG or WebP file, or an image of Pillow; without `size`, the result has the proportions of the first one. The
    call may be made while an asyncio loop runs in the same thread, which it blocks; Ctrl-C raises KeyboardInterrupt.

    Raises:
        UsageError: the arguments are impossible, or the caller runs under trio: use `open_client` there.
        ConfigError: the mesh cannot run with this configuration.
        GemsError: the draw failed.
    """
    if trio.lowlevel.in_trio_run():
        raise UsageError("draw: expected a caller outside trio, got one that trio runs; use open_client and Mesh.ask")
    prompt, references = _checked(prompt, image, strength)
    options = DrawOptions(
        rounds=rounds,
        candidates=candidates,
        strategy=strategy,
        images=images,
        size=_parsed("size", parse_size, size) if isinstance(size, str) else size,
        steps=steps,
        guidance=guidance,
        negative_prompt=negative_prompt,
        strength=strength,
        memory=memory,
        skill=skill,
        seed=secrets.randbelow(MAX_SEED + 1) if seed is None else seed,
        config_file=None if config is None else Path(config),
        overrides=tuple(settings),
        preset=preset,
        router=None if router is None else _parsed("router", parse_address, router),
    )
    with kept_logging():  # the mesh configures the log of this process
        return _run_in_thread(options, prompt, references)


def _checked(
    prompt: str, image: GivenImage | Sequence[GivenImage], strength: float | None
) -> tuple[str, Sequence[Reference]]:
    if not isinstance(prompt, str):
        raise UsageError(f"prompt: expected text, got {type(prompt).__name__}")
    try:
        prompt, references = check_prompt(prompt), read_references(image)
    except PromptError as error:
        raise UsageError(f"prompt: {error}") from error
    except BadReferenceError as error:
        raise UsageError(f"image: {error}") from error
    if strength is not None and not references:
        raise UsageError("strength: expected it with an image, got it alone")
    return prompt, references


def _parsed(argument: str, parse: Callable[[str], ParsedT], text: str) -> ParsedT:
    try:
        return parse(text)
    except UsageError as error:
        raise UsageError(f"{argument}: {error}") from error


def _run_in_thread(options: DrawOptions, prompt: str, references: Sequence[Reference]) -> Drawing:
    """Run the draw where no signal handler, event loop or log context of the caller is touched."""
    scope = trio.CancelScope()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def run() -> Drawing | None:
        tokens.append(trio.lowlevel.current_trio_token())
        with scope:
            return await _draw(options, prompt, references)
        return None  # cancelled below

    with ThreadPoolExecutor(1, "gems-draw") as thread:
        future = thread.submit(trio.run, run)
        try:
            drawing = future.result()
        except UsageError as error:
            raise UsageError(str(error).replace("--", "")) from error  # options of commands are arguments here
        except KeyboardInterrupt:
            with suppress(trio.RunFinishedError):
                if tokens:
                    tokens[0].run_sync_soon(scope.cancel)
                else:
                    scope.cancel()  # trio has not started yet, and enters a scope that is cancelled already
            raise
    assert drawing is not None
    return drawing


async def _draw(options: DrawOptions, prompt: str, references: Sequence[Reference]) -> Drawing:
    config = options.read_config()
    assert options.seed is not None
    request = DrawPicture(
        run=f"draw-{secrets.token_hex(4)}",
        prompt=prompt,
        seed=options.seed,
        references=tuple(one.ref for one in references),
        settings=settings_from(references, draw_settings(config, options.settings()), options),
        budget=budget_of(config),
    )
    with open_session(config, options.router, redirects_stderr=False) as session_config:
        async with (
            open_interrupts() as interrupts,  # without signals, in a thread
            start_or_connect(session_config, options.router, interrupts) as connection,
        ):
            await keep_references(connection.blobs, references)
            begun = RunBegun(run=request.run, what=prompt, total=1)
            await connection.mesh.ask(AppendRecord(record=begun), lane=Lane.INTERACTIVE)
            picture = await connection.mesh.ask(request, lane=Lane.INTERACTIVE)
            data = [await connection.blobs.get(attempt.image) for attempt in picture.attempts]
    return _drawing_of(picture, data, options.seed, config)


def _drawing_of(picture: Picture, data: Sequence[bytes], seed: int, config: MeshConfig) -> Drawing:
    questions = {requirement.id: requirement.question for requirement in picture.requirements}
    rounds = [
        DrawnRound(attempt.round, attempt.shown_prompt, _met_by_question(attempt, questions), file)
        for attempt, file in zip(picture.attempts, data, strict=True)
    ]
    best = rounds[picture.attempts.index(picture.best)]
    return Drawing(picture.prompt, seed, config.image.drawn_by, picture, rounds, best)


def _met_by_question(attempt: Attempt, questions: Mapping[str, str]) -> dict[str, bool | None]:
    known: dict[str, bool | None] = {"met": True, "unmet": False, "unsure": None}
    return {questions[verdict.requirement]: known[verdict.answer] for verdict in attempt.verdicts}


def _decoded(data: bytes) -> Image.Image:
    from PIL import Image  # loads Pillow, once an image is looked at

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def _met_of(one: DrawnRound) -> str:
    return f"{sum(is_met is True for is_met in one.met.values())} of {len(one.met)} met"


def _list_of(one: DrawnRound, answer: bool | None) -> str:
    return "".join(f"<li>{_safe(question)}</li>" for question, is_met in one.met.items() if is_met is answer)


def _address_of(one: DrawnRound) -> str:
    from PIL import Image

    with Image.open(io.BytesIO(one.data)) as image:
        media_type = Image.MIME.get(image.format or "", "image/png")
    return f"data:{media_type};base64,{base64.b64encode(one.data).decode()}"


def _safe(text: str) -> str:
    return html.escape(printable(text))
