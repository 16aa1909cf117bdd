"""The example of an own image backend draws from a folder outside the project."""

from __future__ import annotations

import gc
import shutil
import sys
from io import BytesIO
from pathlib import Path

import pytest
import trio
from PIL import Image

from gems_actors import ConfigError, DrawPicture, DrawSettings, ImageRequest, load_config, open_client
from gems_actors.backends.factory import open_chat_model, open_image_model
from gems_actors.config import ImageConfig, MeshConfig
from gems_actors.supervision.supervisor import open_supervisor
from tests.examples.outside import GEMS, config_of, free_port, keys_of, outside, run
from tests.processes import environment, started

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


@pytest.mark.slow
async def test_a_generator_with_an_own_backend_draws_over_tcp_with_its_key() -> None:
    with outside("own_backend") as folder:
        await run(folder, "keys", "new", "keys")
        await run(folder, "keys", "add", "keys", "gpu", "--may", "generator")
        router, keys = f"tcp://127.0.0.1:{free_port()}", f"{folder}/keys"
        listening = [f"router.address={router}", f"security={{key='{keys}/router.key', allowed='{keys}/allowed.toml'}}"]
        async with open_supervisor(config_of(folder, *listening, "roles.generator.count=0")) as supervisor:
            await supervisor.ready()
            own_key = f"security={{key='{keys}/gpu.key', router_key='{keys}/router.pub'}}"
            command = (*GEMS, "role", "generator", "--router", router, "--config", "mesh.toml", "--set", own_key)
            with started((*command, "--set", f"data_dir={folder}/data"), cwd=folder, env=environment()):
                async with open_client(router, security=keys_of(folder, "client")) as mesh:
                    settings = DrawSettings(max_rounds=1, width_px=64, height_px=32)
                    picture = await mesh.ask(DrawPicture(run="night", prompt="a fox", seed=7, settings=settings))
        stored = list((folder / "data" / "blobs").rglob(f"{picture.best.image.digest.removeprefix('sha256:')}*"))
        with Image.open(stored[0]) as image:
            assert (image.size, len(image.getcolors() or ())) == ((64, 32), 1)


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
        "    yield Chat(config.model)\n"
        "class Chat(str):\n"
        "    figures = note = chat = None\n"
    )
    settings = ["chat.backend=own_chat:open_it", "chat.roles.verifier.model=large", f"import_path=['{tmp_path}']"]
    async with open_chat_model(load_config(None, {}, settings), "verifier") as model:
        assert str(model) == "large"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def open_it(config): return 5", "return an async context manager, got int"),
        ("async def open_it(config): pass", "return an async context manager, got coroutine"),
        ("open_it = 5", "take the model's settings, got: 'int' object is not callable"),
        ("def open_it(): pass", "take the model's settings, got: open_it() takes 0 positional arguments"),
        (
            "import contextlib\n@contextlib.asynccontextmanager\nasync def open_it(config): yield",
            "yield a model with figures, got NoneType without it",
        ),
    ],
)
async def test_a_backend_that_opens_no_model_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "no_model.py").write_text(body)
    monkeypatch.delitem(sys.modules, "no_model", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        async with open_image_model(MeshConfig(image=ImageConfig(backend="no_model:open_it"))):
            pass
    assert str(caught.value).startswith(f"image.backend: expected no_model:open_it to {message}")
    del caught
    gc.collect()  # what was opened by mistake ends without a warning
