"""Decides which noun phrases name a thing to draw, and what the thing is in its clause."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.english.kinds import BODY_PARTS
from gems_actors.backends.storyboard.english.naming import is_known_noun
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.short.predicates import Predicates
from gems_actors.backends.storyboard.english.short.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, is_content
from gems_actors.backends.storyboard.english.verbs import (
    BASES,
    INTRANSITIVE,
    NOUNS_MOSTLY,
    PLURAL_VERBS,
    SINGULAR_VERBS,
    THIRD_PERSONS,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    COPULAS,
    DETERMINERS,
    JOINTS,
    LOOSE_COUNTS,
    MISSING,
    ONE_OF_TWO,
    PARTICLES,
    POSSESSIVES,
    is_adverb,
    is_plain_adjective,
    is_superlative,
)
from gems_actors.backends.storyboard.words import NOUNS_IN_ING, PLACES, colour_of, is_participle, number_of, singular

_THROUGH: Final = frozenset(
    ("through", "across", "along", "over", "onto", "into", "toward", "around", "against", "from", "up", "down")
)
_PRESENTING: Final = frozenset(
    (
        *("captures", "reveals", "presents", "showcases", "portrays", "illustrates", "highlights", "appears", "waits"),
        *("stands", "stand", "sits", "sit", "lies", "lie", "hangs", "hang", "rests", "rest"),
    )
)
"""Verbs of a picture, and those that stand before their subject, as in `behind it stands a vase`."""
_FORMATIONS: Final = frozenset(
    (
        "circle",
        "semicircle",
        "ring",
        "row",
        "line",
        "queue",
        "group",
        "cluster",
        "triangle",
        "pyramid",
        "spiral",
        "pile",
    )
)
_OF_PICTURES: Final = frozenset(
    (
        "frame",
        "illustration",
        "close-up",
        "watercolor",
        "painting",
        "drawing",
        "poster",
        "infographic",
        "artwork",
        "logo",
    )
)
_PARTICLES: Final = frozenset(("up", "down", "off", "out", "away", "over"))
_SHOWING: Final = frozenset(("shows", "depicts", "features", "contains", "showing", "depicting", "featuring"))
_UNREAL: Final = MISSING | {"imaginary", "imagined", "invisible", "usual", "nonexistent"}
_LEADING: Final = frozenset(
    ("route", "way", "directions", "ticket", "invitation", "letter", "trip", "journey", "guide", "tribute", "ode")
)
"""Nouns after which `to` names what need not be there: `the route to the airport`."""
_TEMPORAL: Final = frozenset(("before", "after", "until", "during", "since", "because", "despite", "off"))
"""Words after which a phrase names what is not there, or not now."""
_SHOWN: Final = frozenset(
    ("view", "shot", "image", "picture", "photo", "photograph", "depiction", "portrayal", "scene", "composition", "one")
) | {"arrangement", "display", "mix", "combination", "blend", "front", "back", "top", "side", "inside", "out", "row"}
"""Words that are no thing and after which `of` names one to draw."""
_INDEFINITE_ARTICLES: Final = frozenset(("a", "an"))


class Things(Predicates):
    """The rules for noun phrases."""

    def thing(self, at: int) -> int:
        """Take a noun phrase as a thing, or pass by what names none; return the index after it."""
        phrase, after = self.phrases.read(at)
        word = self.tokens.at(at)
        is_verbal_noun = word in NOUNS_IN_ING and self.named_until == at
        if phrase is not None and (is_verbal_noun or self._is_verb(phrase, at, after) or self._is_colour(at, after)):
            self.lose()  # `a queen painting white roses`
            return after
        if phrase is None or not self._is_named(phrase, at, after):
            if after > at + 1 or (is_content(word) and not is_adverb(word)):
                before = self.tokens.at(at - 1)
                self.lose(is_subject=self.pending is None and (at == 0 or before in JOINTS | {".", ";"}))
            return max(after, at + 1)
        if self.is_denied(phrase, at, after) or self._is_passed_by(phrase, at, after):
            return after
        self._name(phrase, at, after)
        return after

    def _is_passed_by(self, phrase: Phrase, at: int, after: int) -> bool:
        """Pass by a phrase that names what need not be there or is one more of a kind; return whether it does."""
        opening = self.tokens.at(at)
        is_new = opening == "another" or opening in _INDEFINITE_ARTICLES
        if is_new and phrase.stated == 1 and not phrase.thing.attributes and phrase.thing.name in self.found.things:
            self.tokens.doubt(self.pending.span[0] if self.pending is not None else at, after)
            self.lose()  # `a panda next to a panda`
            self.found.uncount(phrase.thing.name)
            return True
        if opening == "another" and phrase.stated == 1:
            for name in [name for name in self.found.things if name.split()[-1] == phrase.thing.name.split()[-1]]:
                self.found.uncount(name)  # `a mechanic robot repairing another robot`
        if phrase.is_definite and len(self.found.things) > 1 and self._is_compared(phrase.thing.name):
            self.lose()  # `a cat, a dog and a horse, the smallest animal at the top`
            return True
        is_mate = opening in POSSESSIVES and phrase.thing.name in {"mate", "twin", "counterpart"}
        is_mate = is_mate and self.last is not None and not acts(self.last)  # of a glove
        is_elsewhen = self.pending is None and self.tokens.at(at - 1) in _TEMPORAL and not acts(phrase.thing.name)
        before = self.tokens.at(at - 1)
        is_direction = phrase.thing.name == "home" and phrase.stated is None and not phrase.is_definite
        is_direction = is_direction and (is_participle(before) or before in THIRD_PERSONS | BASES)  # `writing home`
        is_formation = before in {"in", "into"} and phrase.thing.name in _FORMATIONS  # `sit in a circle`
        is_aim = self.tokens.at(at - 2) == "to" and before in BASES and not self.tokens.is_used[at - 1]
        is_aim = is_aim or (before == "to" and self.tokens.at(at - 2) in _LEADING)
        if is_formation or is_aim or is_direction:  # `running to catch a bus`
            self.lose()
            return True
        is_on_own_part = self.pending is not None and self.pending.word.endswith(" on") and opening == "one"
        if self.pending is not None and is_on_own_part and not kinds_of(phrase.thing.name).isdisjoint(BODY_PARTS):
            self.tokens.doubt(self.pending.span[0], after)
            self.lose()  # `a flamingo standing on one leg`
            return True
        is_of_unread = self.pending is None and self._is_of_unread(at)
        is_told = phrase.thing.name == "elder" or not ONE_OF_TWO.isdisjoint(phrase.thing.attributes)
        is_one_of_two = phrase.is_definite and is_told  # `the upper bunk`
        is_other = is_elsewhen or is_mate or is_of_unread or is_one_of_two
        if is_other or self._is_missing(phrase, after) or self._is_of_the_picture(phrase, after):
            self.lose(is_subject=is_one_of_two)
            return True
        return False

    def _is_compared(self, name: str) -> bool:
        """Return whether a superlative tells one of the things that were named before under another name."""
        words = zip(self.tokens.words, self.tokens.words[1:], strict=False)
        is_told = any(is_superlative(word) and singular(following) == name for word, following in words)
        return is_told and name not in self.found.things

    def _name(self, phrase: Phrase, at: int, after: int) -> None:
        """Add the thing of a phrase, as the object of a relation, as a subject or as neither."""
        before = self.tokens.at(at - 1)
        is_oblique = self.pending is None and self._is_oblique(at)
        is_more = self.tokens.at(at) == "another"
        is_after_thing = before == "and" and self.last is not None and self.named_until == at - 1
        self.is_coordinated = is_after_thing and self.pending is None and self.is_alone()
        if phrase.stated == 1 and (is_more or (self.pending is None and before == "of")):
            phrase = replace(phrase, thing=replace(phrase.thing, is_counted=False))  # `two depictions of a woman`
        is_content = is_after_thing and self.last is not None and " of " in self.last and not phrase.is_definite
        name = self.add(phrase, at, after)
        if name is None:
            self.pending = None
            return
        if is_content and phrase.stated is None and self.last is not None and name not in self.last:
            self.lose(is_subject=True)  # `a basket of lemons and limes on a counter`
            return
        if not phrase.is_plural and self.found.things[name].count > 1:
            if self.pending is not None:  # `eight chairs and a cat on the chair by the door`
                self.tokens.doubt(self.pending.span[0], after)
            self.lose(is_subject=self.pending is None)
            return
        if is_oblique:  # of a word that was not understood: no subject of what follows
            self.lose()
            self.last = self.unowned = None if before in _THROUGH | {"of"} or before in PLACES else name
        else:
            is_rivalled = before == "and" and self.head is not None and not self.has_predicate
            self.complete(name, after)
            self.is_rivalled = is_rivalled and self.head == name
        if phrase.stated is not None and phrase.stated < -1 and number_of(self.tokens.at(at)) is not None:
            self.group = None  # in `three pairs of socks, one striped`, `one` is a pair
        elif phrase.is_plural and (self.group is None or self.attached != self.group):
            self.group = name  # in `two women in red dresses, one tall`, `one` is a woman
        self.named_until = after

    def _is_colour(self, at: int, after: int) -> bool:
        """Return whether a word is one more colour, as in `swirls of teal and orange`, and no thing."""
        is_colour = colour_of(self.tokens.at(at)) is not None and after == at + 1
        return is_colour and self.tokens.at(at - 1) in JOINTS and colour_of(self.tokens.at(at - 2)) is not None

    def _is_missing(self, phrase: Phrase, after: int) -> bool:
        """Return whether a phrase names what is not there: `a missing tooth`, `one piece missing`."""
        following = self.tokens.at(after + 1)
        begins_object = following in DETERMINERS or following in LOOSE_COUNTS or number_of(following) is not None
        is_so = self.tokens.at(after) in MISSING and not begins_object
        return is_so or not _UNREAL.isdisjoint((*phrase.thing.attributes, *phrase.thing.name.split()[:-1]))

    def _is_of_the_picture(self, phrase: Phrase, after: int) -> bool:
        """Return whether a phrase is `the frame` or `the illustration` itself, and not one that was named before."""
        name = phrase.thing.name
        if not phrase.is_definite or name in self.found.things:
            return False
        is_showing = self.tokens.at(after) in _SHOWING or self.phrases.is_passed_verb(after)
        return name == "frame" or (name in _OF_PICTURES and is_showing)  # `the poster shows a bee`

    def _is_of_unread(self, at: int) -> bool:
        """Return whether `of` stands between a phrase and a word that was not understood: `the price of tea`."""
        if self.tokens.at(at - 1) != "of" or at < 2 or self.tokens.is_used[at - 2]:
            return False
        return self.tokens.at(at - 2) not in _SHOWN

    def _is_oblique(self, at: int) -> bool:
        """Return whether a phrase follows a preposition or another phrase, and so is no subject of what comes next."""
        is_second_object = self.named_until == at  # `hands a customer a latte`
        before = self.tokens.at(at - 1)
        if before == "of" and self.first is None:
            return False  # `product shot of a bottle on a slab`
        return is_second_object or before in PLACES or before in {"of", "to"} or self._follows_unread(at)

    def _follows_unread(self, at: int) -> bool:
        """Return whether the word before is a verb or another word that was not understood."""
        word = self.tokens.at(at - 1)
        is_joint = at == 0 or word in JOINTS | {".", ";", TEXT_MARK}
        is_unread = is_content(word) and not is_adverb(word) and word not in _PRESENTING
        is_passed = word in _THROUGH or (word, self.tokens.at(at - 2)) == ("of", "out")
        return not is_joint and (is_unread or is_passed) and not self.tokens.is_used[at - 1]

    def _is_verb(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether bare words are no thing: `grips a rock`, `to attract a mate`."""
        opening = self.tokens.at(at)
        at += opening == "the" and self.tokens.at(at + 1) == "other"
        is_member = self.tokens.at(at) in {"another", "one", "other", "both", "all"} and after == at + 2
        if is_member and (self.tokens.at(at + 1) in THIRD_PERSONS or self.tokens.at(at + 1) in PLURAL_VERBS):
            if self.first in self.found.things and self.tokens.at(at) == "another":
                self.found.uncount(self.first)  # `a worker waves, and another leans on a shovel`
            return True  # `one covers its eyes, another pours tea`
        is_bare = phrase.stated is None and not phrase.is_definite
        is_bare = is_bare and (not phrase.thing.attributes or is_participle(opening))
        if not is_bare or self.tokens.words[at].startswith(EMOJI):
            return False
        word, before = self.tokens.at(at), self.tokens.at(at - 1)
        if word in NOUNS_IN_ING and before in COPULAS and after == at + 1:
            return True  # `a train is crossing`
        is_finite = word in SINGULAR_VERBS and word not in NOUNS_MOSTLY and after == at + 1
        if is_finite and at > 0 and before not in JOINTS | {".", ";"} and self.pending is None:
            return True  # `another one waits`
        if before == TEXT_MARK and word in BASES | THIRD_PERSONS and after == at + 1:
            return True  # `the words "HELLO" stand at the top`
        if self.named_until == at and after == at + 1 and phrase.is_plural and self.pending is None:
            return True  # `a tractor without wheels rusts`
        begins_object = self.begins_phrase(after) or self.tokens.at(after) in _PARTICLES
        if word in BASES and before in JOINTS and begins_object and after == at + 1 and not is_known_noun(word):
            return True  # `wave flags and hold up scarves`
        is_one = self.head is not None and self.found.things[self.head].count == 1
        begins_more = self.phrases.place_at(after) > 0 or self.tokens.at(after) in PARTICLES
        if is_one and word in THIRD_PERSONS and before in JOINTS and begins_more and after == at + 1:
            return True  # `and wakes up`
        is_following = at > 0 and before not in JOINTS | {".", ";", TEXT_MARK} and self.pending is None
        if is_following and is_participle(word) and word not in INTRANSITIVE and not is_plain_adjective(word):
            return True  # `a crowd holding hands`, where the crowd was not understood
        is_infinitive = self.tokens.at(at - 1) == "to" and (not phrase.is_plural or after > at + 1)
        return is_infinitive or (after == at + 1 and phrase.is_plural and self.tokens.at(after) in DETERMINERS)

    def _is_named(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether a phrase names a thing; a bare noun does as the object of a relation or in a list."""
        if self.pending is not None:
            return True
        before = self.tokens.at(at - 1)
        is_bare = phrase.stated is None and not phrase.is_definite
        if (
            is_bare
            and not phrase.is_plural
            and before not in JOINTS | {".", ";", TEXT_MARK, "there", "is", "are"}
            and at > 0
        ):
            return self.tokens.words[at].startswith(EMOJI) or not any(map(is_content, self.tokens.words[:at]))
        if is_bare and self.has_articles and self._continues_unread_list(at):
            return False  # `the price of tea, noodles and rice`
        is_style = is_bare and not phrase.is_plural and before == "," and self.has_articles
        return not (is_style and self.tokens.at(after) not in {"and", "or"})  # `a cat, chiaroscuro` has one thing

    def _continues_unread_list(self, at: int) -> bool:
        """Return whether a comma or `and` stands between a noun phrase and words that were not understood."""
        start = at
        while self.tokens.at(at - 1) in {",", "and", "or"}:
            at -= 1
        return 0 < at < start and is_content(self.tokens.at(at - 1)) and not self.tokens.is_used[at - 1]
