"""Which GPU an engine claims, and how a pipeline is loaded and wrapped."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gems_actors.backends.diffusion.batch_scheduler import BatchScheduler
from gems_actors.backends.diffusion.engine_messages import Draw, Load
from gems_actors.backends.diffusion.generic_pipeline import GenericPipeline
from gems_actors.backends.diffusion.jobs import Drawn, UnfitError
from gems_actors.backends.diffusion.loading import LoadingError, capacity_of, claim_device, prepare, wrap_pipeline
from tests.gems_actors.backends.diffusion.engines import draw_alone, engine_of, run_all, stock
from tests.gems_actors.backends.diffusion.tiny import save_tiny


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


@pytest.mark.parametrize(
    ("kind", "size", "capacity"),
    [
        ("z-image", (1024, 1024), 31),
        ("z-image", (512, 512), 64),
        ("qwen-image", (1024, 1024), 16),
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


def test_a_stochastic_scheduler_uses_the_generic_pipeline() -> None:
    import diffusers

    pipe = stock("z-image")
    random = type(pipe)(
        **pipe.components | {"scheduler": diffusers.FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)}
    )
    assert wrap_pipeline(pipe).mixes_sizes
    assert isinstance(wrap_pipeline(random), GenericPipeline)
