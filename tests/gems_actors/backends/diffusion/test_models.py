"""What the generator sees: PNG files, from one engine or several, and what they report of themselves."""

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

from gems_actors.backends import ImageRequest
from gems_actors.backends.diffusion import engine_host as hosting
from gems_actors.backends.diffusion import models
from gems_actors.backends.diffusion.engine_messages import Draw
from gems_actors.backends.diffusion.models import open_diffusion
from gems_actors.backends.diffusion.png import png_of
from gems_actors.config import ImageConfig
from gems_actors.errors import ConfigError
from tests.gems_actors.backends.diffusion.engines import draw_alone
from tests.gems_actors.backends.diffusion.tiny import save_tiny


def config_of(folder: Path, *devices: str, kind: str = "z-image") -> ImageConfig:
    return ImageConfig(backend="diffusers", model=str(save_tiny(kind, folder)), devices=devices)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["z-image", "qwen-image", "stable-diffusion"])
def test_pictures_from_two_engines_are_those_of_the_stock_pipeline(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notes: list[str] = []
    drawn: dict[int, bytes] = {}
    details: dict[int, dict[str, float]] = {}

    async def scene() -> dict[str, float]:
        config = config_of(tmp_path, "cpu", "cpu", kind=kind)
        async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=notes.append) as model:
            assert model.capacity == 128, "of such small ones as many as any engine takes"

            async def ask(seed: int) -> None:
                request = ImageRequest("a red fox", seed, 64, 64, steps=3, guidance=2.0, negative_prompt="blurry")
                picture = await model.generate(request)
                drawn[seed], details[seed] = picture.data, dict(picture.details)

            async with trio.open_nursery() as nursery:
                for seed in range(6):
                    nursery.start_soon(ask, seed)
            while sum(host.totals.images for host in model.hosts) < 6:  # noqa: ASYNC110 -- of other processes
                await trio.sleep(0.01)
            assert [host.totals.images for host in model.hosts] == [3, 3], "each in turn, by what it has in hand"
            return model.figures()

    figures = trio.run(scene)
    for seed, data in drawn.items():
        draw = Draw(0, "a red fox", seed, 64, 64, steps=3, guidance=2.0, negative_prompt="blurry")
        with Image.open(BytesIO(data)) as picture:
            pixels = torch.from_numpy(np.asarray(picture).astype(np.int32))
        assert (pixels - draw_alone(kind, draw).pixels).abs().max() <= 1
    assert set(details[0]) == {"wait_s", "text_s", "denoise_s", "decode_s", "png_s", "batch"}
    assert (figures["engines"], figures["waiting"], figures["running"], figures["splits"]) == (2, 0, 0, 0)
    assert 0 < figures["busy_share"] <= 1
    assert min(figures[name] for name in ("images_per_s", "step_s", "step_tokens", "denoise_s", "peak_bytes")) > 0
    assert [note for note in notes if "importing torch" in note]
    assert [note for note in notes if note.startswith("loading ") or "; loading " in note or kind == "stable-diffusion"]
    assert [note for note in notes if "warming up at 64x64 px" in note]
    assert notes[-1] == ""


@pytest.mark.parametrize(
    ("devices", "started"),
    [("next", ["next"]), ("all", ["cuda:0", "cuda:1", "cuda:2"]), (("cuda:1", "cpu"), ["cuda:1", "cpu"])],
)
def test_an_engine_is_started_on_each_device_that_is_wanted(
    devices: str, started: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosting, "MODULE", "tests.gems_actors.backends.diffusion.host_of_three_gpus")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[4]))
    notes: list[str] = []

    async def scene() -> int:
        config = ImageConfig(backend="diffusers", model="owner/name", devices=devices)  # type: ignore[arg-type]
        async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=notes.append) as model:
            return model.capacity

    assert trio.run(scene) == 4 * len(started)
    said = {part for note in notes for part in note.split("; ") if part}
    assert said - {"starting an engine"} == {f"loading on {device}" for device in started}
    assert notes[-1] == ""


def test_a_png_holds_the_very_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    with Image.open(BytesIO(png_of(pixels.tobytes(), 30, 20))) as picture:
        assert picture.size == (30, 20)
        assert np.array_equal(np.asarray(picture), pixels)


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None if name == "torch" else object())

    async def scene() -> None:
        config = ImageConfig(backend="diffusers", model="owner/name")
        async with open_diffusion(config, size=(64, 64), locks=tmp_path, tell=lambda _: None):
            pass

    with pytest.raises(ConfigError) as caught:
        trio.run(scene)
    assert str(caught.value) == (
        "image.backend: diffusers needs torch, diffusers and transformers, torch not installed: "
        "pip install 'gems-actors[diffusers]'"
    )


def test_the_actor_s_side_loads_no_torch() -> None:
    program = "import actors.generator, gems_actors.backends.diffusion.models, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
