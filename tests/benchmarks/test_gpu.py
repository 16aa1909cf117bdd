"""The script for a GPU runs here too, of a tiny model, so that it is known to run before a GPU is at hand."""

from __future__ import annotations

import pytest

from tests.benchmarks import gpu


@pytest.mark.slow
def test_the_script_for_a_gpu_measures_a_tiny_model_on_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    found = gpu.main(["--tiny", "--no-compile"])
    for side_px in gpu.TINY.sides_px:
        figures = found[side_px]
        assert 0 < figures["engine"]["busy_share"] <= 1
        assert min(figures["engine"]["images_per_s"], figures["stock_images_per_s"], *figures["limit"].values()) > 0
        assert figures["forward_s"].keys() == figures["ragged_forward_s"]["mask"].keys() == set(gpu.TINY.batches)
        assert figures["ragged_forward_s"]["split"].keys() == set(gpu.TINY.batches)
    assert f"{gpu.TINY.sides_px[0]} px: engine " in capsys.readouterr().out


def test_weights_of_the_full_model_are_counted_as_published() -> None:
    """6.155 billion in the transformer: the defaults of the class are Z-Image's own."""
    import diffusers
    import torch

    with torch.device("meta"):
        transformer = diffusers.ZImageTransformer2DModel()
    assert round(sum(weight.numel() for weight in transformer.parameters()) / 1e9, 3) == 6.155
