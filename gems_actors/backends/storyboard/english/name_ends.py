"""Tells what the last word of a name may be instead.

A verb, as in `a boy and his robot fish share an umbrella`, no plural, as in `Mars`, or glasses of one kind or another.
"""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import (
    ANIMATE,
    BODY_PARTS,
    CLOTHES,
    CONTAINERS,
    SUPPORTS,
    is_uncounted,
)
from gems_actors.backends.storyboard.english.lookahead import ENDS, Lookahead, Opening
from gems_actors.backends.storyboard.english.naming import is_known_noun, is_owner
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import (
    BASES,
    INTRANSITIVE,
    OWNING,
    PURPOSES,
    THIRD_PERSONS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    BREAKERS,
    COPULAS,
    DETERMINERS,
    HAVING,
    JOINTS,
    MISSING,
    PARTICLES,
    POSSESSIVES,
    PRONOUNS,
    SAYING,
    attribute_of,
    is_adverb,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.words import (
    PLACES,
    is_participle,
    number_of,
    singular,
    surface_of,
)

_WEARING: Final = frozenset(("wear", "wears", "wearing", "wore", "sporting", "donning"))
_WEARERS: Final = ANIMATE | BODY_PARTS | CLOTHES
_HOLDERS: Final = CONTAINERS | SUPPORTS


class NameEnds(Lookahead):
    """The rules for verbs that look like the last word of a name."""

    def __init__(self, tokens: Tokens) -> None:
        """Create one for these tokens."""
        super().__init__(tokens)
        self.is_in_capitals = tokens.is_in_capitals
        self._has_sentences = tokens.words.count(".") > 1

    def names_purpose(self, words: list[str], at: int) -> bool:
        """Return whether a participle and the noun after it are one name, as in `a charging case`."""
        before, noun = self.tokens.at(at - 1), self.tokens.at(at + 1)
        if self.tokens.at(at) in MISSING:
            return False  # `a fence with a missing plank`
        is_listed = before in JOINTS and self.tokens.at(at) in PURPOSES  # `a rod, hiking boots and a bag`
        is_opened = is_listed or before in DETERMINERS or number_of(before) is not None or bool(words)
        if not is_opened or any(attribute_of(word) is None for word in words):
            return False
        is_noun = noun.isalpha() and attribute_of(noun) is None and noun not in BREAKERS and not is_adverb(noun)
        return is_noun and singular(noun) not in ANIMATE and noun not in DETERMINERS and number_of(noun) is None

    def begins_with_verb(self, words: list[str], opening: Opening) -> bool:
        """Return whether the first word is a participle with an object, as in `emphasizing real people`."""
        if len(words) < 3 or opening.count is not None or opening.is_definite:
            return False
        is_verbal = (
            is_participle(words[0])
            and words[0] not in INTRANSITIVE
            and surface_of(words[0]) is None
            and not is_plain_adjective(words[0])
        )
        return is_verbal and attribute_of(words[1]) is not None

    def is_verb_of(self, words: list[str], opening: Opening, after: int) -> bool:
        """Return whether the last word is a verb that no table has, as in `a hand sprinkles sugar`."""
        last, following = words[-1], self.tokens.at(after)
        if singular(last) == last or attribute_of(words[-2]) is not None or any("'" in word for word in words):
            return False
        begins_object = following in DETERMINERS or number_of(following) is not None
        is_modified = is_plain_adjective(following) or is_adverb(following)
        begins_object = begins_object or (is_modified and not self.place_at(after))
        is_one = opening.count == 1
        if following in COPULAS:
            return False
        if following == TEXT_MARK and (opening.is_definite or opening.count == 1):
            return True  # `the poster headlines "LIVE"`
        if opening.is_definite and words[-2] in ANIMATE and not is_known_noun(last):
            return True  # `the museum guard dozes beneath a painting`
        if opening.is_definite and last in THIRD_PERSONS | OWNING and self._is_name(after):
            return True  # `the tree bears red fruit`, `the house faces south`
        if (
            opening.is_definite
            and last in THIRD_PERSONS
            and self.tokens.at(opening.after - 2) in {"while", "as", "when"}
        ):
            return True  # `while the ship tilts`
        begins = self.tokens.at(opening.after - 1) in ENDS | {"and", "while", "as"} or opening.after == 0
        is_flowing = begins and is_uncounted(words[-2]) and not is_known_noun(last)  # `sunlight filters through blinds`
        is_sentence = self._has_sentences and begins and opening.count is None
        if (
            (opening.is_definite or is_sentence or is_flowing)
            and last in THIRD_PERSONS
            and (following in PARTICLES or following in PLACES)
        ):
            return True  # `her back rides through a street`
        return (is_one and following != "of") or begins_object

    def _is_name(self, at: int) -> bool:
        """Return whether the word at a token is none that could follow a plural: no verb, preposition or adverb."""
        word = self.tokens.at(at)
        is_verbal = word in BASES or is_participle(word) or is_past(word) or is_adverb(word)
        is_other = word in BREAKERS | SAYING | PRONOUNS or word in JOINTS or self.place_at(at) > 0
        return word.isalpha() and not (is_verbal or is_other)

    def may_end_in_verb(self, words: list[str], at: int, after: int) -> bool:
        """Return whether the last word could be the verb of two subjects: `a man and his grandson fish from a pier`."""
        is_bare = self.tokens.at(at) == words[0]
        is_joined = (
            is_bare or self.tokens.at(at - 1) == "and" or (is_known_noun(words[-2]) and not is_known_noun(words[-1]))
        )
        is_joined = is_joined and words[-1] in BASES and attribute_of(words[-2]) is None
        following = self.tokens.at(after)
        return is_joined and (following in PARTICLES or following in DETERMINERS or self.place_at(after) > 0)

    def is_before_object(self, after: int) -> bool:
        """Return whether a noun phrase begins at a token, so that the word before it must be a verb."""
        token = self.tokens.at(after)
        return token in {"a", "an", "the"} or token in POSSESSIVES

    def is_name_in_s(self, words: list[str], opening: Opening, after: int) -> bool:
        """Return whether a name with a capital letter may be no plural: `Mars`, `Sherlock Holmes`."""
        last, raw = words[-1].split()[-1], self.tokens.raw[after - 1]
        is_bare = opening.count is None and not opening.is_definite and singular(last) != last
        is_written = raw[0].isupper() and raw[1:].islower() and not self.is_in_capitals
        begins_sentence = self.tokens.at(after - 2) in {".", ";"} or after == 1
        return is_bare and is_written and not begins_sentence and not is_known_noun(last)

    def is_worn(self, opening: Opening) -> bool:
        """Return whether the glasses after an opening are those of a face, as far as the prompt says so."""
        if opening.count is not None or "glasses" not in self.tokens.words[opening.after :]:
            return False
        end = self.tokens.words.index("glasses", opening.after)
        if any(map(is_owner, self.tokens.words[opening.after : end])):
            return True
        before = [at for at in range(end) if self.tokens.at(at) == "glasses"] if opening.is_definite else []
        return any(map(self._is_put_on, [*before, end]))

    def _is_put_on(self, at: int) -> bool:
        """Return whether somebody wears or has the glasses at a token: `a man with a beard and glasses`."""
        length = self.place_at(at + 1)
        if length and not _HOLDERS.isdisjoint(self.tokens.words[at + 1 + length : at + 5]):
            return False  # `a waiter with glasses on a tray`
        for before in range(at - 1, -1, -1):
            word = self.tokens.at(before)
            if word in _WEARING:
                return True
            if word in HAVING | {"with", "without", "in"}:
                owner = self.tokens.at(before - 1)
                return owner in {"who", "not"} or singular(owner) in _WEARERS
            is_other = is_participle(word) or self.place_at(before) > 0 or self.verb_at(before) is not None
            if is_other or word in {".", ";", "of"}:
                return False
        return False
