"""The diffusion model as the generator sees it: PNG files and figures, from one or several engines."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import trio
from PIL import Image

from gems_actors.backends import ImagePart, ImageRequest
from gems_actors.backends.diffusion.engine_messages import Draw, Raster
from gems_actors.backends.diffusion.models import DiffusionImageModel, open_diffusion, png_of
from gems_actors.backends.pictures import png_of as encode
from gems_actors.config import ImageConfig
from gems_actors.errors import ConfigError, RefusedError
from tests.gems_actors.backends.diffusion.engines import draw_alone, pictures_of
from tests.gems_actors.backends.diffusion.tiny import save_tiny

EDIT = Draw(0, "a red fox", 9, 64, 64, steps=3, guidance=2.0, references=(Raster(80, 48),), strength=0.5)


def pixels_in(data: bytes) -> torch.Tensor:
    with Image.open(BytesIO(data)) as picture:
        return torch.from_numpy(np.asarray(picture).astype(np.int32))


@pytest.mark.slow
async def test_two_engines_draw_what_the_stock_pipeline_draws(tmp_path: Path) -> None:
    notes: list[str] = []
    drawn: dict[int, bytes] = {}
    details: dict[int, dict[str, float]] = {}

    config = ImageConfig(backend="diffusers", model=str(save_tiny("z-image", tmp_path)), devices=("cpu", "cpu"))
    async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=notes.append) as model:
        assert model.capacity == 128, "the maximum of each engine, because the pictures are small"

        async def ask(seed: int) -> None:
            request = ImageRequest("a red fox", seed, 64, 64, steps=3, guidance=2.0, negative_prompt="blurry")
            picture = await model.generate(request)
            drawn[seed], details[seed] = picture.data, dict(picture.details)
            assert not picture.can_be_edited, "Z-Image redraws by a description and edits by no instruction"

        async def edit(references: tuple[ImagePart, ...]) -> bytes:
            request = ImageRequest("a red fox", 9, 64, 64, steps=3, guidance=2.0, references=references, strength=0.5)
            return (await model.generate(request)).data

        async with trio.open_nursery() as nursery:
            for seed in range(6):
                nursery.start_soon(ask, seed)
        while sum(host.totals.images for host in model.hosts) < 6:  # noqa: ASYNC110 -- of other processes
            await trio.sleep(0.01)
        assert [host.totals.images for host in model.hosts] == [3, 3], "the engine with fewer pixels in flight is next"
        figures = model.figures()
        assert model.can_edit
        (reference,) = pictures_of(EDIT)
        edited = await edit((ImagePart(encode(reference), "image/png"),))
        with pytest.raises(RefusedError, match=r"references: expected at most 1, as many as ZImagePipeline .* got 2"):
            await edit((ImagePart(encode(reference), "image/png"),) * 2)
    assert (pixels_in(edited) - draw_alone("z-image", EDIT).pixels).abs().max() <= 1
    for seed, data in drawn.items():
        draw = Draw(0, "a red fox", seed, 64, 64, steps=3, guidance=2.0, negative_prompt="blurry")
        assert (pixels_in(data) - draw_alone("z-image", draw).pixels).abs().max() <= 1
    assert set(details[0]) == {"wait_s", "text_s", "denoise_s", "decode_s", "png_s", "batch"}
    assert (figures["engines"], figures["waiting"], figures["running"], figures["splits"]) == (2, 0, 0, 0)
    assert 0 < figures["busy_share"] <= 1
    assert min(figures[name] for name in ("images_per_s", "step_s", "step_tokens", "denoise_s", "peak_bytes")) > 0
    assert [note for note in notes if "importing torch" in note]
    assert [note for note in notes if note.startswith("loading ") or "; loading " in note]
    assert [note for note in notes if "warming up at 64x64 px" in note]
    assert notes[-1] == ""


@pytest.mark.parametrize(
    ("devices", "started"),
    [("next", ["next"]), ("all", ["cuda:0", "cuda:1", "cuda:2"]), (("cuda:1", "cpu"), ["cuda:1", "cpu"])],
)
@pytest.mark.slow
async def test_an_engine_is_started_on_each_device(
    devices: str, started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    notes: list[str] = []

    config = ImageConfig(backend="diffusers", model="owner/name", devices=devices)  # type: ignore[arg-type]
    module = "tests.gems_actors.backends.diffusion.host_of_three_gpus"
    async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=notes.append, engine_module=module) as model:
        assert model.capacity == 4 * len(started)
    parts = {part for note in notes for part in note.split("; ") if part}
    assert parts - {"starting an engine"} == {f"loading on {device}" for device in started}
    assert notes[-1] == ""


def test_a_png_holds_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Image.open(BytesIO(png_of(pixels.tobytes(), 30, 20))) as picture:
        assert picture.size == (30, 20)
        assert np.array_equal(np.asarray(picture), pixels)


def test_a_png_keeps_an_alpha_channel_that_hides_something() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    with Image.open(BytesIO(png_of(pixels.tobytes(), 30, 20, 4))) as picture:
        assert picture.mode == "RGBA"
        assert np.array_equal(np.asarray(picture), pixels)
    pixels[..., 3] = 255
    with Image.open(BytesIO(png_of(pixels.tobytes(), 30, 20, 4))) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), pixels[..., :3])


async def test_a_reference_that_is_no_picture_is_refused_before_an_engine_sees_it() -> None:
    request = ImageRequest("a red fox", 7, 64, 64, references=(ImagePart(b"a red fox", "image/png"),))
    with pytest.raises(RefusedError, match="references: expected a complete PNG, JPEG or WebP picture, got 9 bytes"):
        await DiffusionImageModel().generate(request)


async def test_without_torch_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    config = ImageConfig(backend="diffusers", model="owner/name")
    with pytest.raises(ConfigError) as caught:
        async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=lambda _: None):
            pass
    assert str(caught.value) == (
        "image.backend: diffusers needs torch, diffusers and transformers, torch not installed: "
        "pip install 'gems-actors[diffusers]'"
    )


@pytest.mark.slow
def test_the_actor_s_process_imports_no_torch() -> None:
    program = "import actors.generator, gems_actors.backends.diffusion.models, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
