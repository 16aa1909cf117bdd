"""The arithmetic that flow-matching pipelines share: schedule, step, guidance, noise and pixels.

Source: diffusers 0.42, FlowMatchEulerDiscreteScheduler and the pipelines' `__call__`; tests compare with them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gems_actors.backends.diffusion.jobs import UnfitError


class Schedule(NamedTuple):
    """Denoising schedule of one picture."""

    timesteps: tuple[float, ...]
    deltas: tuple[float, ...]
    """Change of sigma in each step, negative."""
    sigmas: tuple[float, ...]
    """Sigma before each step."""

    def last_part(self, strength: float) -> Schedule:
        """Return the steps that image to image takes of a schedule, as the stock pipelines choose them.

        Raises:
            UnfitError: there are none.
        """
        steps = len(self.timesteps)
        skipped = int(max(steps - min(steps * strength, steps), 0))
        if skipped == steps:
            raise UnfitError(f"strength: expected more, because it leaves none of {steps} steps, got {strength}")
        return Schedule(self.timesteps[skipped:], self.deltas[skipped:], self.sigmas[skipped:])


class Schedules:
    """Cached schedules of a pipeline; its scheduler is copied, because it holds the state of one picture."""

    def __init__(
        self, scheduler: Any, sigmas_of: Callable[[int], Any], mu_of: Callable[[int, int], float] | None = None
    ) -> None:
        """Use a stock pipeline's scheduler.

        Args:
            scheduler: the scheduler; it is not changed.
            sigmas_of: returns the pipeline's sigmas for a number of steps.
            mu_of: returns the shift for a number of steps and of tokens of the picture; by default the usual line.
        """
        self._scheduler, self._sigmas_of = scheduler, sigmas_of
        self._mu_of = mu_of or (lambda steps, tokens: shift_of(scheduler.config, tokens))
        self._known: dict[tuple[int, int], Schedule] = {}

    def get(self, steps: int, image_tokens: int) -> Schedule:
        """Return the schedule for a number of steps; some schedules also depend on the picture's tokens.

        Raises:
            UnfitError: the schedule is not defined for so few steps.
        """
        key = (steps, image_tokens)
        if key not in self._known:
            scheduler = copy.deepcopy(self._scheduler)
            mu = self._mu_of(steps, image_tokens)
            with np.errstate(invalid="ignore", divide="ignore"):
                scheduler.set_timesteps(sigmas=self._sigmas_of(steps), device="cpu", mu=mu)
            deltas = scheduler.sigmas[1:] - scheduler.sigmas[:-1]
            if not bool(deltas.isfinite().all()):  # stretching to a terminal sigma needs two points
                raise UnfitError(f"steps: expected more, because this pipeline's schedule is not defined for {steps}")
            parts = scheduler.timesteps, deltas, scheduler.sigmas[:-1]
            self._known[key] = Schedule(*(tuple(part.tolist()) for part in parts))
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
    """Return the latents after a step, in the dtype of the velocity.

    Computed as the stock scheduler does, in which a tensor of one number takes the dtype of what it multiplies.
    """
    change = velocity * torch.tensor(delta).to(velocity.dtype)
    return (latents.float() + change).to(velocity.dtype)


class Guidance(NamedTuple):
    """How a pipeline follows its prompt more closely by also looking at the velocity for a negative prompt."""

    above: float
    """Scale above which the negative prompt is used."""
    combine: Callable[[Tensor, Tensor, float], Tensor]
    """Combines the velocities for prompt and negative prompt by the scale."""
    is_apart: bool
    """Whether the stock pipeline runs the two in two forwards; a request that runs alone does the same."""


def from_prompt(velocity: Tensor, negative: Tensor, scale: float) -> Tensor:
    """Go from the prompt's velocity away from the negative one's."""
    return velocity + scale * (velocity - negative)


def from_negative(velocity: Tensor, negative: Tensor, scale: float) -> Tensor:
    """Go from the negative prompt's velocity towards the prompt's and beyond: the usual form."""
    return negative + scale * (velocity - negative)


def with_length_of_prompt(velocity: Tensor, negative: Tensor, scale: float) -> Tensor:
    """Combine in the usual form, and give each token the length that it has in the prompt's velocity."""
    combined = from_negative(velocity, negative, scale)
    length, wanted = (torch.norm(part, dim=-1, keepdim=True) for part in (combined, velocity))
    return combined * (wanted / length)


def generator_of(seed: int) -> torch.Generator:
    """Return the generator of one picture, on the CPU, so that a seed gives the same on every device."""
    return torch.Generator("cpu").manual_seed(seed)


def noise(shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the noise of one picture."""
    return torch.randn(shape, generator=generator, dtype=dtype).to(device)


def add_noise(latents: Tensor, fresh: Tensor, share: float) -> Tensor:
    """Return latents with a share of noise, computed as the stock scheduler does, which rounds the share, too."""
    rounded = torch.tensor(share).to(latents.dtype)
    return rounded * fresh + (1.0 - rounded) * latents


def to_pixels(images: Tensor) -> Tensor:
    """Return decoded pictures, (count, channels, height, width) in [-1, 1], as uint8 with channels last."""
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
