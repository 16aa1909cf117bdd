"""How much two pictures differ: PSNR and SSIM, as the papers on denoising caches and quantization report them."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import conv2d

_WINDOW, _SIGMA = 11, 1.5
_C1: Final = (0.01 * 255) ** 2
_C2: Final = (0.03 * 255) ** 2


def psnr_db(first: Tensor, second: Tensor) -> float:
    """Return the peak signal-to-noise ratio of two pictures, (height, width, channels) of 0 to 255, in decibels."""
    error = (first.double() - second.double()).square().mean().item()
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(first: Tensor, second: Tensor) -> float:
    """Return the mean structural similarity of two pictures, (height, width, channels) of 0 to 255; at most 1.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity (2004), section III;
    a Gaussian window of 11 pixels with a deviation of 1.5, channel by channel.
    """
    places = torch.arange(_WINDOW, dtype=torch.float64) - _WINDOW // 2
    line = torch.exp(-(places**2) / (2 * _SIGMA**2))
    window = (line[:, None] * line / line.sum() ** 2)[None, None]

    def mean(values: Tensor) -> Tensor:
        return conv2d(values, window)

    x, y = (picture.cpu().double().permute(2, 0, 1)[:, None] for picture in (first, second))
    mx, my = mean(x), mean(y)
    vx, vy, xy = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    shares = ((2 * mx * my + _C1) * (2 * xy + _C2)) / ((mx * mx + my * my + _C1) * (vx + vy + _C2))
    return float(shares.mean())
