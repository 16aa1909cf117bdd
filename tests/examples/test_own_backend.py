"""The example of an own image backend draws from a folder outside the project."""

from __future__ import annotations

import shutil
import sys
from io import BytesIO
from pathlib import Path

import pytest
import trio
from PIL import Image

from gems_actors import ConfigError, ImageRequest, load_config
from gems_actors.backends.factory import open_chat_model, open_image_model
from gems_actors.config import ImageConfig, MeshConfig
from tests.processes import environment

EXAMPLE = Path(__file__).parent / "own_backend"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, tmp_path / "own"))


async def test_the_same_request_gives_the_same_flat_colour(folder: Path) -> None:
    async with open_image_model(load_config(folder / "mesh.toml", {})) as model:
        first, again, other = [
            await model.generate(ImageRequest(prompt, seed=7, width_px=32, height_px=16))
            for prompt in ("a fox", "a fox", "a hare")
        ]
    with Image.open(BytesIO(first.data)) as picture:
        assert picture.size == (32, 16)
        assert len(picture.getcolors() or ()) == 1
    assert first.data == again.data != other.data


@pytest.mark.slow
async def test_a_supervised_mesh_draws_with_an_own_backend(folder: Path) -> None:
    command = [sys.executable, "-P", "-m", "gems_actors.cli", "draw", "--config", "mesh.toml", "--rounds", "1"]
    variables = environment() | {"GEMS__DATA_DIR": f"{folder}/data"}
    done = await trio.run_process(
        [*command, "--output", "fox.png", "a red fox"],
        cwd=folder, env=variables, check=False, capture_stdout=True, capture_stderr=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    with Image.open(folder / "fox.png") as picture:
        assert len(picture.getcolors() or ()) == 1
        assert "flat:open_flat" in str(picture.info)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("no_such:model", "image.backend: expected no_such:model to be importable, got ModuleNotFoundError: No module"),
        (
            "json:open_it",
            "image.backend: expected json:open_it to be importable, got AttributeError: module",
        ),
    ],
)
async def test_a_backend_that_cannot_be_imported_is_one_clear_line(backend: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with open_image_model(MeshConfig(image=ImageConfig(backend=backend))):
            pass
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


async def test_a_chat_backend_of_the_user_is_opened_with_its_settings(tmp_path: Path) -> None:
    (tmp_path / "own_chat.py").write_text(
        "from contextlib import asynccontextmanager\n\n"
        "@asynccontextmanager\n"
        "async def open_it(config):\n"
        "    yield config.model\n"
    )
    settings = ["chat.backend=own_chat:open_it", "chat.roles.verifier.model=large", f"import_path=['{tmp_path}']"]
    async with open_chat_model(load_config(None, {}, settings), "verifier") as model:
        assert str(model) == "large"
