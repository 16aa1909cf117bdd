"""What Z-Image and Qwen-Image have in common: the schedule and the step of flow matching, noise and pixels.

Source: diffusers 0.42, FlowMatchEulerDiscreteScheduler and the two pipelines' `__call__`; tests compare with both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gems_actors.backends.diffusion.batch_scheduler import LAUNCH_TOKENS
from gems_actors.backends.diffusion.jobs import Job, UnfitError


class Schedule(NamedTuple):
    """How the noise of one picture is taken away."""

    timesteps: tuple[float, ...]
    deltas: tuple[float, ...]
    """Change of sigma in each step, below zero."""


class Schedules:
    """Schedules of a pipeline; its scheduler keeps the place in one trajectory and is therefore never used itself."""

    def __init__(self, scheduler: Any, sigmas_of: Callable[[int], Any]) -> None:
        """Take a stock pipeline's scheduler, and how the pipeline spaces the sigmas of so many steps."""
        self._scheduler, self._sigmas_of = scheduler, sigmas_of
        self._known: dict[tuple[int, int], Schedule] = {}

    def get(self, steps: int, image_tokens: int) -> Schedule:
        """Return the schedule for a number of steps and of tokens of the picture, on which some schedules depend.

        Raises:
            UnfitError: there is no schedule of so few steps.
        """
        key = (steps, image_tokens)
        if key not in self._known:
            scheduler = copy.deepcopy(self._scheduler)
            mu = shift_of(scheduler.config, image_tokens)
            with np.errstate(invalid="ignore", divide="ignore"):
                scheduler.set_timesteps(sigmas=self._sigmas_of(steps), device="cpu", mu=mu)
            deltas = scheduler.sigmas[1:] - scheduler.sigmas[:-1]
            if not bool(deltas.isfinite().all()):  # one that is stretched to a last sigma needs two points for it
                raise UnfitError(f"steps: expected more, because this pipeline's schedule is not defined for {steps}")
            self._known[key] = Schedule(tuple(scheduler.timesteps.tolist()), tuple(deltas.tolist()))
        return self._known[key]


def is_plain_euler(scheduler: Any) -> bool:
    """Return whether a scheduler's step is the one below, which depends on nothing but the sample in hand."""
    if type(scheduler).__name__ != "FlowMatchEulerDiscreteScheduler":
        return False
    return not (scheduler.config.get("stochastic_sampling") or scheduler.config.get("invert_sigmas"))


def shift_of(config: Any, image_tokens: int) -> float:
    """Return `mu`, the shift of the schedule that grows with the number of tokens."""
    tokens = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    shifts = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (shifts[1] - shifts[0]) / (tokens[1] - tokens[0])
    return float(image_tokens * slope + shifts[0] - slope * tokens[0])


def take_step(latents: Tensor, velocity: Tensor, delta: float) -> Tensor:
    """Return the latents after a step, in the dtype of the velocity, computed as the stock scheduler does."""
    change = (velocity.float() * delta).to(velocity.dtype)
    return (latents.float() + change).to(velocity.dtype)


class Prediction(NamedTuple):
    """What the transformer says of one picture in one step."""

    velocity: Tensor
    unguided: Tensor | None
    """For the negative prompt; None where there is no guidance."""


def predict(
    jobs: Sequence[Job], forward: Callable[[Sequence[Job], Sequence[Tensor]], Sequence[Tensor]], *, stock_is_apart: bool
) -> list[Prediction]:
    """Return the predictions for requests, those for prompts and negative prompts in one forward or in two.

    A negative prompt is short as a rule. Beside a long prompt its row would be as long, and where that costs more than
    another launch there are two forwards.

    Args:
        jobs: encoded requests.
        forward: the transformer, for requests and one text of each.
        stock_is_apart: whether the stock pipeline makes two forwards of it, as is then done for a request alone.
    """
    guided = [job for job in jobs if job.negative is not None]
    positives = [job.positive for job in jobs if job.positive is not None]
    negatives = [job.negative for job in guided if job.negative is not None]
    padding = _padding([*positives, *negatives]) - _padding(positives) - _padding(negatives)
    if stock_is_apart if jobs[0].is_alone else padding > LAUNCH_TOKENS:
        velocities = [*forward(jobs, positives), *(forward(guided, negatives) if guided else ())]
    else:
        velocities = [*forward([*jobs, *guided], [*positives, *negatives])]
    unguided = {job.id: velocity for job, velocity in zip(guided, velocities[len(jobs) :], strict=True)}
    return [Prediction(velocity, unguided.get(job.id)) for job, velocity in zip(jobs, velocities, strict=False)]


def _padding(texts: Sequence[Tensor]) -> int:
    """Return the tokens that fill texts up to the longest."""
    lengths = [len(text) for text in texts]
    return len(lengths) * max(lengths, default=0) - sum(lengths)


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the noise of one picture: drawn on the CPU, so that a seed means the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).to(device)


def to_pixels(images: Tensor) -> Tensor:
    """Return decoded pictures, (count, 3, height, width) in [-1, 1], as (count, height, width, 3), uint8."""
    scaled = (images * 0.5 + 0.5).clamp(0, 1)
    return (scaled.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def check_size(width_px: int, height_px: int, multiple_px: int) -> None:
    """See that a picture's sides are multiples of what the pipeline can draw.

    Raises:
        UnfitError: they are not.
    """
    if width_px % multiple_px or height_px % multiple_px:
        raise UnfitError(f"size: expected sides that are multiples of {multiple_px} px, got {width_px}x{height_px}")


def count_patches(width_px: int, height_px: int, patch_px: int) -> int:
    """Return how many tokens a picture is to its transformer."""
    return (height_px // patch_px) * (width_px // patch_px)


@contextmanager
def tiling(vae: Any, is_wanted: bool) -> Iterator[None]:
    """Decode tile by tile within the block, where that is wanted: less memory, and seams that are blended."""
    if is_wanted:
        vae.enable_tiling()
    try:
        yield
    finally:
        if is_wanted:
            vae.disable_tiling()


def by_text(texts: Sequence[str]) -> list[str]:
    """Return the different texts, in order: one that several requests share is encoded once."""
    return list(dict.fromkeys(texts))
