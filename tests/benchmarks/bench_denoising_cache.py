"""What the denoising cache saves, and how like the pictures stay, where the exact velocity is known.

A model that has learned its data perfectly returns the mean velocity of all pictures that a noisy one can come from.
For pictures from a mixture of Gaussians with the spectrum of photographs, that mean has a formula, so nothing is
trained and the velocity changes as smoothly as it does for a trained model. The pipelines' random weights, in
contrast, change it erratically with time; they are measured too, as the worst case.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gems_actors.backends.diffusion.denoising_cache import VelocityCache
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.jobs import Drawn
from tests.benchmarks.likeness import psnr_db, ssim
from tests.gems_actors.backends.diffusion.engines import engine_of, run_all, watched

THRESHOLDS: Final = (0.02, 0.05, 0.1, 0.2)
_SIDE, _COMPONENTS, _PICTURES, _SHIFT = 64, 32, 8, 3.0
_WIDTH: Final = 0.3
"""Standard deviation of a picture from the mean of its component, whose own is 1."""


class Mixture:
    """Pictures from a mixture of Gaussians, and the exact velocity of their flow."""

    def __init__(self) -> None:
        """Draw the means of the components."""
        across = torch.fft.fftfreq(_SIDE)
        frequency = (across[:, None] ** 2 + across[None] ** 2).sqrt().clamp(min=1 / _SIDE)
        amplitude = frequency**-1.5  # photographs fall off between 1 and 2
        chance = torch.Generator().manual_seed(0)
        white = torch.randn(_COMPONENTS, _SIDE, _SIDE, generator=chance)
        means = torch.fft.ifft2(torch.fft.fft2(white) * amplitude).real
        self._means = torch.fft.fft2(means / means.std(), norm="ortho")
        self._variance = amplitude**2 / (amplitude**2).mean() * _WIDTH**2

    def velocity(self, noisy: Tensor, sigma: float) -> Tensor:
        """Return noise minus picture, in the mean over all pictures that the noisy one can come from."""
        spectrum = torch.fft.fft2(noisy, norm="ortho")
        variance = (1 - sigma) ** 2 * self._variance + sigma**2
        rest = spectrum - (1 - sigma) * self._means
        likelihood = -0.5 * (rest.abs() ** 2 / variance).sum((1, 2))
        posterior = self._means + (1 - sigma) * self._variance / variance * rest
        shares = torch.softmax(likelihood, 0)[:, None, None]
        return (noisy - torch.fft.ifft2((shares * posterior).sum(0), norm="ortho").real) / sigma


class Sample(NamedTuple):
    """A picture as numbers, and the velocities that were computed for it."""

    picture: Tensor
    forwards: int


def sample(
    velocity_of: Callable[[Tensor, float], Tensor], seed: int, steps: int, threshold: float | None = None
) -> Sample:
    """Draw one picture by Euler steps, as the engine does, with a cache if there is a threshold."""
    even = torch.linspace(1, 1 / steps, steps)
    sigmas = [*(_SHIFT * even / (1 + (_SHIFT - 1) * even)).tolist(), 0.0]
    deltas = [after - before for before, after in pairwise(sigmas)]
    picture = torch.randn(_SIDE, _SIDE, generator=torch.Generator().manual_seed(seed))
    cache, forwards = None if threshold is None else VelocityCache(threshold), 0
    for step, delta in enumerate(deltas):
        velocity = None if cache is None else cache.velocity_at(step, deltas)
        if velocity is None:
            velocity = velocity_of(picture, sigmas[step])
            forwards += 1
            cache = None if cache is None else cache.after(velocity, step)
        picture = picture + velocity * delta
    return Sample(picture, forwards)


def pixels(picture: Tensor) -> Tensor:
    """Return a picture of the mixture as (height, width, 1) of 0 to 255; four deviations fill the range."""
    return ((picture / 4 + 0.5).clamp(0, 1) * 255).round()[..., None]


def compare_on_mixture(steps: int) -> None:
    """Print forwards and likeness by threshold, and those of fewer steps without a cache."""
    velocity_of = Mixture().velocity
    computed = [sample(velocity_of, seed, steps) for seed in range(_PICTURES)]

    def report(name: str, others: list[Sample]) -> None:
        pairs = [(pixels(other.picture), pixels(one.picture)) for other, one in zip(others, computed, strict=True)]
        print(
            f"exact flow, {steps} steps, {name}: {statistics.mean(other.forwards for other in others):.1f} forwards, "
            f"PSNR {statistics.median(psnr_db(*pair) for pair in pairs):.1f} dB, "
            f"SSIM {statistics.median(ssim(*pair) for pair in pairs):.3f}"
        )

    for threshold in THRESHOLDS:
        report(f"cache {threshold}", [sample(velocity_of, seed, steps, threshold) for seed in range(_PICTURES)])
    for fewer in (steps // 2, steps // 3):
        report(f"{fewer} steps instead", [sample(velocity_of, seed, fewer) for seed in range(_PICTURES)])


def compare_on_random_weights(kind: str, steps: int = 40, threshold: float = 0.4) -> None:
    """Print forwards and likeness of a tiny pipeline."""
    draws = [Draw(seed, "a red fox on snow", seed, 64, 64, steps=steps, guidance=0.0) for seed in range(_PICTURES)]
    computed, engine = run_all(engine_of(watched(kind)), draws), engine_of(watched(kind, cache_threshold=threshold))
    cached = run_all(engine, draws)
    pairs = []
    for seed in range(_PICTURES):
        first, second = cached[seed], computed[seed]
        assert isinstance(first, Drawn)
        assert isinstance(second, Drawn)
        pairs.append((first.pixels, second.pixels))
    print(
        f"random weights, {kind}, {steps} steps, cache {threshold}: "
        f"{steps - engine.totals().reused / _PICTURES:.1f} forwards, "
        f"PSNR {statistics.median(psnr_db(*pair) for pair in pairs):.1f} dB, "
        f"SSIM {statistics.median(ssim(*pair) for pair in pairs):.3f}"
    )


def main() -> None:
    """Print both parts."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    for steps in (28, 50):
        compare_on_mixture(steps)
    for kind in ("z-image", "qwen-image", "qwen-image-21", "flux2-klein"):
        compare_on_random_weights(kind)


if __name__ == "__main__":
    main()
