"""How well texts are told: 200 rendered signs, each asked for the text on it and for one that differs by a letter.

The signs have fonts of this host, lines that break, rotation of up to 12 degrees, blur and noise; every fifth is
Chinese. They follow from a fixed seed, and from the fonts. The storyboard reader is asked the same of storyboards with
the same texts, because it reads nothing else. Precision: of the verdicts `met`, those that are right; recall: of the
texts that are there, those with the verdict `met`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Final

import trio
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from actors.verifying.text_matching import shows_text
from gems_actors.backends.ocr.reader import open_ocr
from gems_actors.backends.storyboard.models import judge_question
from gems_actors.backends.storyboard.reading import look
from tests.gems_actors.backends.storyboard.pictures import draw_without_errors

_SIGNS, _SIDE_PX, _MAX_TURN = 200, 640, 12.0
_FONTS: Final = (
    "dejavu/DejaVuSans-Bold.ttf", "dejavu/DejaVuSerif.ttf", "dejavu/DejaVuSansMono.ttf",
    "liberation/LiberationSans-Regular.ttf", "liberation/LiberationSerif-BoldItalic.ttf",
    "liberation/LiberationSansNarrow-Bold.ttf", "noto/NotoSansMono-Regular.ttf",
)  # fmt: skip
_CHINESE: Final = "droid/DroidSansFallbackFull.ttf"
_FOLDER: Final = Path("/usr/share/fonts/truetype")
_WORDS: Final = """
open closed fresh coffee bakery books museum garden harbour station welcome library market flowers tickets exit daily
bread tailor pharmacy gallery school theatre bicycle repair summer sale grand opening platform nine mind step quiet
please beware dog lemonade antiques honey cheese records guitar lessons rooms vacancy
"""
_PHRASES: Final = """
每日新鲜烘焙 北京大学 人民公园 中华书局 小心地滑 请勿吸烟 今日特价 欢迎光临 营业时间 咖啡与茶 出口在右边 禁止停车
图书馆 火车站 新年快乐 春天花店 自行车修理 安静学习 茶馆 海边旅馆 面包房 老街书店
"""
_LETTERS, _CHARACTERS = "abcdefghijklmnoprstuvwy", "天地人水火山石田木花草鱼鸟马牛羊"


@dataclass(frozen=True, slots=True)
class Sign:
    """A picture of a sign."""

    text: str
    near: str
    """A text that is not on it, and differs by one letter."""
    picture: bytes
    is_chinese: bool


def write_signs() -> Iterator[Sign]:
    """Yield the signs."""
    random = Random(18)
    for number in range(_SIGNS):
        is_chinese = number % 5 == 4
        if is_chinese:
            lines, font = [random.choice(_PHRASES.split())], _CHINESE
        else:
            words = [
                random.choice((str.upper, str.title, str.lower))(word) for word in random.sample(_WORDS.split(), 3)
            ]
            words = words[: random.randint(1, 3)]
            lines = words if random.random() < 0.4 else [" ".join(words)]
            font = random.choice(_FONTS)
        text = " ".join(lines)
        yield Sign(text, _near(text, random, is_chinese), _draw(lines, font, random), is_chinese)


def _near(text: str, random: Random, is_chinese: bool) -> str:
    """Return a text with one letter replaced, left out or doubled, and so one that is not part of the text."""
    places = [at for at, letter in enumerate(text) if letter != " "]
    at = random.choice(places)
    letters = _CHARACTERS if is_chinese else _LETTERS
    other = random.choice([letter for letter in letters if letter != text[at].lower()])
    is_inside = at not in (places[0], places[-1])
    changed = random.choice((other, "" if is_inside else other, text[at] * 2))
    return text[:at] + changed + text[at + 1 :]


def _draw(lines: Sequence[str], font: str, random: Random) -> bytes:
    ground = tuple(random.randint(60, 200) for _ in range(3))
    is_dark = random.random() < 0.5
    levels = (10, 210) if is_dark else (210, 10)
    board, ink = (tuple(random.randint(low, low + 45) for _ in range(3)) for low in levels)
    size = random.randint(34, 64)
    face = ImageFont.truetype(_FOLDER / font, size)
    width = max(round(face.getlength(line)) for line in lines)
    if width > _SIDE_PX - 140:
        face = ImageFont.truetype(_FOLDER / font, size * (_SIDE_PX - 140) // width)
        width = max(round(face.getlength(line)) for line in lines)
    height = round(face.size * 1.35)
    plate = Image.new("RGBA", (width + 60, height * len(lines) + 40), (*board, 255))
    pen = ImageDraw.Draw(plate)
    pen.rectangle((4, 4, plate.width - 5, plate.height - 5), outline=ink, width=3)
    for number, line in enumerate(lines):
        pen.text((plate.width / 2, 20 + height * (number + 0.5)), line, font=face, fill=ink, anchor="mm")
    plate = plate.rotate(random.uniform(-_MAX_TURN, _MAX_TURN), Image.Resampling.BICUBIC, expand=True)
    image = Image.new("RGB", (_SIDE_PX, _SIDE_PX), ground)
    scene = ImageDraw.Draw(image)
    for _ in range(6):  # what stands around it
        left, top = (random.randint(-80, _SIDE_PX) for _ in range(2))
        colour = tuple(random.randint(40, 220) for _ in range(3))
        scene.ellipse((left, top, left + random.randint(40, 260), top + random.randint(40, 260)), fill=colour)
    image.paste(plate, ((_SIDE_PX - plate.width) // 2, (_SIDE_PX - plate.height) // 2), plate)
    image = image.filter(ImageFilter.GaussianBlur(random.uniform(0.0, 1.2)))
    noise = Image.frombytes("L", image.size, random.randbytes(_SIDE_PX * _SIDE_PX)).convert("RGB")
    image = Image.blend(image, noise, random.uniform(0.0, 0.15))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass(slots=True)
class _Tally:
    """Verdicts on texts that are there, and on near ones that are not."""

    right: int = 0
    there: int = 0
    said: int = 0

    def add(self, *, is_met: bool, is_there: bool) -> None:
        self.there += is_there
        self.said += is_met
        self.right += is_met and is_there

    def __str__(self) -> str:
        return f"precision {self.right / max(1, self.said):.3f}, recall {self.right / max(1, self.there):.3f}"


async def read_signs(signs: Sequence[Sign]) -> None:
    """Print how well RapidOCR tells the texts."""
    tallies = {"English": _Tally(), "Chinese": _Tally()}
    unread, begun = 0, time.perf_counter()
    async with open_ocr() as reader:
        for sign in signs:
            lines = await reader.read(sign.picture)
            if "GEMS_SHOWN" in os.environ and not shows_text(sign.text, lines):
                print(f"{sign.text!r} was read as {lines}", flush=True)
            unread += not lines
            tally = tallies["Chinese" if sign.is_chinese else "English"]
            for text in (sign.text, sign.near):
                tally.add(is_met=shows_text(text, lines), is_there=text == sign.text)
    each = (time.perf_counter() - begun) / len(signs)
    for name, tally in (*tallies.items(), ("all", _sum(tallies.values()))):
        print(f"RapidOCR, {name}: {tally}")
    print(f"RapidOCR: no text found on {unread} of {len(signs)} signs, {each:.2f} s a picture")


def judge_storyboards(signs: Sequence[Sign]) -> None:
    """Print how well the storyboard reader tells the same texts on storyboards."""
    tallies = {"English": _Tally(), "Chinese": _Tally()}
    for sign in signs:
        seen = look(draw_without_errors(f'a sign that says "{sign.text}"'))
        for text in (sign.text, sign.near):
            said, _ = judge_question(f'Does the image show the text "{text}"?', seen)
            tallies["Chinese" if sign.is_chinese else "English"].add(
                is_met=said.startswith("yes"), is_there=text == sign.text
            )
    for name, tally in (*tallies.items(), ("all", _sum(tallies.values()))):
        print(f"storyboard reader, {name}: {tally}")


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    total = _Tally()
    for tally in tallies:
        total = _Tally(total.right + tally.right, total.there + tally.there, total.said + tally.said)
    return total


def main() -> None:
    """Print both tables."""
    signs = list(write_signs())
    trio.run(read_signs, signs)
    judge_storyboards(signs)


if __name__ == "__main__":
    main()
