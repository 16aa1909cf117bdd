"""Which GPU an engine claims, and how a pipeline is loaded and wrapped."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler
from gems_actors.backends.diffusion.engine_messages import Draw, Load, Raster
from gems_actors.backends.diffusion.generic_pipeline import GenericPipeline
from gems_actors.backends.diffusion.jobs import Defaults, Drawn, UnfitError
from gems_actors.backends.diffusion.loading import (
    LoadingError,
    capacity_of,
    choose_attention,
    claim_device,
    prepare,
    wrap_pipeline,
)
from gems_actors.backends.diffusion.stepwise import StepwisePipeline
from tests.gems_actors.backends.diffusion.engines import draw_alone, engine_of, pictures_of, run_all, stock
from tests.gems_actors.backends.diffusion.tiny import save_tiny, tiny_flux2_klein, tiny_qwen_image_21


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has two GPUs according to torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}"))


@pytest.mark.usefixtures("two_gpus")
def test_each_engine_claims_a_free_gpu_and_fails_if_there_is_none(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        assert first.enter_context(claim_device("next", tmp_path)) == "cuda:0"
        assert second.enter_context(claim_device("next", tmp_path)) == "cuda:1"
        with pytest.raises(LoadingError, match="no other generator holds, got 2, all of them held"):
            second.enter_context(claim_device("next", tmp_path, wait_s=0.0))
        first.close()
        assert first.enter_context(claim_device("next", tmp_path)) == "cuda:0"


@pytest.mark.usefixtures("two_gpus")
def test_a_named_gpu_is_shared(tmp_path: Path) -> None:
    with claim_device("cuda:1", tmp_path) as first, claim_device("cuda:1", tmp_path) as second:
        assert (first, second) == ("cuda:1", "cuda:1")
    with claim_device("cuda", tmp_path) as named:
        assert named == "cuda:0"
    with pytest.raises(LoadingError, match="got 'cuda:2' on a host with 2 GPUs"), claim_device("cuda:2", tmp_path):
        pass


@pytest.mark.parametrize("wanted", ["next", "cuda:3"])
def test_a_host_without_gpus_is_an_error(wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    error = pytest.raises(LoadingError, match=r"image\.devices: expected a GPU that CUDA can use, got .* with 0 GPUs")
    with error, claim_device(wanted, tmp_path):
        pass


@pytest.mark.parametrize("kind", ["qwen-image", "stable-diffusion"])
@pytest.mark.slow
def test_a_saved_pipeline_draws_as_before(kind: str, tmp_path: Path) -> None:
    notes: list[str] = []
    load = Load(str(save_tiny(kind, tmp_path)), "cpu", str(tmp_path), warm_up=((64, 64),))
    prepared = prepare(load, "cpu", notes.append)
    draw = Draw(0, "a red fox", 7, 64, 64, steps=3, guidance=2.0, negative_prompt="blurry")
    ended = run_all(engine_of(prepared.pipeline), [draw])[0]
    assert isinstance(ended, Drawn), ended
    assert (ended.pixels.to(torch.int32) - draw_alone(kind, draw).pixels).abs().max() <= 1
    assert [note for note in notes if note.startswith("loading text_encoder")]
    assert notes[-1] == "warming up at 64x64 px"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "got"),
    [
        ("nothing", "expected a folder or a hub id such as owner/name, got {model}, which does not exist"),
        ("empty", "expected a diffusers pipeline, got {model}, which has no model_index.json"),
        ("torn", "expected a diffusers pipeline, got {model}: "),
    ],
)
def test_a_model_that_cannot_be_loaded_is_a_one_line_error(model: str, got: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torn = save_tiny("z-image", tmp_path).rename(tmp_path / "torn")
    weights = torn / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(LoadingError) as caught:
        prepare(Load(str(tmp_path / model), "cpu", str(tmp_path)), "cpu", lambda note: None)
    text = str(caught.value)
    assert text.startswith(f"image.model: {got.format(model=tmp_path / model)}"), text
    assert "\n" not in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "size", "capacity"),
    [
        ("z-image", (1024, 1024), 31),
        ("z-image", (512, 512), 64),
        ("qwen-image", (1024, 1024), 16),
        ("qwen-image-21", (1024, 1024), 32),
        ("flux2-klein", (1024, 1024), 14),
        ("z-image", (8192, 8192), 2),
    ],
)
def test_the_capacity_is_two_full_forwards(kind: str, size: tuple[int, int], capacity: int) -> None:
    scheduler = BatchScheduler(mixes_buckets=True)
    assert capacity_of(wrap_pipeline(stock(kind)), scheduler, [size]) == capacity


def test_a_pipeline_without_a_prompt_is_refused() -> None:
    class Upscaler:
        def __call__(self, image: object) -> None:
            pass

    with pytest.raises(UnfitError, match="expected a text-to-image pipeline, got Upscaler, which takes no generator"):
        GenericPipeline(Upscaler())


@pytest.mark.slow
def test_a_stochastic_scheduler_uses_the_generic_pipeline() -> None:
    import diffusers

    pipe = stock("z-image")
    random = type(pipe)(
        **pipe.components | {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)}
    )
    assert wrap_pipeline(pipe).mixes_sizes
    assert isinstance(wrap_pipeline(random), GenericPipeline)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shift", "steps", "guidance"),
    [
        ("Tongyi-MAI/Z-Image-Turbo", 3.0, 8, 0.0),
        ("Tongyi-MAI/Z-Image", 3.0, 50, 4.0),
        ("/models/of-mine", 3.0, 8, 0.0),
        ("/models/of-mine", 6.0, 50, 4.0),
    ],
)
def test_z_image_and_its_turbo_have_their_own_defaults(name: str, shift: float, steps: int, guidance: float) -> None:
    import diffusers

    pipe = stock("z-image")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    renamed = type(pipe)(**pipe.components | {"scheduler": scheduler})
    renamed.register_to_config(_name_or_path=name)
    assert wrap_pipeline(renamed).defaults == Defaults(steps, guidance)


@pytest.mark.slow
def test_turbo_of_qwen_image_21_has_the_steps_of_its_own_schedule() -> None:
    sigmas = [1.0, 0.9, 0.5]
    pipeline = wrap_pipeline(tiny_qwen_image_21(sigmas))
    job = pipeline.prepare(Draw(0, "a red fox", 7, 64, 64))
    assert (job.steps, job.rows) == (3, 1)
    assert job.timesteps != pipeline.prepare(Draw(0, "", 7, 64, 64, steps=4)).timesteps[:3]
    even = wrap_pipeline(stock("qwen-image-21"))
    assert even.defaults.steps == 40
    assert job.timesteps != even.prepare(Draw(0, "", 7, 64, 64, steps=3)).timesteps


@pytest.mark.slow
def test_distilled_klein_refuses_guidance_that_it_would_ignore() -> None:
    pipeline = wrap_pipeline(tiny_flux2_klein(is_distilled=True))
    assert pipeline.defaults == Defaults(4, 1.0)
    assert pipeline.prepare(Draw(0, "a red fox", 7, 64, 64)).rows == 1
    with pytest.raises(UnfitError, match=r"guidance: expected none or at most 1, .* distilled, got 4.0"):
        pipeline.prepare(Draw(0, "a red fox", 7, 64, 64, guidance=4.0))


@pytest.mark.slow
@pytest.mark.parametrize(("by_row_s", "is_by_row"), [(0.01, True), (0.03, False)])
def test_prompts_of_different_lengths_attend_in_the_faster_way(by_row_s: float, is_by_row: bool) -> None:
    pipeline = wrap_pipeline(tiny_qwen_image_21())
    assert isinstance(pipeline, StepwisePipeline)

    def seconds_of(work: Callable[[], object]) -> float:
        work()
        return by_row_s if pipeline.attends_by_row else 0.02

    note = choose_attention(pipeline, (64, 64), seconds_of)
    assert pipeline.attends_by_row is is_by_row
    assert note == f"attention row by row {by_row_s * 1000:.1f} ms, with a mask 20.0 ms"
    assert choose_attention(wrap_pipeline(stock("flux2-klein")), (64, 64), seconds_of) == "", "no rows of other lengths"


def refusal(kind: str, *references: Raster, **settings: Any) -> str:
    draw = Draw(0, "a red fox", 7, 64, 64, steps=4, references=references, **settings)
    with pytest.raises(UnfitError) as caught:
        wrap_pipeline(stock(kind)).prepare(draw, pictures_of(draw))
    return str(caught.value)


@pytest.mark.slow
def test_references_that_cannot_be_drawn_from_are_refused() -> None:
    square = Raster(64, 64)
    assert refusal("qwen-image", square, square) == (
        "references: expected at most 1, as many as QwenImagePipeline draws from, got 2"
    )
    assert refusal("z-image", square, strength=1e-20) == (
        "strength: expected more, because it leaves none of 4 steps, got 1e-20"
    )
    assert refusal("flux2-klein", square, Raster(40, 64)).startswith("references: Image too small: 40")


@pytest.mark.slow
def test_an_editor_refuses_requests_without_a_picture_and_is_warmed_up_with_one(tmp_path: Path) -> None:
    import diffusers

    parts = stock("stable-diffusion").components
    editor = diffusers.StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    editor.set_progress_bar_config(disable=True)
    editor.save_pretrained(tmp_path)
    prepared = prepare(Load(str(tmp_path), "cpu", str(tmp_path), warm_up=((64, 64),)), "cpu", lambda note: None)
    assert prepared.capacity == 64
    with pytest.raises(UnfitError, match="expected a picture, because StableDiffusionImg2ImgPipeline only edits"):
        prepared.pipeline.prepare(Draw(0, "a red fox", 7, 64, 64))
