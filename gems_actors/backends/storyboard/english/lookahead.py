"""Tells what begins at a word: an article or a number, a place, a verb, a text, or the end of a phrase."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gems_actors.backends.storyboard.english.kinds import ANIMATE, TEXT_NOUNS
from gems_actors.backends.storyboard.english.naming import is_of_part
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import (
    NOUNS_MOSTLY,
    OWNING,
    PASSED_VERBS,
    PASSED_WITH_OBJECT,
    PAST_VERBS,
    PLURAL_VERBS,
    SINGULAR_VERBS,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    BREAKERS,
    COMPARATIVES,
    CONJUNCTIONS,
    DETERMINERS,
    LOOSE_COUNTS,
    NEGATIONS,
    POSSESSIVES,
    PRONOUNS,
    SAYING,
)
from gems_actors.backends.storyboard.words import (
    LONGEST_PLACE,
    NOUNS_IN_ING,
    PLACES,
    is_participle,
    number_of,
    plural,
    singular,
)

MAX_COUNT: Final = 60
_MANY: Final = 12
"""Number drawn where the prompt asks for more than `MAX_COUNT`, which is then not understood."""
_APPROXIMATING: Final = frozenset(
    ("about", "almost", "nearly", "roughly", "approximately", "least", "most", "than", "some")
)
"""Words before a number that make it no exact count."""
_PASSED: Final = frozenset(("exactly", "single", "precisely", "only", "just", "other", "own"))
_MORE: Final = frozenset(("more", "less", "fewer"))
_BEFORE_AMOUNTS: Final = frozenset(("and", "with", "of", "has", "have", "is", "are", "there", "contains"))
_PLACE_OPENINGS: Final = frozenset(place.split()[0] for place in PLACES)
_TELLING: Final = frozenset(("with", "without", "in", "on", "at", "who", "whose", "that", "wearing", "holding"))
"""Words that after a noun tell which one of its kind is meant."""
ENDS: Final = frozenset((",", ".", ";", TEXT_MARK))


def tells_again(tokens: Tokens, at: int) -> bool:
    """Return whether a further one of a kind is told by what it has: `the dog with long ears; the dog with a tail`."""
    noun, telling = tokens.words[at : at + 2], tokens.at(at + 2)
    if noun[:1] != ["the"] or telling not in _TELLING:
        return False
    return any(tokens.words[first : first + 2] == noun and tokens.at(first + 2) in _TELLING for first in range(at))


@dataclass(frozen=True, slots=True)
class Opening:
    """What stands before the words of a noun phrase."""

    after: int
    count: int | None = None
    is_definite: bool = False
    is_single: bool = False
    """Whether it ends with `a` or `an`."""


class Lookahead:
    """Looks ahead in one list of tokens."""

    def __init__(self, tokens: Tokens) -> None:
        """Create one for these tokens."""
        self.tokens = tokens

    def place_at(self, at: int) -> int:
        """Return the number of words of the longest place, such as `in front of`, that begins at a token; else 0."""
        if self.tokens.at(at) not in _PLACE_OPENINGS:
            return 0
        lengths = range(min(LONGEST_PLACE, len(self.tokens.words) - at), 0, -1)
        return next((length for length in lengths if self.tokens.phrase(at, at + length) in PLACES), 0)

    def verb_at(self, at: int) -> str | None:
        """Return the participle of the finite verb at a token, such as `sitting` for `sits`, or None."""
        word, after = self.tokens.at(at), self.tokens.at(at + 1)
        begins_object = after in DETERMINERS or after in ABSENCES or after in PRONOUNS or number_of(after) is not None
        is_said = begins_object or (self.tokens.at(at - 1) in ANIMATE and after in ENDS)  # `his daughter watches`
        if word in NOUNS_MOSTLY and not is_said:
            return None
        if word in PAST_VERBS:
            is_active = after != "by" and (word != "caught" or begins_object)  # `a band caught in the rain`
            return PAST_VERBS[word] if is_active else None
        before = self.tokens.at(at - 1)
        is_plural = before in NEGATIONS | {"they", "who", "that"} or singular(before) != before
        is_plural = is_plural or (before in ANIMATE and plural(before) == before)  # `four goldfish swim`
        if word in SINGULAR_VERBS:
            return SINGULAR_VERBS[word] if after != "of" and after not in COMPARATIVES else None
        if word in PLURAL_VERBS and is_plural:
            is_followed = begins_object or self.place_at(at + 1) or after in ENDS or word not in NOUNS_MOSTLY
            return PLURAL_VERBS[word] if is_followed else None
        return None

    def is_passed_verb(self, at: int) -> bool:
        """Return whether the word at a token is a finite verb that no requirement is made of."""
        word, after = self.tokens.at(at), self.tokens.at(at + 1)
        if word in PASSED_WITH_OBJECT | OWNING:
            return self._begins_object(at + 1) or after in PRONOUNS or (word in OWNING and after == TEXT_MARK)
        return word in PASSED_VERBS

    def _begins_object(self, at: int) -> bool:
        """Return whether a noun phrase begins with its article, number or `no` at a token."""
        word = self.tokens.at(at)
        return word in DETERMINERS or word in LOOSE_COUNTS or word in ABSENCES or number_of(word) is not None

    def is_participle_at(self, at: int) -> bool:
        """Return whether the word at a token is a participle: `painting` is one before an article."""
        word = self.tokens.at(at)
        following = self.tokens.at(at + 1)
        goes_on = self.place_at(at + 1) > 0 or (following.isalpha() and following not in BREAKERS | ENDS)
        is_done = (
            self.tokens.at(at - 1) in ANIMATE and goes_on
        )  # `a walker crossing between`, `a robot painting flowers`
        is_done = is_done or following in DETERMINERS | {TEXT_MARK} or (at > 0 and self._begins_name(at + 1))
        return is_participle(word) or (word in NOUNS_IN_ING and is_done)

    def _begins_name(self, at: int) -> bool:
        """Return whether a token has a capital letter before small ones, as in `a taxi crossing Brooklyn Bridge`."""
        raw = self.tokens.raw[at] if at < len(self.tokens.raw) else ""
        return raw.istitle() and not self.tokens.is_in_capitals

    def ends_at(self, at: int) -> bool:
        """Return whether no noun phrase goes on at a token."""
        token = self.tokens.at(at)
        return token != "except" and (token in ENDS or token in BREAKERS or token in CONJUNCTIONS)

    def text_end(self, at: int) -> int:
        """Return the index after the text that `says`, `with the words` or `showing the message` introduces, else 0."""
        word = self.tokens.at(at)
        is_verb = word in SAYING or word.endswith("ing") or self.verb_at(at) is not None
        end = at + (is_verb or word in {"with", "shows"})
        end += self.tokens.at(end) in DETERMINERS
        end += self.tokens.at(end) in TEXT_NOUNS
        return end + 1 if end > at and self.tokens.at(end) == TEXT_MARK else 0

    def open(self, at: int) -> Opening:
        """Read `the three`, `a`, `exactly two` or `several`; a vague count is negative."""
        count: int | None = None
        is_definite = is_single = False
        while at < len(self.tokens.words):
            token = self.tokens.at(at)
            is_one = token in POSSESSIVES and self.tokens.at(at - 1) == "one"  # `one its ears`
            if (is_single and token in DETERMINERS) or is_one:
                break  # `a that`, where a style was taken out
            number = number_of(token)
            if number is not None and is_of_part(self.tokens.words, at + 1):
                pass  # `a two headed dragon`
            elif number is not None:
                count = self._counted(at, number, count)
            elif token in {"a", "an", "another"}:
                count = 1
                is_single = token != "another"
            elif token in LOOSE_COUNTS:
                count = -LOOSE_COUNTS[token]
            elif token in DETERMINERS:
                is_definite = True
            elif not self.is_limit_at(at) and token not in {
                "exactly",
                "single",
                "precisely",
                "only",
                "just",
                "other",
                "own",
            }:
                break
            at += 1
        return Opening(at, count, is_definite, is_single and count == 1)

    def is_limit_at(self, at: int) -> bool:
        """Return whether a token is a word of `more than` before a number."""
        start = at - (self.tokens.at(at) == "than")
        is_limit = self.tokens.at(start) in _MORE and self.tokens.at(start + 1) == "than"
        return is_limit and number_of(self.tokens.at(start + 2)) is not None

    def _counted(self, at: int, number: int, before: int | None) -> int:
        """Return the count that a number states, negative if it is vague, after another number or none."""
        if self.tokens.at(at) in {"dozen", "hundred"} and before is not None:
            is_half = self.tokens.phrase(at - 2, at) == "half a"
            number = number // 2 if is_half else number * max(before, 0)
        elif before is not None:
            number = -max(before, number)  # `2-3 birds`
        if number > MAX_COUNT or number == 0:
            return -_MANY
        words = (self.tokens.at(at - 1), self.tokens.at(at - 2))
        is_range = words[0] in {"or", "to"} and number_of(words[1]) is not None
        is_over = words[0] in {"over", "around"} and (words[1] in ENDS or words[1] in _BEFORE_AMOUNTS)
        is_range = is_range or is_over or words in {("to", "up"), ("of", "couple")}
        is_vague = is_range or words[0] in _APPROXIMATING or self.tokens.phrase(at + 1, at + 3) == "or more"
        return -abs(number) if is_vague else number

    def tells_one_from_another(self, opening: Opening) -> bool:
        """Return whether a number is the `one` of `from one beaker into another`."""
        at = opening.after - 1
        if self.tokens.at(at) != "one":
            return False
        while self.tokens.at(at) != ".":
            at += 1
            if self.tokens.at(at) in {"another", "other"}:
                return True
        return False
