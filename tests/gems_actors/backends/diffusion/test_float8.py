"""fp8 weights: other pictures than the original weights draw, except for exact requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gems_actors.backends.diffusion import float8
from gems_actors.backends.diffusion.devices import Device
from gems_actors.backends.diffusion.engine_messages import Draw, Load
from gems_actors.backends.diffusion.jobs import Drawn
from gems_actors.backends.diffusion.loading import LoadingError, approximate, wrap_pipeline
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from tests.gems_actors.backends.diffusion.engines import Watched, draw_alone, engine_of, run_all, stock
from tests.gems_actors.backends.diffusion.tiny import BUILDERS

pytestmark = pytest.mark.slow

FP8 = Load("model", "cpu", "", quantization="fp8")


def quantized(kind: str) -> StepwisePipeline:
    pipeline = wrap_pipeline(BUILDERS[kind]())
    approximate(pipeline, FP8, Device("cpu"), lambda _: None)
    assert isinstance(pipeline, StepwisePipeline)
    return pipeline


@pytest.mark.parametrize("kind", ["z-image", "qwen-image", "qwen-image-21"])
def test_quantized_weights_draw_another_picture_and_exact_requests_the_original_one(kind: str) -> None:
    pipeline = Watched(quantized(kind))
    draws = [Draw(id_, "a red fox", 7, 64, 64, steps=3, guidance=2.5, is_alone=id_ == 1) for id_ in range(2)]
    ended = run_all(engine_of(pipeline), draws)
    original = draw_alone(kind, draws[0])
    assert all(isinstance(item, Drawn) for item in ended.values())
    difference = pipeline.latents[0].reshape(original.latents.shape) - original.latents
    assert difference.abs().max() > 1e-4
    assert difference.square().mean() < 0.05 * original.latents.square().mean()
    assert torch.equal(pipeline.latents[1].reshape(original.latents.shape), original.latents)


def test_only_large_layers_of_the_blocks_are_quantized() -> None:
    pipeline = quantized("qwen-image")
    assert pipeline.float8 is not None
    linears = [name for name, part in pipeline.transformer.named_modules() if type(part).__name__ == "_Float8Linear"]
    assert len(linears) == pipeline.float8.layers > 0
    assert all(name.startswith("transformer_blocks.") and "mod" not in name.split(".", 2)[2] for name in linears)


def test_without_torchao_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float8, "is_installed", lambda: False)
    with pytest.raises(LoadingError, match=r"fp8 needs torchao: pip install 'gems-actors\[fp8\]'"):
        approximate(wrap_pipeline(stock("z-image")), FP8, Device("cpu"), lambda _: None)


@pytest.mark.parametrize(("setting", "value"), [("quantization", "fp8"), ("denoising_cache", 0.1)])
def test_a_pipeline_that_is_called_as_a_whole_cannot_be_approximated(setting: str, value: object) -> None:
    load = Load("model", "cpu", str(Path()), **{setting: value})  # type: ignore[arg-type]
    expected = rf"image\.{setting}: expected a model of ZImagePipeline, .*, got one of StableDiffusionPipeline"
    with pytest.raises(LoadingError, match=expected):
        approximate(wrap_pipeline(stock("stable-diffusion")), load, Device("cpu"), lambda _: None)
