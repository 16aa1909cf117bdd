"""Things are found by name, and every pictogram can be drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from gems_actors.backends.storyboard import pictograms
from gems_actors.backends.storyboard.pictograms import (
    draw_pictogram,
    emoji_name,
    find_pictogram,
    is_pictogram,
)

FOLDER = Path(pictograms.__file__).parent
ALL = [character for character in map(chr, range(0x2000, 0x20000)) if is_pictogram(character)]


@pytest.mark.parametrize(
    ("name", "character"),
    [
        ("dog", "🐕"),
        ("sofa", "🛋"),
        ("grape", "🍇"),
        ("dining chair", "🪑"),
        ("old wooden suitcase", "🧳"),
        ("computer mouse", "🖱"),
        ("glass of water", "🥛"),
        ("pot of gold", "🍲"),
        ("bunch of bananas", "🍌"),
        ("slice of banana", "🍌"),
        ("half-moon", "🌕"),
        ("rent", ""),
        ("", ""),
        (" of ", ""),
    ],
)
def test_a_thing_is_found_by_its_name_or_its_head(name: str, character: str) -> None:
    assert find_pictogram(name) == character


def test_the_things_of_geneval_2_have_pictograms() -> None:
    things = (
        "backpack bagel bear bicycle bird candle car cat chair clock cookie cow croissant dog donut elephant flamingo "
        "flower giraffe guitar horse kangaroo koala lion monkey motorcycle mushroom penguin pig rabbit raccoon sheep "
        "suitcase toy truck trumpet turtle umbrella violin zebra"
    )
    assert [thing for thing in things.split() if not find_pictogram(thing)] == []


def test_an_emoji_is_named_so_that_it_is_found_again() -> None:
    assert [character for character in ALL if find_pictogram(emoji_name(character)) != character] == []


@pytest.mark.parametrize("side_px", [8, 40, 200, 500])
@pytest.mark.slow
def test_every_pictogram_fits_its_square_and_is_within_its_silhouette(side_px: int) -> None:
    for character in ALL[:: 60 if side_px == 500 else 12]:
        shape = draw_pictogram(character, side_px)
        assert max(shape.lines.size) == side_px
        assert shape.lines.size == shape.silhouette.size
        assert shape.silhouette.getbbox() is not None, character
        assert shape.lines.getbbox() is not None, character


def test_the_package_is_small_and_has_its_licences() -> None:
    assert len(ALL) > 1_200
    assert (FOLDER / "pictograms.woff").stat().st_size <= 500_000
    assert "SIL OPEN FONT LICENSE" in (FOLDER / "OFL.txt").read_text()
    assert "UNICODE LICENSE" in (FOLDER / "UNICODE-LICENSE.txt").read_text()
