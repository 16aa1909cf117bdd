"""The GPU script runs with a tiny model on the CPU, so that it is known to work before a GPU is available."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from gems_actors.backends.diffusion import float8
from tests.benchmarks.gpu import CACHED_STEPS, THRESHOLDS, TINY

pytestmark = pytest.mark.slow


def test_the_script_for_a_gpu_measures_a_tiny_model_on_the_cpu() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--tiny", "--no-compile"]
    *lines, last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = json.loads(last)
    batches = {str(batch) for batch in TINY.batches}
    for side_px in map(str, TINY.sides_px):
        figures = found[side_px]
        assert 0 < figures["engine"]["busy_share"] <= 1
        assert min(figures["engine"]["images_per_s"], figures["stock_images_per_s"], *figures["limit"].values()) > 0
        assert figures["forward_s"].keys() == figures["ragged_forward_s"]["mask"].keys() == batches
        assert figures["ragged_forward_s"]["split"].keys() == batches
        assert any(line.startswith(f"{side_px} px: engine ") for line in lines)
        assert any(line.startswith(f"{side_px} px, before the first step: ") for line in lines)
        assert min(figures["begun"].values()) > 0
        assert figures["cache"].keys() == set(map(str, THRESHOLDS))
        for cache in figures["cache"].values():
            assert 0 < cache["forwards"] <= CACHED_STEPS
            assert cache["faster"] > 0
            assert cache["psnr_db"] > 30
            assert 0 < cache["worst_ssim"] <= cache["ssim"] <= 1
    if float8.is_installed():
        assert all(found["fp8"][str(side_px)]["psnr_db"] > 10 for side_px in TINY.sides_px)
    else:
        assert "fp8 was not measured: torchao is not installed" in lines


def test_the_full_model_has_as_many_weights_as_are_published() -> None:
    """6.155 billion in the transformer: the defaults of the class are Z-Image's own."""
    import diffusers

    with torch.device("meta"):
        transformer = diffusers.ZImageTransformer2DModel()
    assert round(sum(weight.numel() for weight in transformer.parameters()) / 1e9, 3) == 6.155
