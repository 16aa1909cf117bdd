"""Vocabulary of the storyboard: colours, surfaces, numbers, positions, and singular and plural forms of nouns.

Only tables and spelling rules, independent of scenes and pictures.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final


def word_set(text: str) -> frozenset[str]:
    """Return the words of a table that is written as text."""
    return frozenset(text.split())


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> dict[str, str]:
    """Return the mapping written as `key:value`, separated by spaces."""
    return {key: value for key, _, value in (pair.partition(":") for pair in text.split())}


COLOURS: Final[dict[str, tuple[int, int, int]]] = {
    "red": (214, 52, 52),
    "orange": (242, 140, 38),
    "yellow": (250, 214, 66),
    "green": (66, 158, 82),
    "blue": (52, 108, 214),
    "purple": (128, 70, 176),
    "pink": (246, 152, 192),
    "brown": (128, 82, 48),
    "black": (34, 34, 38),
    "white": (255, 255, 255),
    "gray": (146, 146, 150),
    "gold": (206, 162, 48),
    "silver": (198, 202, 208),
    "beige": (234, 216, 182),
    "navy": (22, 32, 108),
    "teal": (14, 124, 126),
    "turquoise": (64, 212, 196),
    "cyan": (92, 206, 246),
    "maroon": (116, 20, 44),
    "olive": (126, 128, 38),
    "lime": (166, 226, 60),
    "magenta": (216, 44, 168),
}
COLOUR_ALIASES: Final = _pairs(
    "grey:gray violet:purple lavender:purple crimson:red scarlet:red golden:gold azure:blue aqua:cyan cream:beige "
    "emerald:green"
)
SURFACES: Final = _listed("plastic stone glass metal wooden sparkling striped spotted checkered brick furry paper")
SURFACE_ALIASES: Final = _pairs(
    "metallic:metal steel:metal wood:wooden sparkly:sparkling glittering:sparkling glittery:sparkling stripy:striped "
    "dotted:spotted polka-dot:spotted checked:checkered checkerboard:checkered marble:stone fluffy:furry fuzzy:furry"
)
_UP_TO_TWENTY: Final = _listed(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
NUMBER_WORDS: Final = dict(enumerate(_UP_TO_TWENTY, start=1)) | (
    {30: "thirty", 40: "forty", 50: "fifty", 60: "sixty", 100: "hundred"}
)
_TENS: Final = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty"}
NUMBERS: Final = (
    {word: number for number, word in NUMBER_WORDS.items()}
    | {"dozen": 12}
    | {f"{tens}-{NUMBER_WORDS[one]}": ten + one for ten, tens in _TENS.items() for one in range(1, 10)}
)
_PLACE_SPELLINGS: Final = {
    "left of": ("to the left of", "on the left of", "on the left side of", "left of"),
    "right of": ("to the right of", "on the right of", "on the right side of", "right of"),
    "on top of": ("on top of", "on the top of", "at the top of", "atop", "on", "onto", "upon"),
    "above": ("above", "over"),
    "below": ("below",),
    "under": ("under", "underneath", "beneath"),
    "in front of": ("in front of",),
    "behind": ("behind", "at the back of"),
    "inside": ("inside of", "inside", "within", "into", "in"),
    "between": ("between", "in between"),
    "next to": ("next to", "beside", "adjacent to", "alongside"),
    "near": ("close to", "near"),
}
_OTHER_PLACES: Final = _listed(
    "by with at along around against across through toward facing outside past among beyond amid amidst"
)
_PARTS: Final = _listed(
    "heart edge middle center centre bottom side corner end foot head shoulder back base surface front hands arms lap "
    "tip"
)
_PART_PLACES: Final = tuple(f"{place} the {part} of" for place in ("on", "at", "in", "near") for part in _PARTS)
PLACES: Final = (
    {name: name for name in _PART_PLACES}
    | {spelling: name for name, spellings in _PLACE_SPELLINGS.items() for spelling in spellings}
    | {name: name for name in _OTHER_PLACES}
    | {"towards": "toward"}
)
"""Every spelling of a place, and the one name it goes by here."""
_UPRIGHT: Final = word_set(
    "wall ceiling door gate fence facade window windowpane neck wrist finger ear nose face cheek forehead chest arm "
    "leg screen label poster page paper canvas map blackboard chalkboard whiteboard billboard banner flag shirt "
    "t-shirt jacket mug fridge refrigerator hook nail rack line rope string clothesline side bark pole shore coast "
    "horizon chain cord lanyard ribbon thread ring"
)
"""Things that others are on without being on top of them."""
OPPOSITES: Final = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "on top of": "under",
    "under": "on top of",
    "in front of": "behind",
    "behind": "in front of",
}
LONGEST_PLACE: Final = max(len(phrase.split()) for phrase in PLACES)

NOUNS_IN_ING: Final = word_set(
    "ring king string wing building painting earring ceiling clothing spring swing thing lightning evening morning "
    "wedding pudding sling ping dressing railing awning viking sibling duckling dumpling being crossing "
    "string-wing parking sewing setting lighting seating meeting greeting gathering covering stocking engraving "
    "carving etching rendering clearing packaging shading marking icing frosting topping filling stuffing beginning"
)

_SHORT_PARTICIPLES: Final = word_set("lying tying dying using doing going")

_IRREGULAR: Final = _pairs(
    "mice:mouse geese:goose men:man women:woman children:child people:person feet:foot teeth:tooth oxen:ox "
    "knives:knife wolves:wolf leaves:leaf shelves:shelf loaves:loaf halves:half scarves:scarf calves:calf elves:elf "
    "thieves:thief cacti:cactus potatoes:potato tomatoes:tomato heroes:hero mangoes:mango buses:bus gases:gas "
    "lenses:lens movies:movie cookies:cookie pies:pie ties:tie zombies:zombie selfies:selfie axes:axe vases:vase "
    "houses:house horses:horse roses:rose noses:nose purses:purse nurses:nurse mooses:moose cheeses:cheese "
    "blouses:blouse suitcases:suitcase bookcases:bookcase caches:cache headaches:headache taxis:taxi "
    "menus:menu emus:emu gnus:gnu tutus:tutu "
    "gurus:guru bayous:bayou haikus:haiku causes:cause fuses:fuse spouses:spouse neckties:necktie "
    "antennae:antenna fungi:fungus dominoes:domino mosquitoes:mosquito volcanoes:volcano tornadoes:tornado "
    "torpedoes:torpedo buffaloes:buffalo wives:wife hooves:hoof dwarves:dwarf wharves:wharf moustaches:moustache "
    "mustaches:mustache avalanches:avalanche quiches:quiche niches:niche brioches:brioche brownies:brownie "
    "smoothies:smoothie genies:genie hoodies:hoodie collies:collie pixies:pixie rookies:rookie budgies:budgie "
    "prairies:prairie hippies:hippie birdies:birdie veggies:veggie goalies:goalie foodies:foodie sweeties:sweetie"
)
_PLURAL_OF: Final = {singular: plural for plural, singular in _IRREGULAR.items()}
_IN_COMPOUNDS: Final = _listed("houses horses shelves knives wolves leaves children nurses")
"""Irregular plurals that end compound nouns, such as `lighthouses`."""
_INVARIANT: Final = word_set(
    "sheep fish deer moose salmon shrimp aircraft series species scissors pants jeans shorts trousers "
    "sunglasses binoculars headphones tongs pliers bison squid swine skis news grass glass moss dress bus gas lens "
    "thermos laces "
    "christmas mars venus vegas texas hercules claus canvas compass cactus octopus goldfish jellyfish starfish "
    "eyeglasses woods stairs clothes tweezers shears forceps goggles spectacles tights leggings overalls dungarees"
)
_NOUNS_IN_MEN: Final = word_set("specimen abdomen regimen")
_NOUNS_IN_MAN: Final = word_set("german caiman talisman ottoman shaman roman")
PLURAL_ONLY: Final = word_set(
    "scissors pants jeans shorts trousers sunglasses eyeglasses binoculars headphones tongs pliers clothes stairs "
    "woods tweezers shears forceps goggles spectacles tights leggings overalls dungarees laces"
)
"""Nouns of one thing that have only a plural."""


@lru_cache(maxsize=4096)
def singular(noun: str) -> str:
    """Return the singular of a noun or a name's head: `mice` -> `mouse`, `cups of tea` -> `cup of tea`."""
    name, of, rest = noun.partition(" of ")
    head, space, last = name.rpartition(" ")
    return head + space + _singular_word(last) + of + rest


def _singular_word(word: str) -> str:
    if word in _INVARIANT or len(word) < 3:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if ending := next((plural for plural in _IN_COMPOUNDS if word.endswith(plural)), ""):
        return word.removesuffix(ending) + _IRREGULAR[ending]
    if word.endswith("men") and len(word) > 5 and word not in _NOUNS_IN_MEN:
        return f"{word[:-3]}man"
    if word.endswith(("'s", "s'")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(ch|sh|x|ss|zz|us)es$", word):
        return word[:-2]
    if word.endswith("s") and not re.search(r"(ss|us|[nrtsx]is)$", word):
        return word[:-1]
    return word


@lru_cache(maxsize=4096)
def plural(noun: str) -> str:
    """Return the plural of a singular noun or of a name's head: `box` -> `boxes`, `cup of tea` -> `cups of tea`."""
    name, of, rest = noun.partition(" of ")
    head, space, last = name.rpartition(" ")
    return head + space + _plural_word(last) + of + rest


def _plural_word(word: str) -> str:
    if word in _PLURAL_OF:
        return _PLURAL_OF[word]
    if ending := next((plural for plural in _IN_COMPOUNDS if word.endswith(_IRREGULAR[plural])), ""):
        return word.removesuffix(_IRREGULAR[ending]) + ending
    if word.endswith("man") and len(word) > 5 and word not in _NOUNS_IN_MAN:
        return f"{word[:-3]}men"
    if re.search(r"(ch|sh|x|ss|zz|us)$", word) and not word.endswith("fish"):
        return word + "es"
    if word in _INVARIANT or not word.isascii():
        return word
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def colour_of(word: str) -> str | None:
    """Return the canonical name of the colour that a word names, or None."""
    word = COLOUR_ALIASES.get(word, word)
    return word if word in COLOURS else None


def surface_of(word: str) -> str | None:
    """Return the canonical name of the material or pattern that a word names, or None."""
    word = SURFACE_ALIASES.get(word, word)
    return word if word in SURFACES else None


def place_name(spelled: str, target: str) -> str:
    """Return the one name of a place by its spelling and the name of what is there: nothing stands on top of a wall."""
    head = target.partition(" of ")[0].split()[-1:]
    is_upright = spelled in {"on", "onto", "upon"} and any(singular(word) in _UPRIGHT for word in head)
    return "on" if is_upright else PLACES.get(spelled, spelled)


@lru_cache(maxsize=4096)
def number_of(word: str) -> int | None:
    """Return the number that a word or ASCII digits stand for, or None."""
    if word.isascii() and word.isdigit():
        return int(word[:6])
    return NUMBERS.get(word)


def spell(number: int) -> str:
    """Return a number as a prompt would write it: `three`, `24`."""
    return NUMBER_WORDS.get(number, str(number))


@lru_cache(maxsize=4096)
def is_participle(word: str) -> bool:
    """Return whether a word is a participle such as `chasing`, and not a noun such as `ring`."""
    is_verb = word in _SHORT_PARTICIPLES or (word.endswith("ing") and len(word) > 5)
    return is_verb and word not in NOUNS_IN_ING
