"""The programs of CLIENTS.md, as they stand there, against a gateway."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import trio
from PIL import Image

import gems_actors.gateway
from gems_actors.errors import OverloadedError
from tests.gems_actors.gateway.doors import in_thread, open_painted_door

pytestmark = pytest.mark.slow

GUIDE = Path(gems_actors.gateway.__file__).with_name("CLIENTS.md")
SDK, SSE, FASTAPI = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


async def run(program: str, folder: Path, url: str) -> str:
    """Run a program in a folder, and return what it prints."""
    (folder / "program.py").write_text(program)
    done = await trio.run_process(
        [sys.executable, "program.py"], cwd=folder, env={**os.environ, "GEMS_URL": url}, capture_stdout=True,
        stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    return done.stdout.decode()


async def test_pictures_are_drawn_side_by_side_from_asyncio(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        printed = await run(SDK, tmp_path, door.url)
        assert sorted(line[:14] for line in printed.splitlines()) == ["0 1 of 1 met: ", "1 1 of 1 met: "]
        for number in range(2):
            with Image.open(tmp_path / f"{number}.png") as picture:
                assert picture.size == (768, 768)
        assert {task.settings.max_rounds for task in painter.begun} == {3}


async def test_a_job_is_followed_to_its_end(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):
        painter.rounds = 2
        printed = await run(SSE, tmp_path, door.url)
        for index in range(2):
            assert f"picture {index}: done\n" in printed
        with zipfile.ZipFile(tmp_path / "pictures.zip") as archive:
            assert archive.namelist() == ["0000-0.png", "0001-0.png", "job.json"]


@contextmanager
def application(url: str) -> Iterator[ModuleType]:
    """Return the FastAPI application of the guide as a module."""
    module = ModuleType("app")
    os.environ["GEMS_URL"] = url
    sys.modules["app"] = module  # where FastAPI looks for the types of its functions
    try:
        exec(compile(FASTAPI, str(GUIDE), "exec"), module.__dict__)
        yield module
    finally:
        del os.environ["GEMS_URL"], sys.modules["app"]


async def test_a_fastapi_application_draws_streams_and_passes_refusals_on(tmp_path: Path) -> None:
    async with open_painted_door(tmp_path) as (door, painter):

        async def use(module: ModuleType) -> None:
            transport = httpx.ASGITransport(app=module.app)
            async with (
                module.app.router.lifespan_context(module.app),
                httpx.AsyncClient(transport=transport, base_url="http://app") as http,
            ):
                answer = await http.get("/picture", params={"prompt": "two red cats", "seed": 9})
                assert Image.open(io.BytesIO(answer.content)).format == "PNG"
                painter.rounds = 2
                lines = (await http.get("/rounds", params={"prompt": "two red cats"})).text.splitlines()
                assert [line.partition(" ")[0] for line in lines] == [
                    "image_generation.partial_image", "image_generation.partial_image", "image_generation.completed",
                ]  # fmt: skip
                assert (await http.get("/picture", params={"prompt": " "})).status_code == 400
                painter.failure = OverloadedError("too many", 3.0)
                refused = await http.get("/picture", params={"prompt": "two red cats"})
                assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")

        def run_asyncio() -> None:
            with application(door.url) as module:
                asyncio.run(use(module))

        await in_thread(run_asyncio)
        assert painter.begun[0].seed == 9
