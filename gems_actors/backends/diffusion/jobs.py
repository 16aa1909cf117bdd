"""A request on its way through the engine, and what a pipeline must be able to do with it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from gems_actors.backends.diffusion.engine_messages import Draw


@dataclass(slots=True, eq=False)
class Job:
    """One picture in the making."""

    id: int
    prompt: str
    negative_prompt: str
    seed: int
    width_px: int
    height_px: int
    steps: int
    guidance: float | None
    """None: what the pipeline takes by itself."""
    is_alone: bool
    """It shares a forward with nobody, so that it is drawn as the stock pipeline would."""
    interactive: bool = False

    bucket: Hashable = ()
    rows: int = 1
    tokens: int = 0
    """Of one row, picture and text, as far as the text's length is known."""
    positive: Tensor | None = None
    """Of the prompt, (tokens, width of the text encoder); likewise `negative`, where there is guidance."""
    negative: Tensor | None = None
    latents: Tensor | None = None
    timesteps: tuple[float, ...] = ()
    """As the transformer is told them, one a step."""
    deltas: tuple[float, ...] = ()
    """Change of sigma in each step."""
    step: int = 0
    """Steps taken."""

    arrived_s: float = 0.0
    """By the engine's clock, like `begun_s`, when it took its first step."""
    begun_s: float = 0.0
    text_s: float = 0.0
    denoise_s: float = 0.0
    decode_s: float = 0.0
    batch_requests: int = 0
    """Requests in its forwards, itself among them, summed over the steps."""

    @property
    def is_denoised(self) -> bool:
        """Whether its last step is taken."""
        return self.step >= self.steps


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a pipeline draws with where neither request nor settings say."""

    steps: int
    guidance: float | None = None
    negative_prompt: str = ""


class Pipeline(Protocol):
    """Takes the place of a stock pipeline's `__call__`, step by step, with its very components."""

    name: str
    """Of the stock pipeline's class."""
    multiple_px: int
    """Of which sides have to be multiples."""
    mixes_sizes: bool
    """Whether pictures of different sizes can share a forward."""
    defaults: Defaults

    def prepare(self, draw: Draw) -> Job:
        """Return a request with its bucket, rows and tokens; nothing is put on the device.

        Raises:
            UnfitError: the pipeline cannot draw what is asked; says what was expected and what was found.
        """
        ...

    def encode(self, jobs: Sequence[Job]) -> None:
        """Give each its text embeddings and its noise."""
        ...

    def denoise(self, jobs: Sequence[Job]) -> list[Tensor]:
        """Return the latents of each after its next step, and change nothing: a step that fails was not taken."""
        ...

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures of requests of one size: (count, height, width, 3), uint8, on the device."""
        ...


class UnfitError(ValueError):
    """A pipeline cannot draw what it is asked for."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished picture."""

    job: Job
    pixels: Tensor
    """(height, width, 3), uint8, in the host's memory."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that cannot be drawn."""

    job: Job
    reason: str
    is_final: bool
    """Whether asking again would end the same way."""
