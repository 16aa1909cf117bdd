"""Lists the words of a prompt that say something, and that no claim carries although the grammar went past them.

The rules of the grammar note which words they used. What they used for nothing, such as the stack of `a stack of
pancakes`, and what none of them took, such as the `behind` of `a cone behind them`, is found here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from gems_actors.backends.storyboard.english.kinds import TEXT_NOUNS
from gems_actors.backends.storyboard.english.lookahead import ENDS
from gems_actors.backends.storyboard.english.phrases import PhraseReader
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, Tokens, is_content, listed_spans
from gems_actors.backends.storyboard.english.verbs import (
    PAST_VERBS,
    PLURAL_VERBS,
    SINGULAR_VERBS,
    TAKING_FORMS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    AMOUNTS,
    DETERMINERS,
    LOOSE_COUNTS,
    MEASURES,
    POSSESSIVES,
    PRONOUNS,
    SAYING,
    WHOLES,
    WRITING,
    attribute_of,
    is_adverb,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.scene import Claim, is_negative
from gems_actors.backends.storyboard.words import (
    PLACES,
    PLURAL_ONLY,
    is_participle,
    number_of,
    plural,
    singular,
    word_set,
)

_DIRECTIONS: Final = word_set("from to up down off out")
"""Words that say where something is or goes, besides the places that claims are made of."""
_LEADING: Final = _DIRECTIONS | {"the", "seen", "shown", "visible", "just"}
"""Words before a place that are listed with it, as adverbs are."""
_WITH_OBJECT: Final = word_set("with by at toward towards against facing amid amidst beside between among to from")
"""Words that say nothing without an object, as places of several words do."""
_AFTER_PLACES: Final = PRONOUNS | word_set(
    "her us you itself himself herself themselves which whom each one the other another others"
)
"""Words that stand for a thing after a place."""
_HAVING: Final = word_set(
    "has have having had shows showing show depicts depicting contains containing contain features featuring feature "
    "includes including include"
)
"""Verbs that relate a thing to their object."""
_PICTURES: Final = word_set(
    "image picture photo photograph scene shot painting illustration drawing view composition frame artwork collage "
    "foreground background camera sketch cartoon portrait render it this that there"
)
"""What shows a thing without being one, so that nothing is related to it."""
_PHOTOS: Final = word_set("photo photograph photos photographs")
_MANY: Final = word_set("many numerous")
"""Amounts that the plural does not say, as it says `some` and `several`."""
_LOOSE: Final = frozenset(LOOSE_COUNTS) - _MANY - {"both"}
_DENYING: Final = word_set("nobody no-one none nothing instead rather free devoid lacks lacking except besides anyone")
_TELLING: Final = SAYING | WRITING | TEXT_NOUNS | word_set("displaying displays display words number")
_NO_MATTER: Final = word_set("kind kinds type types sort sorts made set specific particular")
"""Words that add nothing to what they stand next to: `made of glass` is glass."""


def list_uncarried(tokens: Tokens, claims: Iterable[Claim]) -> None:
    """Have the words listed that say something and that none of the claims carries."""
    _Coverage(tokens, list(claims)).check()


class _Coverage:
    """Compares the tokens of one prompt with its claims."""

    def __init__(self, tokens: Tokens, claims: list[Claim]) -> None:
        self._tokens = tokens
        self._words = tokens.words
        self._phrases = PhraseReader(tokens)
        self._values = {claim.value for claim in claims}
        self._counts = {claim.value for claim in claims if claim.kind == "count"}
        self._carried = {word for claim in claims for word in _words_of(claim)}
        self._absent = {word for claim in claims if claim.value == "0" for word in claim.subject.split()}
        self._has_text = any(claim.kind == "text" for claim in claims)
        self._has_denial = any(is_negative(claim.value) or claim.value == "0" for claim in claims)

    def check(self) -> None:
        """Note what is not carried as a doubt, with the words that it stands with."""
        listed = self._tokens.doubted | {at for span in listed_spans(self._tokens) for at in range(*span)}
        at = 0
        while at < len(self._words):
            start, end = self._span_at(at)
            if end > at and at not in listed:
                self._list(at, start, end)
                at = end
            else:
                at += max(self._phrases.place_at(at), 1)

    def _list(self, at: int, start: int, end: int) -> None:
        """Note the words with the one before them, and with dots for the thing after them, which is asked."""
        is_whole = is_content(self._tokens.at(at)) and not self._is_measure(at) and self._tokens.at(at) not in _MANY
        is_relation = not is_content(self._tokens.at(at)) and self._tokens.at(at) not in {"both", "only"}
        before = self._tokens.at(start - 1)
        if is_relation and not self._ends(start - 1) and (is_content(before) or is_past(before)):
            start -= 1
        self._tokens.doubt(start, end)
        if not is_whole and self._tokens.at(end) not in ENDS and self._phrases.read(end)[0] is not None:
            self._tokens.doubts[-1] += " …"

    def _span_at(self, at: int) -> tuple[int, int]:
        """Return start and end of the words to list because of the token, or an empty span."""
        word, is_used, nothing = self._tokens.at(at), self._tokens.is_used[at], (at, at)
        if length := self._phrases.place_at(at):
            return nothing if self._is_place_carried(at, length) else self._place(at, at + length)
        if is_content(word):
            return self._content(at) if is_used and not self._is_carried(at) else nothing
        if word in {"both", "only"}:
            return self._limit(at)
        if is_used:
            return nothing
        if word == "where" and not self._ends(at - 1):
            return at, at + (self._phrases.read(at + 1)[0] is not None)
        if word in _DIRECTIONS:
            return self._direction(at)
        if word in _HAVING:
            return self._having(at)
        is_alone = self._ends(at + 1) and (self._ends(at - 1) or self._tokens.at(at - 1) in {"a", "an"})
        return at, at + (word in _PHOTOS and is_alone)  # `a cat on a roof, photo`

    def _ends(self, at: int) -> bool:
        return at < 0 or self._tokens.at(at) in ENDS

    # Places and directions

    def _is_place_carried(self, at: int, length: int) -> bool:
        words, end = self._words[at : at + length], at + length
        if self._is_denied_there(at, end) or (words == ["with"] and self._is_absolute(at, end)):
            return True
        if not self._tokens.is_used[at]:
            target = next((word for word in self._words[end:] if word not in DETERMINERS), ".")
            return target in _PICTURES - PRONOUNS or target == TEXT_MARK
        name = PLACES[" ".join(words)]
        is_said = any(name in value or {"wearing", "with"} & {*value.split()} for value in self._values)
        return is_said or self._has_text or not self._carried.isdisjoint(words)

    def _is_denied_there(self, at: int, end: int) -> bool:
        """Return whether a place stands after what the whole picture must not show: `no letters on the keys`."""
        before = self._tokens.at(at - 1)
        is_anywhere = self._tokens.is_used[at] and self._ends(end)  # `nobody around`
        return bool(self._absent) and (is_anywhere or not self._absent.isdisjoint({singular(before), _text_of(before)}))

    def _is_absolute(self, start: int, at: int) -> bool:
        """Return whether `with` opens a clause of its own: `with cows watching`, `with a moon above it`."""
        phrase, after = self._phrases.read(at)
        if self._tokens.is_used[start] and (self._phrases.place_at(after) or self._tokens.at(at) in POSSESSIVES):
            return True
        word = self._tokens.at(after)
        is_predicate = is_participle(word) or is_past(word) or is_adverb(word)
        return phrase is not None and is_predicate

    def _place(self, at: int, end: int) -> tuple[int, int]:
        """Return the span of a place with what leads to it and the thing that it is relative to."""
        start, is_bare = at, end > at + 1 or self._tokens.at(at) in _WITH_OBJECT
        while start > 0 and not self._tokens.is_used[start - 1] and self._leads(self._tokens.at(start - 1)):
            start -= 1
        if self._phrases.read(end)[0] is not None:
            return start, end
        while self._tokens.at(end) in _AFTER_PLACES:
            end, is_bare = end + 1, False
        return (at, at) if is_bare else (start, end)

    def _leads(self, word: str) -> bool:
        return word in _LEADING or is_adverb(word)

    def _direction(self, at: int) -> tuple[int, int]:
        word, following = self._tokens.at(at), self._tokens.at(at + 1)
        if word == "up" and is_past(self._tokens.at(at - 1)):
            return at, at  # `curled up`
        if word in {"to", "from"}:
            is_object = following in DETERMINERS | _AFTER_PLACES or self._phrases.place_at(at + 1) > 0
            return self._place(at, at + 1 + self._phrases.place_at(at + 1)) if is_object else (at, at)
        if self._phrases.place_at(at + 1) or following in _DIRECTIONS:
            return at, at  # `out from behind a curtain`: listed with the place, if that is
        return at, at + 1

    def _having(self, at: int) -> tuple[int, int]:
        """Return the span of `contains tulips` or `showing an x-ray` after a thing."""
        before, following = self._tokens.at(at - 1), self._tokens.at(at + 1)
        if before in {"that", "which", "who"}:
            before = self._tokens.at(at - 2)
        if before in _PICTURES or self._ends(at - 1) or following in ABSENCES or self._phrases.text_end(at):
            return at, at
        return at, at + (self._phrases.read(at + 1)[0] is not None)

    # Content

    def _limit(self, at: int) -> tuple[int, int]:
        """Return the span of `both cats` and `only a vase`, of whose number no claim is made."""
        phrase, after = self._phrases.read(at)
        is_number = any(number_of(word) is not None for word in self._words[at:after])
        is_joined = self._tokens.at(at) == "both" and (self._tokens.at(after) == "and" or "2" in self._counts)
        is_open = phrase is not None and not is_number and not is_joined and not is_participle(self._tokens.at(at + 1))
        return at, at + 1 + (self._tokens.at(at + 1) == "of") if is_open else at

    def _content(self, at: int) -> tuple[int, int]:
        """Return the span of a content word that a rule used for nothing."""
        start, end = at, at + 1
        word = self._tokens.at(at)
        if self._is_measure(at):
            while self._leads_measure(start - 1):
                start -= 1
            return start, end + 1  # `a small stack of`
        if self._is_measure(end) and is_plain_adjective(word):
            return at, at
        return at, end

    def _is_measure(self, at: int) -> bool:
        word = self._tokens.at(at)
        return self._tokens.at(at + 1) == "of" and not {word, singular(word)}.isdisjoint(
            MEASURES.keys() | WHOLES | AMOUNTS
        )

    def _leads_measure(self, at: int) -> bool:
        word = self._tokens.at(at)
        return word in DETERMINERS or number_of(word) is not None or is_plain_adjective(word)

    def _is_carried(self, at: int) -> bool:
        """Return whether a content word is in a claim, or adds nothing to those that are."""
        word = self._tokens.at(at).removeprefix(EMOJI)
        if number_of(word) is not None or word in _LOOSE or word in _NO_MATTER:
            return True
        if word == "half" and number_of(self._tokens.at(at + 2)) is not None:
            return True  # `half a dozen`
        if word in WRITING and "text" in self._absent:
            return True
        if word == "single" and "1" in self._counts:
            return True
        if (word in _TELLING and self._has_text) or (word in _DENYING and self._has_denial):
            return True
        if self._tokens.at(at + 1) == "of" and self._is_counted(at):
            return True
        return not self._carried.isdisjoint(_forms(word))

    def _is_counted(self, at: int) -> bool:
        """Return whether a measure such as `pair of` is the number of a claim, or of scissors."""
        word = singular(self._tokens.at(at))
        after = self._phrases.read(at + 2)[1]
        if word == "pair" and self._tokens.at(after - 1) in PLURAL_ONLY | {"glasses"}:
            return True
        return word in MEASURES and str(MEASURES[word]) in self._counts and MEASURES[word] < 4


def _text_of(word: str) -> str:
    return "text" if word in WRITING else word


def _words_of(claim: Claim) -> Iterator[str]:
    for text in (claim.subject, claim.value, *claim.objects):
        yield from text.replace("=", " ").split()
        yield text


def _forms(word: str) -> Iterator[str]:
    """Yield the forms in which a claim may have a word."""
    yield from (word, singular(word), plural(word), attribute_of(word) or word)
    for table in (SINGULAR_VERBS, PLURAL_VERBS, PAST_VERBS, TAKING_FORMS):
        yield table.get(word, word)
    if word == "glasses":
        yield "eyeglasses"
