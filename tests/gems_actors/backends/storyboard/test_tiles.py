"""What tiles show is read from their pixels: counts, colours and surfaces, whatever the pictogram."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gems_actors.backends.storyboard.drawing import draw
from gems_actors.backends.storyboard.pictograms import emoji_name, is_pictogram
from gems_actors.backends.storyboard.reading import SeenCard, look
from gems_actors.backends.storyboard.scene import Scene, Thing
from gems_actors.backends.storyboard.words import COLOURS, SURFACES
from tests.gems_actors.backends.storyboard.pictures import encode_again

NAMES = [emoji_name(character) for character in map(chr, range(0x2000, 0x20000)) if is_pictogram(character)]
PER_PICTURE = 4


def things(first: int, count: int) -> Iterator[Thing]:
    """Yield things that differ in all that a tile shows."""
    fills, surfaces = list(COLOURS), ["", *SURFACES]
    for index in range(first, first + count):
        colours = [fills[index * 7 % len(fills)], fills[(index * 5 + 1) % len(fills)]][: index % 4 % 3]
        surface = surfaces[index * 3 % len(surfaces)]
        shown = tuple(dict.fromkeys([*colours, *([surface] if surface else [])]))
        yield Thing(NAMES[index % len(NAMES)], count=index % 12 + 1, attributes=shown)


def misreadings(
    first: int, side_px: int = 768, per_picture: int = PER_PICTURE
) -> list[tuple[str, Thing, SeenCard | None]]:
    """Draw a picture of things, and return what is not right in it as PNG and as JPEG."""
    wanted = list(things(first, per_picture))
    picture = draw(Scene(tuple(wanted)), seed=1, width_px=side_px, height_px=side_px)
    wrong = []
    for kind in ("PNG", "JPEG"):
        seen = look(encode_again(picture, kind=kind, quality=90))
        assert seen is not None
        cards = {card.name.replace("I", "l"): card for card in seen.cards}
        pairs = [(thing, cards.get(thing.name.replace("I", "l"))) for thing in wanted]
        wrong += [(kind, thing, card) for thing, card in pairs if card is None or not is_right(thing, card)]
    return wrong


def is_right(thing: Thing, card: SeenCard) -> bool:
    shown = (card.count, card.colours, card.surfaces)
    return shown == (thing.count, frozenset(thing.colours), frozenset({thing.surface}))


@pytest.mark.parametrize("side_px", [512, 768, 1024])
@pytest.mark.slow
def test_tiles_are_read_after_being_encoded_again(side_px: int) -> None:
    for first in range(0, len(NAMES), 200):
        assert misreadings(first, side_px) == []


@pytest.mark.slow
@pytest.mark.parametrize("per_picture", [6, 9])
def test_the_tiles_of_crowded_pictures_are_read_after_being_encoded_again(per_picture: int) -> None:
    for first in range(per_picture, len(NAMES), 150):
        assert misreadings(first, 1024, per_picture) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_every_pictogram_is_read_in_some_colour_surface_and_count(part: int) -> None:
    for first in range(part * PER_PICTURE, len(NAMES), 4 * PER_PICTURE):
        assert misreadings(first) == []


def test_things_whose_script_has_no_font_are_drawn_and_read() -> None:
    picture = draw(Scene((Thing("\ue000x"), Thing("猫"))), seed=1, width_px=512, height_px=512)
    seen = look(picture)
    assert seen is not None
    assert [(card.name, card.count) for card in seen.cards] == [("\ue000x", 1), ("猫", 1)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.slow
def test_crowds_of_small_tiles_are_read(kind: str) -> None:
    for count in (24, 40, 60, 99):
        wanted = Thing("bird", count=count, attributes=("blue",))
        picture = draw(Scene((wanted, Thing("cat"))), seed=1, width_px=768, height_px=768)
        seen = look(encode_again(picture, kind=kind, quality=90))
        assert seen is not None
        assert is_right(wanted, seen.cards[0])
