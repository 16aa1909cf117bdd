"""PSNR and SSIM of pictures whose likeness is known, and the denoising cache where the exact velocity is."""

from __future__ import annotations

import math

import torch

from tests.benchmarks.bench_denoising_cache import Mixture, pixels, sample
from tests.benchmarks.likeness import psnr_db, ssim


def test_equal_pictures_are_alike() -> None:
    picture = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(0))
    assert psnr_db(picture, picture) == math.inf
    assert ssim(picture, picture) == 1.0


def test_an_error_of_one_level_is_48_decibels() -> None:
    picture = torch.full((16, 16, 3), 100)
    assert round(psnr_db(picture, picture + 1), 2) == 48.13


def test_noise_makes_pictures_less_alike() -> None:
    chance = torch.Generator().manual_seed(0)
    picture = torch.linspace(0, 255, 64).expand(64, 64)[..., None]
    noisy = [picture + deviation * torch.randn(64, 64, 1, generator=chance) for deviation in (5, 50)]
    assert 1 > ssim(picture, noisy[0]) > ssim(picture, noisy[1]) > 0
    assert ssim(picture, 255 - picture) < 0, "a negative is unlike"


def test_a_cache_stays_closer_than_fewer_steps_with_as_many_forwards() -> None:
    velocity_of = Mixture().velocity
    computed = sample(velocity_of, 1, 40)
    cached = sample(velocity_of, 1, 40, 0.05)
    fewer = sample(velocity_of, 1, cached.forwards)
    assert computed.forwards == 40
    assert 8 < cached.forwards < 24
    likeness = [psnr_db(pixels(other.picture), pixels(computed.picture)) for other in (cached, fewer)]
    assert likeness[0] > 35
    assert likeness[0] > likeness[1] + 6
