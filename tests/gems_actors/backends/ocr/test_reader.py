"""Texts are read in a process of their own, which may die without harm."""

from __future__ import annotations

import math
import os
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
import trio
from PIL import Image, ImageDraw, ImageFont

from actors.verifying.text_matching import shows_text
from gems_actors.backends.factory import open_text_reader
from gems_actors.backends.ocr.process import in_reading_order
from gems_actors.backends.ocr.reader import open_ocr
from gems_actors.config import MeshConfig, VerifyConfig
from gems_actors.errors import BackendError, ConfigError

FRAGILE = "tests.gems_actors.backends.ocr.fragile_process"
DROID = Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf")
HAS_DROID = DROID.exists()
HAS_OCR = find_spec("rapidocr_onnxruntime") is not None and find_library("GL") is not None
needs_ocr = pytest.mark.skipif(not HAS_OCR, reason="the extra `ocr`, or libGL for its OpenCV, is not installed")


def sign(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> bytes:
    image = Image.new("RGB", (512, 192), "white")
    ImageDraw.Draw(image).text((40, 60), text, font=font, fill="black")
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


async def test_pictures_are_read_one_after_another_by_one_process() -> None:
    async with open_ocr(FRAGILE) as reader:
        assert await reader.read(b"OPEN late") == ("OPEN", "late")
        assert await reader.read(b"") == ()
        found: list[tuple[str, ...]] = []

        async def read(data: bytes) -> None:
            found.append(await reader.read(data))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(read, str(number).encode())
        assert sorted(found) == [(str(number),) for number in range(5)]


def turned(left: float, top: float, degrees: float) -> list[tuple[float, float]]:
    """Return the corners of a box of 80 by 20 on a sign that is turned clockwise."""
    corners = [(left, top), (left + 80, top), (left + 80, top + 20), (left, top + 20)]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in corners]


@pytest.mark.parametrize("degrees", [-40, -12, 0, 12, 40])
def test_lines_of_a_turned_sign_are_read_in_their_order(degrees: float) -> None:
    places = {"first": (0, 0), "second": (100, 3), "third": (300, 30), "fourth": (0, 60), "fifth": (500, 60)}
    found = [(turned(left, top, degrees), text) for text, (left, top) in places.items()]
    assert in_reading_order(found[::-1]) == [*places]
    assert in_reading_order([]) == []


async def test_a_process_that_dies_is_replaced_and_the_picture_read_again(tmp_path: Path) -> None:
    async with open_ocr(FRAGILE) as reader:
        file = str(tmp_path / "died")
        assert await reader.read(f"die once {file}".encode()) == ("die", "once", file)


async def test_a_picture_over_which_two_processes_die_fails_and_the_next_is_read() -> None:
    async with open_ocr(FRAGILE) as reader:
        with pytest.raises(BackendError, match="expected the texts of a picture, got the end of 2 processes"):
            await reader.read(b"die")
        assert await reader.read(b"OPEN") == ("OPEN",)


async def test_a_picture_that_cannot_be_read_fails_with_the_reason() -> None:
    async with open_ocr(FRAGILE) as reader:
        with pytest.raises(BackendError, match="expected the texts of a picture, got ValueError: no picture"):
            await reader.read(b"fail")
        assert await reader.read(b"OPEN") == ("OPEN",)


@pytest.mark.slow
async def test_a_caller_that_gives_up_does_not_confuse_the_answers() -> None:
    async with open_ocr(FRAGILE) as reader:
        with trio.move_on_after(0.5):
            await reader.read(b"hang")
        assert await reader.read(b"OPEN") == ("OPEN",)


async def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    with pytest.raises(ConfigError, match=r"verify\.text: .*pip install 'gems-actors\[ocr\]'"):
        async with open_text_reader(MeshConfig(verify=VerifyConfig(text="ocr"))):
            raise AssertionError


async def test_a_package_that_cannot_be_imported_ends_the_verifier_before_any_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rapidocr_onnxruntime.py").write_text('raise ImportError("libGL.so.1: cannot open shared object file")')
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"verify\.text: .*libGL\.so\.1.*opencv-python-headless"):
        async with open_ocr():
            raise AssertionError


async def test_without_the_setting_nothing_is_opened() -> None:
    async with open_text_reader(MeshConfig()) as reader:
        assert reader is None


@needs_ocr
@pytest.mark.slow
async def test_english_and_chinese_signs_are_read() -> None:
    async with open_text_reader(MeshConfig(verify=VerifyConfig(text="ocr"))) as reader:
        assert reader is not None
        assert shows_text("open LATE", await reader.read(sign("Open late", ImageFont.load_default(56))))
        assert not shows_text("open LATE", await reader.read(sign("Opne late", ImageFont.load_default(56))))
        assert await reader.read(sign("", ImageFont.load_default(56))) == ()
        if HAS_DROID:
            read = await reader.read(sign("每日新鲜烘焙", ImageFont.truetype(DROID, 56)))
            assert shows_text("每日新鲜烘焙", read)
