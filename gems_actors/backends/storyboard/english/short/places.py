"""Reads where a thing is, what it has, and what it is compared with."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import BODY_PARTS, CHARTS
from gems_actors.backends.storyboard.english.naming import is_known_noun
from gems_actors.backends.storyboard.english.short.ownership import SIDES, Ownership, is_scene
from gems_actors.backends.storyboard.english.short.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK
from gems_actors.backends.storyboard.english.verbs import (
    TRANSFERS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    COMPARATIVES,
    COPULAS,
    DETERMINERS,
    HAVING,
    JOINTS,
    NEGATIONS,
    POSSESSIVES,
    POSTNOMINAL,
    PRONOUNS,
    STATES,
    attribute_of,
    is_adverb,
)
from gems_actors.backends.storyboard.words import (
    PLACES,
    colour_of,
    is_participle,
    number_of,
    place_name,
)

_EITHER: Final = frozenset(("either", "each", "both", "opposite", "one", "every"))
_OTHER_SIDES: Final = frozenset(("other", "far", "opposite", "near", "nearest", "farthest"))
_ENDS_OF: Final = frozenset(("side", "sides", "end", "ends", "corner", "corners"))
_POSTURED: Final = BODY_PARTS | {"tiptoe", "back", "side", "stomach", "belly", "tummy", "heel", "haunch"}
"""Parts on which somebody stands, kneels or lies: `a soldier on his knees`."""
_IN_IDIOMS: Final = frozenset(("heel", "lung", "luck", "wit", "guard", "mind", "pace", "leisure", "prime"))
_GIVING: Final = TRANSFERS - {"selling"}
_WHICH: Final = frozenset(("which", "whom", "whose", "where"))
_PERFECT: Final = frozenset(("has", "have", "had", "having"))
_FINITE_HAVING: Final = frozenset(("has", "have", "had", "contains", "features"))


class Places(Ownership):
    """The rules for places, possessions and comparisons."""

    def relation(self, at: int) -> int | None:
        """Take a place, a comparison, a state or `has`, whose object is to come."""
        for rule in (self._possession, self._comparison, self._postnominal, self._place):
            after = rule(at)
            if after is not None:
                return after
        return None

    def _possession(self, at: int) -> int | None:
        word = self.tokens.at(at)
        if word not in HAVING:
            return None
        if word == "had":
            self.lose()  # `who had long hair when he was young`
            return self.end_of_clause(at)
        is_denied = self.tokens.at(at + 1) in NEGATIONS
        is_sure = is_denied or self.tokens.at(at + 2) in DETERMINERS or (self.last is not None and acts(self.last))
        done = self.tokens.at(at + 1 + is_denied)
        if (is_past(done) or done == "been") and is_sure and word in _PERFECT:
            self.lose()  # `has lost its arm` says what is not there any more, or what happened before
            return self.end_of_clause(at + 2)
        if self.last is None:
            return None
        is_finite = word in _FINITE_HAVING and not self.is_relative and self.tokens.at(at - 1) not in JOINTS
        self.has_predicate = self.has_predicate or is_finite
        owner = self.head if is_finite else self.owner_of_feature(at)
        if owner is None:
            self.lose()
            return at + 1
        word = "without" if self.is_negated else "with"
        self.expect(owner, word, "position", (at, at + 1), is_negative=self.is_negated)
        self.is_negated = False
        return at + 1

    def _comparison(self, at: int) -> int | None:
        """Take `taller than`, or the `to` of `throwing a ball to`."""
        word = self.tokens.at(at)
        if word in COMPARATIVES and self.tokens.at(at + 1) == "than":
            phrase, after = self.phrases.read(at + 2)
            if phrase is not None and not kinds_of(phrase.thing.name).isdisjoint(BODY_PARTS):
                self.lose()  # `bigger than a man's head` has no man
                return after
            if self.last is not None and self.is_alone():
                self.expect(self.last, f"{word} than", "action", (at, at + 2))
            return at + 2
        if word == "to" and self.verb in _GIVING:
            self.tokens.doubt(at, self.phrases.read(at + 1)[1])  # `is giving to` says nothing without what is given
            return at + 1
        if word == "to" and self.verb in TRANSFERS and self.agent is not None:
            self.expect(self.agent, f"{self.verb} to", "action", (at, at + 1))
            return at + 1
        return None

    def _postnominal(self, at: int) -> int | None:
        """Take an adjective after its noun: `full of apples`, `with its door open`, `his robe red`."""
        word = self.tokens.at(at)
        is_owned_colour = colour_of(word) is not None and self.named_until == at and self.phrases.ends_at(at + 1)
        is_state = word in POSTNOMINAL | STATES or is_owned_colour
        if not is_state or self.last is None or self.named_until not in (at, at - 1):
            return None
        if (
            self.named_until == at - 1
            and not is_adverb(self.tokens.at(at - 1))
            and self.tokens.at(at - 1) not in COPULAS
        ):
            return None  # `a tree in full bloom`
        if word in STATES and (not self.phrases.ends_at(at + 1) or self.phrases.place_at(at + 1)):
            return None
        if self.tokens.at(at - 1) in {"half", "almost", "nearly"}:
            self.lose()
            return at + 1
        if self.tokens.at(at + 1) == "and" and number_of(self.tokens.at(at + 2)) is not None:
            self.found.uncount(self.last)
            self.lose()  # `five lanterns lit and one broken`
            return at + 1
        if word not in STATES and not is_owned_colour and word != "full" and not self.is_alone():
            self.lose()  # `a man in a boat asleep`
            return at + 1
        if word == "full" and self.tokens.at(at + 1) == "of":
            self.expect(self.last, "full of", "action", (at, at + 2))
            return at + 2
        if self.found.describe(self.last, attribute=attribute_of(word) or word):
            self.tokens.use(at, at + 1)
        return at + 1

    def _place(self, at: int) -> int | None:
        length = self.phrases.place_at(at)
        if not length:
            return None
        spelled, span = self.tokens.phrase(at, at + length), (at, at + length)
        if spelled == "by" and (end := self._unit_end(at + 1)):
            self.tokens.doubt(at, end)
            if self.tokens.is_used[at - 1]:
                self.tokens.use(at, end)
            return end
        if self.tokens.at(at + length) == "the" and self.tokens.at(at + length + 1) in _OTHER_SIDES:
            self.lose()  # `on the other side of the river`
            return at + length + 3
        if self.tokens.at(at + length) in _EITHER and self.tokens.at(at + length + 1) in _ENDS_OF:
            if self.last is not None:
                self.found.uncount(self.last)  # `two ropes on each side`
            self.lose()  # `on either side of the throne`
            return at + length + 2
        if self.tokens.at(at + length) in _WHICH:
            self.lose(is_subject=True)  # `a puddle in which a city is reflected`
            return self.end_of_clause(at + length)
        if self.tokens.at(at - 1) in {"from", "of"}:
            self.lose()
            return at + length
        is_light = spelled == "by" and self.tokens.phrase(at + length, at + length + 2) in {"the moon", "the sun"}
        if is_light or ((PLACES[spelled] == "inside" or spelled == "by") and self.is_ambient(at + length)):
            self.lose()  # `in a strong wind`, `lit from behind by the sun`
            return self.phrases.read(at + length)[1]
        if end := self._posture_end(spelled, at + length):
            self.tokens.doubt(at, end)
            self.tokens.use(at, end)
            return end
        subject = self.owner_of_place(at, spelled, at + length)
        if subject is None:
            return self._place_of_none(at, at + length)
        if spelled == "with" and (name := self._beside_it(at + length)):
            self.tokens.use(*span)  # `with fireworks behind it` says no more than where they are
            self.start_clause(name)
            return self.named_until
        if self.verb in TRANSFERS and spelled in {"to", "at"}:
            self.expect(subject, f"{self.verb} {spelled}", "action", span)
        elif PLACES[spelled] == "inside" and self._is_reflected(subject, at + length):
            self.tokens.doubt(at, self.phrases.read(at + length)[1])
            self.lose()  # no reflection is inside the lake
        elif self._is_in_unknown(subject, PLACES[spelled], at + length) or self._is_side_of_scene(spelled, at + length):
            self.tokens.doubt(at, self.phrases.read(at + length)[1])
            self.lose()
        elif self.is_negated:
            self.expect(subject, f"not {self._place_name(spelled, at + length)}", "position", span, is_negative=True)
        else:
            self.expect(subject, self._place_name(spelled, at + length), "position", span)
        self.is_negated = False
        return at + length

    def _beside_it(self, at: int) -> str | None:
        """Add the thing at a token if a place such as `behind it` follows, and return its name."""
        phrase, after = self.phrases.read(at)
        end = after + self.phrases.place_at(after)
        is_beside = PLACES.get(self.tokens.phrase(after, end)) in SIDES | {"around", "between"}
        is_it = self.tokens.at(end) in PRONOUNS or (self.tokens.at(end) == "her" and self.phrases.ends_at(end + 1))
        if phrase is None or not (is_beside and is_it):
            return None
        self.named_until = after
        return self.add(phrase, at, after)

    def _posture_end(self, spelled: str, at: int) -> int:
        """Return the index after a part of the subject's own body that it is on, or that an idiom names, else 0."""
        phrase, after = self.phrases.read(at)
        is_posture = spelled == "on" and self.tokens.at(at) in POSSESSIVES and self.is_alone()
        is_posture = is_posture and phrase is not None and phrase.thing.name.split()[-1] in _POSTURED
        if not (is_posture or self.names_idiom(at)):
            return 0
        further = self.phrases.read(after + 1)[0] if self.tokens.at(after) == "and" else None
        is_more = further is not None and further.thing.name in _POSTURED  # `on his hands and knees`
        return self.phrases.read(after + 1)[1] if is_more else after

    def names_idiom(self, at: int) -> bool:
        """Return whether a possessive and its noun are the end of an idiom: `at his heels`."""
        phrase = self.phrases.read(at)[0]
        is_owned = phrase is not None and self.tokens.at(at) in POSSESSIVES
        return is_owned and phrase is not None and phrase.thing.name.split()[-1] in _IN_IDIOMS

    def _unit_end(self, at: int) -> int:
        """Return the index after a bare noun in the singular that `by` counts or sorts by, as in `by month`, else 0."""
        phrase, after = self.phrases.read(at)
        is_bare = self.tokens.at(at).isalpha() and not self.begins_phrase(at)
        is_single = phrase is None or (phrase.stated is None and not phrase.is_plural and not phrase.thing.attributes)
        is_of_chart = self.last is not None and not CHARTS.isdisjoint(self.last.split())
        return max(after, at + 1) if is_bare and is_single and (self.has_articles or is_of_chart) else 0

    def _place_name(self, spelled: str, at: int) -> str:
        phrase = self.phrases.read(at)[0]
        return place_name(spelled, phrase.thing.name if phrase is not None else "")

    def _is_reflected(self, subject: str, at: int) -> bool:
        phrase = self.phrases.read(at)[0]
        is_image = subject.partition(" of ")[0].split()[-1] in {"reflection", "shadow"}
        return is_image and phrase is not None and "mirror" not in phrase.thing.name

    def _is_in_unknown(self, subject: str, place: str, at: int) -> bool:
        """Return whether somebody is in something that no table has, so that it may be worn: `a man in a jerkin`."""
        if place == "inside" and subject.split()[-1] in {"hair", "mane", "beard"}:
            return True  # `with her hair in a bun`
        phrase = self.phrases.read(at)[0]
        return (
            place == "inside"
            and acts(subject)
            and phrase is not None
            and not is_known_noun(phrase.thing.name.split()[-1])
        )

    def _is_side_of_scene(self, spelled: str, at: int) -> bool:
        """Return whether `on the left side of` is said of a scene, so that it may be inside: `of the ocean`."""
        phrase = self.phrases.read(at)[0]
        return spelled.endswith("side of") and phrase is not None and is_scene(phrase.thing.name)

    def _place_of_none(self, at: int, end: int) -> int:
        """Take a place that stands before its subject, as in `on a table, a cat`, or whose subject is not known."""
        phrase, after = self.phrases.read(end)
        if phrase is not None and self.tokens.at(at) == "with" and is_participle(self.tokens.at(after)):
            name = self.add(phrase, end, after)  # `with smoke coming from the chimney`
            if name is not None:
                self.tokens.use(at, end)
                self.start_clause(name)
                return after
        if self.first is not None:
            if phrase is not None and self.named_until == at:
                self.tokens.doubt(at, after)
            self.lose()
            return end
        if phrase is None or self.tokens.at(after) != "," or not self._begins_clause(at):
            return end
        name = self.add(phrase, end, after)
        is_seen_through = self.tokens.at(at) in {"through", "across"}
        if (
            name is not None and not is_seen_through and (phrase.is_plural or self.found.things[name].count == 1)
        ):  # `in the first panel`
            self.fronted = (place_name(self.tokens.phrase(at, end), name), name, (at, end))
        self.last = self.head = None
        return after + 1

    def _begins_clause(self, at: int) -> bool:
        """Return whether nothing but an adverb stands before a token in its clause."""
        while is_adverb(self.tokens.at(at - 1)):
            at -= 1
        return at == 0 or self.tokens.at(at - 1) in JOINTS | {".", ";", TEXT_MARK}
