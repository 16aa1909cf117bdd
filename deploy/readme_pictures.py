"""Draw the pictures of the README again: `python -m deploy.readme_pictures`.

The prompt and the seed are the README's, so `gems draw` prints the table next to the first picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from gems_actors import DrawnRound, draw

ROOT: Final = Path(__file__).parent.parent
SIDE_PX, GAP_PX, CAPTION_PX = 480, 20, 44
MET, UNMET, INK = (36, 130, 76), (190, 52, 44), (38, 46, 66)


def side_by_side(rounds: Sequence[DrawnRound]) -> Image.Image:
    """Return the pictures of rounds side by side, each above what the verifier said of it."""
    width = len(rounds) * (SIDE_PX + GAP_PX) - GAP_PX
    sheet = Image.new("RGB", (width, SIDE_PX + CAPTION_PX), (255, 255, 255))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(20)
    for index, drawn in enumerate(rounds):
        left = index * (SIDE_PX + GAP_PX)
        sheet.paste(drawn.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), (left, 0))
        met = sum(answer is True for answer in drawn.met.values())
        pen.text((left, SIDE_PX + 12), f"round {drawn.number}", INK, font)
        all_met = met == len(drawn.met)
        verdict = f"{met} of {len(drawn.met)} met"
        pen.text((left + SIDE_PX, SIDE_PX + 12), verdict, MET if all_met else UNMET, font, anchor="ra")
    return sheet


def save(image: Image.Image, name: str) -> None:
    """Write a picture with few colours, which a storyboard has anyway."""
    path = ROOT / "deploy" / "pictures" / name
    image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size} bytes")


def main() -> None:
    """Draw the prompt of the README's first command, and write its picture and its rounds."""
    readme = (ROOT / "README.md").read_text("utf-8")
    prompt, seed = re.search(r'make draw PROMPT="([^"]+)"', readme), re.search(r"gems draw --seed (\d+)", readme)
    assert prompt is not None
    assert seed is not None
    drawing = draw(prompt[1], seed=int(seed[1]))
    save(drawing.image.resize((600, 600), Image.Resampling.LANCZOS), "draw.png")
    save(side_by_side(drawing.rounds[:3]), "rounds.png")


if __name__ == "__main__":
    main()
