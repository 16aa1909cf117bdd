"""A request inside the engine, and the interface of a pipeline that draws it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from PIL.Image import Image
from torch import Tensor

from gems_actors.backends.diffusion.denoising_cache import VelocityCache
from gems_actors.backends.diffusion.engine_messages import Draw


class Reference(NamedTuple):
    """A picture to draw from, prepared for the encoders, on the host."""

    pixels: Tensor
    """(1, 3, height, width), or 4 channels with alpha, float32, in [-1, 1], as the encoder of latents takes it."""
    shown: Image | None = None
    """Picture as the text encoder sees it; None if that sees none."""


@dataclass(slots=True, eq=False)
class Job:
    """One picture being drawn."""

    id: int
    prompt: str
    negative_prompt: str
    seed: int
    width_px: int
    height_px: int
    steps: int
    guidance: float | None
    """Guidance scale; None for the pipeline's default."""
    is_alone: bool
    """Whether it shares no forward, so that it is drawn exactly as by the stock pipeline."""
    interactive: bool = False

    bucket: Hashable = ()
    rows: int = 1
    tokens: int = 0
    """Length of one row: picture, plus text once that is encoded."""
    positive: Tensor | None = None
    """What the transformer reads of the prompt, with one entry per token."""
    negative: Tensor | None = None
    """The same of the negative prompt; None without guidance."""
    latents: Tensor | None = None
    references: tuple[Reference, ...] = ()
    """Pictures to draw from, until they are encoded."""
    grids: tuple[tuple[int, int], ...] = ()
    """Height and width, in tokens, of each reference that the transformer reads."""
    conditions: Tensor | None = None
    """Latents of these references, (tokens, channels)."""
    cache: VelocityCache | None = None
    """Velocities that further steps may reuse; None if the transformer computes every step."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What a pipeline keeps of a request from one step to the next."""
    timesteps: tuple[float, ...] = ()
    """Timesteps that the transformer receives, one per step."""
    deltas: tuple[float, ...] = ()
    """Change of sigma in each step."""
    noise_share: float = 1.0
    """Sigma before the first step: the share of noise, the rest being the picture that is redrawn."""
    step: int = 0
    """Steps taken."""

    arrived_s: float = 0.0
    """Time at which the engine took it up, by the engine's clock."""
    begun_s: float = 0.0
    """Time of its first step, by the same clock."""
    text_s: float = 0.0
    denoise_s: float = 0.0
    decode_s: float = 0.0
    batch_requests: int = 0
    """Requests in its forwards, itself included, summed over its forwards."""
    reused_steps: int = 0
    """Steps taken from the cache, without a forward."""

    @property
    def is_denoised(self) -> bool:
        """Whether all steps are taken."""
        return self.step >= self.steps


@dataclass(frozen=True, slots=True)
class Defaults:
    """Values for what neither the request nor the settings specify."""

    steps: int
    guidance: float | None = None
    negative_prompt: str = ""


class Stepped(NamedTuple):
    """What a step makes of a request; the engine puts it into the job once the step is done."""

    latents: Tensor
    cache: VelocityCache | None = None


class Pipeline(Protocol):
    """Replaces the `__call__` of a stock pipeline by separate steps on the same components."""

    name: str
    """Name of the stock pipeline's class."""
    multiple_px: int
    """Number of which both sides must be multiples."""
    mixes_sizes: bool
    """Whether pictures of different sizes can share a forward."""
    max_texts: int
    """Maximum prompts encoded together: a few thousand tokens, beyond which they only take longer."""
    defaults: Defaults
    max_references: int
    """Maximum pictures that a picture is drawn from; 0 if it draws from none."""
    needs_references: bool
    """Whether it draws from pictures only."""
    redraws: bool
    """Whether a picture begins as its reference, noised: image to image, whose prompt describes the whole picture."""

    def prepare(self, draw: Draw, pictures: Sequence[Image] = ()) -> Job:
        """Return the job of a request, with its bucket, rows and tokens; the device is not used yet.

        Args:
            draw: the request.
            pictures: its references, RGB or RGBA.

        Raises:
            UnfitError: the pipeline cannot draw this request.
        """

    def encode(self, jobs: Sequence[Job]) -> None:
        """Set the text embeddings and the noise of each job."""

    def denoise(self, jobs: Sequence[Job]) -> list[Stepped]:
        """Return each after its next step; the jobs do not change, so a failed step can be retried."""

    def reuse(self, job: Job) -> Tensor | None:
        """Return the latents after the next step if that step needs no forward, else None."""

    def decode(self, jobs: Sequence[Job], *, tiled: bool = False) -> Tensor:
        """Return the pictures of jobs of one size: (count, height, width, 3 or 4), uint8, on the device."""


class UnfitError(ValueError):
    """The pipeline cannot draw this request."""


def check_references(pipeline: Pipeline, count: int) -> None:
    """Check how many references a request has.

    Raises:
        UnfitError: the pipeline cannot draw from so many, or needs some.
    """
    name, most = pipeline.name, pipeline.max_references
    if count > most:
        raise UnfitError(f"references: expected at most {most}, as many as {name} draws from, got {count}")
    if pipeline.needs_references and not count:
        raise UnfitError(f"references: expected a picture, because {name} only edits pictures, got none")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A finished picture."""

    job: Job
    pixels: Tensor
    """Pixels as (height, width, 3), or 4 with alpha, uint8, in host memory."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that could not be drawn."""

    job: Job
    reason: str
    is_final: bool
    """Whether a retry would fail the same way."""
