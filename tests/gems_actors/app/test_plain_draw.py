"""Drawing from plain Python: a blocking call beside whatever else the program runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
from PIL import Image

from gems_actors import ConfigError, Drawing, GemsError, UsageError, draw
from gems_actors.app.references.pictures import GivenImage
from tests.actors.fakes import png
from tests.gems_actors.app.editors import INVERTING
from tests.gems_actors.app.meshes import open_drawing_mesh
from tests.processes import await_gone, descendants, started

_DRAW = """
import sys, gems_actors
try:
    gems_actors.draw("a red fox", rounds=64, size=(64, 64), settings=[f"data_dir={sys.argv[1]}", *sys.argv[2:]])
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Drawing:
    async def make() -> Drawing:
        async with open_drawing_mesh(tmp_path_factory.mktemp("mesh")) as chosen:
            call = partial(draw, "two red dogs & <b>a cat</b>", router=chosen.router, settings=chosen.overrides)
            return await trio.to_thread.run_sync(partial(call, seed=7, rounds=3, size="64x48"))

    return trio.run(make)


def test_a_drawing_has_the_picture_and_every_round_that_led_to_it(drawing: Drawing) -> None:
    assert (drawing.image.size, drawing.seed) == ((64, 48), 7)
    assert [one.number for one in drawing.rounds] == [attempt.round for attempt in drawing.picture.attempts]
    assert drawing.best in drawing.rounds
    assert drawing.best.prompt == drawing.picture.best.prompt
    questions = {requirement.question for requirement in drawing.picture.requirements}
    assert all(one.met.keys() <= questions for one in drawing.rounds)
    assert drawing.all_met == all(drawing.best.met.values())


async def test_a_preset_draws_as_it_says_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    async with open_drawing_mesh(tmp_path) as chosen:
        call = partial(
            draw, "a red fox", router=chosen.router, settings=chosen.overrides, preset="thrifty", size="64x48"
        )
        drawing = await trio.to_thread.run_sync(call)
    assert (drawing.picture.settings.lesson_by, drawing.picture.settings.max_rounds) == ("refiner", 8)
    with pytest.raises(ConfigError, match="--preset: expected one of thrifty, diverse, got 'cheap'"):
        await trio.to_thread.run_sync(partial(draw, "a red fox", preset="cheap"))


@pytest.mark.parametrize(
    ("name", "expected"), [("a.png", "PNG"), ("a.jpg", "JPEG"), ("b.JPEG", "JPEG"), ("c.webp", "WEBP")]
)
def test_a_drawing_is_saved_in_the_format_of_its_name(
    drawing: Drawing, tmp_path: Path, name: str, expected: str
) -> None:
    with Image.open(drawing.save(tmp_path / name)) as image:
        assert (image.format, image.size) == (expected, (64, 48))
        assert expected != "PNG" or "two red dogs" in image.info["gems"]


def test_a_drawing_is_not_saved_under_another_ending_or_where_no_folder_can_be(
    drawing: Drawing, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"^file: expected a name that ends in .png, .jpg or .webp, got 'a.gif'$"):
        drawing.save(tmp_path / "a.gif")
    (tmp_path / "file").touch()
    with pytest.raises(GemsError, match="file"):
        drawing.save(tmp_path / "file" / "a.png")


def test_a_notebook_shows_the_picture_and_takes_no_markup_from_the_prompt(drawing: Drawing) -> None:
    shown = drawing._repr_html_()
    assert "two red dogs &amp; &lt;b&gt;a cat&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert shown.count("<img ") == 1 + (len(drawing.rounds) if len(drawing.rounds) > 1 else 0)
    assert drawing._repr_png_().startswith(b"\x89PNG")


def test_what_nobody_checked_is_not_shown_as_unmet(drawing: Drawing) -> None:
    best = replace(drawing.best, met={"Is it red?": True, "Is it big?": False, "chiaroscuro": None})
    shown = replace(drawing, best=best)._repr_html_()
    assert "<p>Not met:</p><ul><li>Is it big?</li></ul>" in shown
    assert "<p>Not sure, or not checked:</p><ul><li>chiaroscuro</li></ul>" in shown


async def test_a_draw_runs_beside_an_asyncio_loop_in_its_thread(tmp_path: Path) -> None:
    async def draw_in_a_coroutine(router: str | None, settings: tuple[str, ...]) -> Drawing:
        drawing = draw("a red fox", router=router, settings=settings, rounds=1, size=(64, 64))
        await asyncio.sleep(0)  # the loop still works
        return drawing

    async with open_drawing_mesh(tmp_path) as chosen:
        run = partial(asyncio.run, draw_in_a_coroutine(chosen.router, chosen.overrides))
        assert (await trio.to_thread.run_sync(run)).image.size == (64, 64)


async def test_a_draw_under_trio_is_refused_because_it_would_block_the_loop() -> None:
    with pytest.raises(UsageError, match="outside trio, got one that trio runs; use open_client"):
        draw("a red fox")


draw_untyped: Any = draw
"""`draw` as programs without type checkers call it."""


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (partial(draw, " "), "prompt: expected a prompt of 1 to 32,000 characters, got an empty one"),
        (partial(draw_untyped, None), "prompt: expected text, got NoneType"),
        (partial(draw_untyped, b"a cat"), "prompt: expected text, got bytes"),
        (partial(draw, "x", size="0x9"), "size: expected WIDTHxHEIGHT such as 768x512"),
        (partial(draw_untyped, "x", size=(64, 64, 3)), "size: expected width and height in pixels, got (64, 64, 3)"),
        (partial(draw_untyped, "x", size=(64.0, 64.0)), "size: expected a whole number, got 64.0"),
        (partial(draw_untyped, "x", rounds="3"), 'rounds: expected a whole number, got "3"'),
        (partial(draw, "x", router="here"), "router: expected an address such as tcp://HOST:PORT"),
        (partial(draw_untyped, "x", seed="7"), "seed: expected 0 to 4294967295, got '7'"),
        (partial(draw, "x", image="no.png"), "image: no.png: expected a readable file, got: No such file or directory"),
        (partial(draw, "x", strength=0.5), "strength: expected it with an image, got it alone"),
        (partial(draw, "x", image=b"GIF", strength=2), "image: expected a complete PNG, JPEG or WebP picture"),
        (partial(draw, "x", seed=-1), "seed: expected 0 to 4294967295, got -1"),
    ],
)
def test_impossible_arguments_are_refused_in_one_line(call: partial[Drawing], line: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(line)}"):
        call()


async def test_a_draw_keeps_the_log_configuration_of_its_caller(tmp_path: Path) -> None:
    before = structlog.get_config()
    async with open_drawing_mesh(tmp_path) as chosen:
        call = partial(draw, "a fox", router=chosen.router, settings=chosen.overrides, rounds=1, size=(64, 64))
        await trio.to_thread.run_sync(call)
    assert structlog.get_config() == before


@pytest.mark.slow
def test_ctrl_c_cancels_a_draw_with_its_own_mesh_and_leaves_no_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        url = f"chat.url=http://127.0.0.1:{silent_server.getsockname()[1]}/v1"
        command = [sys.executable, "-c", _DRAW, str(tmp_path / "data"), "chat.backend=openai", "chat.model=x", url]
        with started(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
            silent_server.settimeout(60)
            with silent_server.accept()[0]:  # a role waits for an answer
                family = {*descendants(process.pid)}
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=60)[0] == "interrupted\n"
    assert family
    assert not await_gone(family)
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


async def test_a_picture_is_drawn_from_a_path_bytes_or_an_image(tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(png(96, 48, "red"))
    settings = (INVERTING, "draw.width_px=64", "draw.height_px=64")
    async with open_drawing_mesh(tmp_path, settings=settings) as chosen:
        several: list[GivenImage] = [Image.new("RGB", (96, 48), "red"), png()]
        for image in (tmp_path / "red.png", png(96, 48, "red"), several):
            call = partial(draw, "a fox", router=chosen.router, settings=chosen.overrides, rounds=1, image=image)
            drawing = await trio.to_thread.run_sync(partial(call, strength=0.5))
            assert drawing.image.size == (96, 48)
            assert drawing.image.convert("RGB").getpixel((5, 5)) == (0, 255, 255)
            assert drawing.best.data
            assert len(drawing.picture.best.references) == (2 if isinstance(image, list) else 1)
