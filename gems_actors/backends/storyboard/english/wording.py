"""Tells how a prompt writes the names of things: capital letters, articles and plurals, for questions about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gems_actors.backends.storyboard.english.kinds import ANIMATE, is_uncounted
from gems_actors.backends.storyboard.english.naming import is_known_noun
from gems_actors.backends.storyboard.english.prose.nouns import is_concrete
from gems_actors.backends.storyboard.english.styles import listed
from gems_actors.backends.storyboard.english.tokens import Tokens
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import DETERMINERS, LOOSE_COUNTS, attribute_of
from gems_actors.backends.storyboard.scene import Wording
from gems_actors.backends.storyboard.words import COLOUR_ALIASES, SURFACE_ALIASES, number_of, plural, singular, word_set

_SMALL: Final = frozenset(("of", "the", "de", "la", "du", "del", "von", "van"))
"""Words within names that have no capital letter."""
_KNOWN: Final = frozenset(
    listed(
        """batman, superman, spiderman, wonder woman, santa, santa claus, einstein, albert einstein, napoleon,
        cleopatra, pikachu, godzilla, king kong, mickey mouse, dracula, yoda, darth vader, shrek, gandalf, hercules,
        zeus, medusa, mars, venus, jupiter, saturn, paris, london, rome, tokyo, berlin, venice, istanbul, cairo, sydney,
        amsterdam, barcelona, moscow, eiffel tower, taj mahal, big ben, mount fuji, lisbon, madrid, vienna, prague,
        athens, seoul, dubai, kyoto, chicago, miami, hawaii, new york, hong kong, san francisco, las vegas, japan,
        italy, france, egypt, texas"""
    )
)
"""Names that are often written in small letters, and that name nothing else."""
_NATIONS: Final = word_set(
    "japanese chinese italian french german english spanish greek roman egyptian american african asian european "
    "indian mexican russian persian victorian dutch swiss irish scottish moroccan korean thai turkish"
)
"""Adjectives that have a capital letter wherever they stand."""
_SHORT: Final = {"on top of": ("on", (" on top ", " atop ")), "inside": ("in", (" inside ", " within "))}
"""Places with a shorter name, and the words of a prompt that ask for the longer one."""

_ADJECTIVE_TOO: Final = frozenset(("wood", "checkerboard"))
"""Nouns that an adjective of the same meaning says better after `is`."""
_MAX_NAME_TOKENS: Final = 4


def wording_of(tokens: Tokens, names: Iterable[str]) -> Wording:
    """Return how a prompt writes these names."""
    known = dict.fromkeys(names)
    written = [item for name in known if (item := _written(tokens, name)) is not None]
    if tokens.is_in_capitals:  # `The Taj Mahal` alone has as many as a title
        is_name = tokens.words[0] == "the" and len(tokens.words) <= _MAX_NAME_TOKENS
        written = [item for item in written if is_name and item[1] == "the"]
    said, text = set(tokens.words), f" {' '.join(tokens.words)} "
    return Wording(
        tuple(written),
        frozenset(name for name in known if plural(name).split()[-1] in said and name.split()[-1] not in said),
        tuple((place, short) for place, (short, long) in _SHORT.items() if not any(words in text for words in long))
        + tuple(_passives(tokens)),
        tuple(_aliases(said)),
    )


def _passives(tokens: Tokens) -> Iterator[tuple[str, str]]:
    """Yield what is said to be going on, such as `being washed by`."""
    for at, word in enumerate(tokens.words):
        if word == "being" and is_past(tokens.at(at + 1)) and tokens.at(at + 2) == "by":
            yield tokens.phrase(at + 1, at + 3), tokens.phrase(at, at + 3)


def _aliases(said: set[str]) -> Iterator[tuple[str, str]]:
    """Yield each colour or material that is written under one other name alone."""
    for aliases in (COLOUR_ALIASES, SURFACE_ALIASES):
        for value in {*aliases.values()}:
            written = [word for word in (value, *aliases) if word in said and aliases.get(word, word) == value]
            if len(written) == 1 and written[0] not in _ADJECTIVE_TOO:
                yield value, written[0]


def _written(tokens: Tokens, name: str) -> tuple[str, str, str] | None:
    """Return a name with its article, as the prompt first writes it; None without capital letters."""
    words = name.split()
    for at in range(len(tokens.words) - len(words) + 1):
        found = tokens.words[at : at + len(words)]
        if all(word in {token, singular(token)} for word, token in zip(words, found, strict=True)):
            return _written_at(tokens, at, words)
    return None


def _written_at(tokens: Tokens, at: int, words: list[str]) -> tuple[str, str, str] | None:
    name, before = " ".join(words), tokens.at(at - 1)
    is_counted = before in DETERMINERS or before in LOOSE_COUNTS or number_of(before) is not None
    if name in _KNOWN and (before == "the" or not is_counted):
        return name, "the" if before == "the" else "", name.title()
    raw = [item.replace("’", "'") for item in tokens.raw[at : at + len(words)]]
    is_whole = all("A" <= item[0] <= "Z" or word in _SMALL for item, word in zip(raw, words, strict=True))
    is_proper = is_whole and (len(words) > 1 or not _is_common(words[0]))
    if (
        (at == 0 or tokens.at(at - 1) in {".", ";"})
        and not is_proper
        and words[0] not in _NATIONS
        and raw[0][1:] == raw[0][1:].lower()
    ):
        raw[0] = raw[0].lower()  # a capital letter that only begins the sentence
    spelled = " ".join(map(cased, words, raw))
    if spelled == " ".join(words):
        return None
    is_several = tokens.words[at : at + len(words)] != words
    is_of_kind = is_several or words[-1] in ANIMATE or attribute_of(before) is not None  # `Golden Retriever`
    article = "a" if not is_proper else "the" if before == "the" else "a" if is_counted or is_of_kind else ""
    return " ".join(words), article, spelled


def _is_common(word: str) -> bool:
    return is_known_noun(word) or is_concrete(word) or is_uncounted(word) or attribute_of(word) is not None


def cased(word: str, written: str) -> str:
    """Return a word in lower case, or its plural, with the capital letters with which it is written."""
    if written.lower() == word[: len(written)]:
        return written + word[len(written) :]
    return written[0] + word[1:] if written[0].isascii() else word
