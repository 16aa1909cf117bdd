"""Parts shared by Z-Image and Qwen-Image: schedule and step of flow matching, noise and pixels.

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
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Defaults, Job, UnfitError


class Schedule(NamedTuple):
    """Denoising schedule of one picture."""

    timesteps: tuple[float, ...]
    deltas: tuple[float, ...]
    """Change of sigma in each step, negative."""


class Schedules:
    """Cached schedules of a pipeline; its scheduler is copied, because it holds the state of one picture."""

    def __init__(self, scheduler: Any, sigmas_of: Callable[[int], Any]) -> None:
        """Use a stock pipeline's scheduler, and a function from a number of steps to the pipeline's sigmas."""
        self._scheduler, self._sigmas_of = scheduler, sigmas_of
        self._known: dict[tuple[int, int], Schedule] = {}

    def get(self, steps: int, image_tokens: int) -> Schedule:
        """Return the schedule for a number of steps; some schedules also depend on the picture's tokens.

        Raises:
            UnfitError: the schedule is not defined for so few steps.
        """
        key = (steps, image_tokens)
        if key not in self._known:
            scheduler = copy.deepcopy(self._scheduler)
            mu = shift_of(scheduler.config, image_tokens)
            with np.errstate(invalid="ignore", divide="ignore"):
                scheduler.set_timesteps(sigmas=self._sigmas_of(steps), device="cpu", mu=mu)
            deltas = scheduler.sigmas[1:] - scheduler.sigmas[:-1]
            if not bool(deltas.isfinite().all()):  # stretching to a terminal sigma needs two points
                raise UnfitError(f"steps: expected more, because this pipeline's schedule is not defined for {steps}")
            self._known[key] = Schedule(tuple(scheduler.timesteps.tolist()), tuple(deltas.tolist()))
        return self._known[key]


def is_plain_euler(scheduler: Any) -> bool:
    """Return whether a scheduler's step is `take_step`, which depends on the current sample only."""
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
    """Output of the transformer for one picture in one step."""

    velocity: Tensor
    unguided: Tensor | None
    """Velocity for the negative prompt; None without guidance."""


def predict(
    jobs: Sequence[Job], forward: Callable[[Sequence[Job], Sequence[Tensor]], Sequence[Tensor]], *, stock_is_apart: bool
) -> list[Prediction]:
    """Return the predictions for jobs, with prompts and negative prompts in one forward or in two.

    Negative prompts are usually short, and in one forward they are padded to the longest prompt. If that padding costs
    more than another launch, two forwards are used.

    Args:
        jobs: encoded jobs.
        forward: runs the transformer on jobs, with one text for each.
        stock_is_apart: whether the stock pipeline uses two forwards; a job that runs alone does the same.
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
    """Return the tokens needed to pad texts to the longest."""
    lengths = [len(text) for text in texts]
    return len(lengths) * max(lengths, default=0) - sum(lengths)


def noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the noise of one picture, generated on the CPU, so that a seed gives the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype).to(device)


def to_pixels(images: Tensor) -> Tensor:
    """Return decoded pictures, (count, 3, height, width) in [-1, 1], as (count, height, width, 3), uint8."""
    scaled = (images * 0.5 + 0.5).clamp(0, 1)
    return (scaled.float() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def check_size(width_px: int, height_px: int, multiple_px: int) -> None:
    """Check that both sides are multiples of `multiple_px`.

    Raises:
        UnfitError: they are not.
    """
    if width_px % multiple_px or height_px % multiple_px:
        raise UnfitError(f"size: expected sides that are multiples of {multiple_px} px, got {width_px}x{height_px}")


def count_patches(width_px: int, height_px: int, patch_px: int) -> int:
    """Return the number of tokens of a picture."""
    return (height_px // patch_px) * (width_px // patch_px)


@contextmanager
def tiling(vae: Any, is_wanted: bool) -> Iterator[None]:
    """Decode tile by tile in the block if wanted, which needs less memory and blends the seams."""
    if is_wanted:
        vae.enable_tiling()
    try:
        yield
    finally:
        if is_wanted:
            vae.disable_tiling()


def new_job(draw: Draw, defaults: Defaults, schedules: Schedules, multiple_px: int) -> Job:
    """Return the job of a request, with its size as its bucket, one row and the tokens of the picture alone.

    Raises:
        UnfitError: the pipeline does not support this size or number of steps.
    """
    check_size(draw.width_px, draw.height_px, multiple_px)
    steps, tokens = draw.steps or defaults.steps, count_patches(draw.width_px, draw.height_px, multiple_px)
    schedule = schedules.get(steps, tokens)
    return Job(
        id=draw.id,
        prompt=draw.prompt,
        negative_prompt=draw.negative_prompt or defaults.negative_prompt,
        seed=draw.seed,
        width_px=draw.width_px,
        height_px=draw.height_px,
        steps=steps,
        timesteps=schedule.timesteps,
        deltas=schedule.deltas,
        guidance=defaults.guidance if draw.guidance is None else draw.guidance,
        is_alone=draw.is_alone,
        bucket=(draw.width_px, draw.height_px),
        tokens=tokens,
    )


def set_embeddings(jobs: Sequence[Job], embed: Callable[[Sequence[str]], list[Tensor]]) -> None:
    """Embed the prompts, and the negative prompts of jobs with two rows; a text that jobs share is embedded once.

    The texts of a job that runs alone are embedded one by one, as the stock pipelines do: on some CPUs padding changes
    the last bits of an embedding.
    """
    guided = [job for job in jobs if job.rows == 2]
    texts = list(dict.fromkeys([*(job.prompt for job in jobs), *(job.negative_prompt for job in guided)]))
    batches = [[text] for text in texts] if jobs[0].is_alone else [texts]
    embeddings = dict(zip(texts, (embedding for batch in batches for embedding in embed(batch)), strict=True))
    for job in jobs:
        job.positive = embeddings[job.prompt]
        job.negative = embeddings[job.negative_prompt] if job.rows == 2 else None
