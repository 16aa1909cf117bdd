"""Make the storyboard's pictogram font and its table of words from Noto Emoji and CLDR.

    pip install fonttools==4.60.1 scikit-image==0.26.0 zopfli
    npm pack @expo-google-fonts/noto-emoji@0.4.7 cldr-annotations-full@48.2.0
    python -m deploy.pictograms expo-google-fonts-noto-emoji-0.4.7.tgz cldr-annotations-full-48.2.0.tgz

Equal sources give equal files. For every pictogram the font has a second glyph, its silhouette, so that it can be
filled with a colour. `synonyms.txt` holds what else things are called.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

import numpy as np
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.ttLib.scaleUpem import scale_upem
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import measure

FOLDER: Final = Path(__file__).parent.parent / "gems_actors" / "backends" / "storyboard" / "pictograms"
SOURCES: Final = {
    "expo-google-fonts-noto-emoji-0.4.7.tgz": "6a25fd5a4da5bb34bbc2d300531bbf32de86afd866e119314d7e358f61a6104d",
    "cldr-annotations-full-48.2.0.tgz": "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
}
UNITS_PER_EM: Final = 384
RASTER_PX: Final = 128
"""Size at which silhouettes are found."""
BRIDGED_PX: Final = 3
"""Half the width of a gap between two lines that is bridged, at that size."""
SILHOUETTES: Final = 0xF0000
"""Offset of a silhouette's code point from that of its pictogram: a private use area."""
LEFT_OUT: Final = {
    code
    for first, last in (
        (0x23, 0x2319),
        (0x23CF, 0x23EF),
        (0x23F8, 0x25FF),
        (0x2640, 0x2642),
        (0x2648, 0x2653),
        (0x26CE, 0x26CE),
        (0x2795, 0x3299),
        (0x1F100, 0x1F2FF),
        (0x1F3FB, 0x1F3FF),
        (0x1F4F2, 0x1F4F6),
        (0x1F500, 0x1F50A),
        (0x1F517, 0x1F524),
        (0x1F532, 0x1F53D),
        (0x1F55C, 0x1F567),
        (0x1F7E0, 0x1F7FF),
        (0x1F9B0, 0x1F9B3),
    )
    for code in range(first, last + 1)
} - {0x2B50}
"""Arrows, buttons, signs of the zodiac, squares, half hours, skin tones and hair: signs, not things."""


def read_source(path: Path, name: str) -> bytes:
    """Return one file of a source, whose digest must be the expected one."""
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SOURCES[path.name]:
        raise SystemExit(f"{path}: expected the published file with SHA-256 {SOURCES[path.name]}, got another one")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        member = archive.extractfile(f"package/{name}")
        assert member is not None
        return member.read()


def make_font(source: bytes, codes: set[int]) -> TTFont:
    """Return the font of these code points and their silhouettes."""
    font = TTFont(io.BytesIO(source), recalcTimestamp=False)
    options = Options(layout_features=[], name_IDs=[0, 1, 2, 5, 13, 14], notdef_outline=False, glyph_names=False)
    options.drop_tables += ["GSUB", "STAT", "vhea", "vmtx", "gasp"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=codes)
    subsetter.subset(font)
    scale_upem(font, UNITS_PER_EM)
    drawn = ImageFont.truetype(io.BytesIO(source), RASTER_PX, layout_engine=ImageFont.Layout.BASIC)
    cmap, outlines, order = dict(font.getBestCmap()), font["glyf"], list(font.getGlyphOrder())
    silhouettes = {code: f"{name}.filled" for code, name in sorted(cmap.items())}
    for code, filled in silhouettes.items():
        outlines[filled] = trace_silhouette(drawn, chr(code))
        font["hmtx"][filled] = font["hmtx"][cmap[code]]
        cmap[code + SILHOUETTES] = filled
    order = [*order, *silhouettes.values()]
    font.setGlyphOrder(order)
    for name in order:
        outlines[name].recalcBounds(outlines)
        font["hmtx"][name] = (font["hmtx"][name][0], getattr(outlines[name], "xMin", 0))
    table = next(table for table in font["cmap"].tables if table.format == 12)
    table.cmap = cmap
    font["cmap"].tables = [table]
    font.flavor = "woff"
    return font


def trace_silhouette(font: ImageFont.FreeTypeFont, character: str) -> Any:
    """Return the glyph of everything that a drawing encloses, where gaps in its lines are bridged.

    It ends within the lines, which are drawn over it.
    """
    image = Image.new("L", (RASTER_PX * 2, RASTER_PX * 2))
    ImageDraw.Draw(image).text((RASTER_PX // 4, RASTER_PX * 3 // 2), character, fill=255, font=font, anchor="ls")
    ink = np.asarray(image) > 127
    ball = np.hypot(*np.mgrid[-BRIDGED_PX : BRIDGED_PX + 1, -BRIDGED_PX : BRIDGED_PX + 1]) <= BRIDGED_PX
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(ink, ball))
    smooth = ndimage.gaussian_filter(whole.astype(float), 1.0)
    pen = TTGlyphPen(None)
    scale = UNITS_PER_EM / RASTER_PX
    for contour in measure.find_contours(smooth, 0.7):
        corners = measure.approximate_polygon(contour, 1.2)[:-1]
        if len(corners) < 3:
            continue
        points = [(round((x - RASTER_PX // 4) * scale), round((RASTER_PX * 3 // 2 - y) * scale)) for y, x in corners]
        pen.moveTo(points[0])
        for point in points[1:]:
            pen.lineTo(point)
        pen.closePath()
    return pen.glyph()


def assign_words(names: dict[int, tuple[str, list[str]]], synonyms: dict[str, int]) -> dict[int, list[str]]:
    """Return the words that stand for each code point, its spoken name first; no word stands for two.

    These are its name, the last word of its name, without `face` the word before that, and the synonyms.
    """
    claims: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for code, (name, keywords) in names.items():
        claims[spoken_name(name)].append((0, 0, code))
        ends = [word for word in keywords if name.endswith(f" {word}") and len(word) > 2]
        faces = [name.removesuffix(" face")] if name.endswith(" face") else []
        for rank, words in ((1, faces), (2, ends)):
            for word in words:
                claims[spoken_name(word)].append((rank, len(name.split()), code))
    owners = {word: min(rivals)[2] for word, rivals in claims.items()} | synonyms
    assigned: dict[int, list[str]] = {code: [spoken_name(name)] for code, (name, _) in names.items()}
    for word, code in sorted(owners.items()):
        if word not in assigned[code]:
            assigned[code].append(word)
    return assigned


def spoken_name(name: str) -> str:
    """Return a name that a sentence can hold as one noun: `smiling-face-with-horns`, `teddy bear`."""
    words = "".join(character for character in name.lower() if character.isalnum() or character in " -'").split()
    joins = {"with", "and", "of", "in", "on", "behind", "over", "without", "from", "at", "for", "the", "a", "no", "not"}
    is_plain = not joins.intersection(words) and not words[-1].endswith("ing") and words[0] not in {"left", "right"}
    return " ".join(words) if is_plain else "-".join(words)


def read_synonyms(path: Path) -> dict[str, int]:
    """Return the words of a table whose lines are a pictogram and what else it is called."""
    return {
        word.strip(): ord(line[0])
        for line in path.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
        for word in line[1:].replace("\ufe0f", "").split(",")
    }


def main() -> None:
    """Write the font, the table of words and their licences."""
    font_file, names_file = (Path(argument) for argument in sys.argv[1:])
    source = read_source(font_file, "400Regular/NotoEmoji_400Regular.ttf")
    published = json.loads(read_source(names_file, "annotations/en/annotations.json"))["annotations"]["annotations"]
    covered = set(TTFont(io.BytesIO(source)).getBestCmap()) - LEFT_OUT
    annotations = {
        ord(text[0]): (entry["tts"][0], entry["default"])
        for text, entry in published.items()
        if text.replace("\ufe0f", "") == text[0] and ord(text[0]) in covered
    }
    font = make_font(source, set(annotations))
    words = assign_words(annotations, read_synonyms(FOLDER / "synonyms.txt"))
    font.save(FOLDER / "pictograms.woff")
    lines = [f"{code:x} {', '.join(words[code])}\n" for code in sorted(words)]
    (FOLDER / "words.txt").write_text("".join(lines), "utf-8")
    (FOLDER / "OFL.txt").write_bytes(read_source(font_file, "LICENSE_FONT"))
    (FOLDER / "UNICODE-LICENSE.txt").write_bytes(read_source(names_file, "LICENSE"))
    print(f"{len(words)} pictograms, {(FOLDER / 'pictograms.woff').stat().st_size} bytes")


if __name__ == "__main__":
    main()
