"""Members of a group that differ, and parts: `two dogs, one black`, `half of the eggs`, `the tallest of three`."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import COLLECTIVES
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.short.sentence import Sentence, acts
from gems_actors.backends.storyboard.english.verbs import is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    COMPARATIVES,
    COPULAS,
    DETERMINERS,
    FILLERS,
    HAVING,
    attribute_of,
)
from gems_actors.backends.storyboard.scene import Thing
from gems_actors.backends.storyboard.words import NOUNS_IN_ING, is_participle, number_of, surface_of

_SOME: Final = frozenset(
    ("none", "both", "all", "other", "others", "another", "some", "half", "most", "many", "few", "several", "each")
)
"""Words for members of a group."""
_FRACTIONS: Final = frozenset(
    ("half", "third", "thirds", "quarter", "quarters", "fifth", "fifths", "part", "parts", "most", "much", "percent")
)
_ALL: Final = frozenset(("both", "all"))
CLAUSE_ENDS: Final = frozenset((",", ".", ";", "and", "but", "while"))


class Members(Sentence):
    """The rules for individuals of a group."""

    def member(self, at: int) -> int | None:
        """Take `one black`, `a big one` or `one of them broken` after a group, and tell these apart."""
        word = self.tokens.at(at)
        if word in {"another", "other"} and self.tokens.at(at + 1) in {"one", "ones"} and self.group is None:
            self.lose(is_subject=True)
            return at + 2
        following = self.tokens.at(at + 1)
        is_doing = word == "one" and following in NOUNS_IN_ING and self.ends_clause(at + 2)
        if self.group is not None and is_doing and acts(self.group):
            return self._pass_by_members(at, self.group)  # `one reading, one painting`
        if self.group is not None and word in {"none", *_ALL} and self.tokens.at(at + 1) == "but":
            return self._pass_by_members(at + 1, self.group)  # `all but one closed`
        if self.group is None and word in _ALL and self._begins_action(at + 1):
            return self._all_of_one(at)
        if (end := self._further_of_kind(at)) is not None:
            return end
        if self.group is None or not (number_of(word) or word in DETERMINERS | _SOME):
            return None
        if self.tokens.at(at + 1) == "of" and self.tokens.at(at + 2) in {"them", "which", "whom"}:
            return self._members_of(at, self.group)
        start = at + 1 + (self.tokens.at(at + 1) in {"other", "others", "one"})
        if word in _ALL and self._begins_action(start):
            self.tokens.use(at, start)
            self.last = self.head = self.group
            return start
        is_some = number_of(word) or word in _SOME or start > at + 1
        if is_some and self._begins_action(start):
            return self._pass_by_members(at, self.group)
        member = self.phrases.read_pronominal(at)
        if member is None:
            return None
        count, attributes, after = member
        if attributes[0].endswith("est") or attributes[0] in FILLERS:
            return self._pass_by_members(at, self.group)  # `the nearest one striped`
        group = self.group
        if self.found.split(group, count, attributes) is not None:
            self.tokens.use(at, after)
        if not self.ends_clause(after):
            self.lose()  # `the younger one crying`: what follows is about this one, not about what was named before
            self.group = group
        return after

    def _further_of_kind(self, at: int) -> int | None:
        """Take `and two yellow ones` after `three blue balloons`: further things of the kind, and not some of these."""
        kind = self.group or self.head
        member = self.phrases.read_pronominal(at) if kind is not None and self.tokens.at(at - 1) == "and" else None
        if kind is None or member is None or self.tokens.at(member[2] - 1) not in {"one", "ones"}:
            return None
        count, attributes, after = member
        known = self.found.things[kind]
        if not known.attributes or not {*known.attributes}.isdisjoint(attributes):
            return None
        thing = Thing(known.name, count, count > 1 or number_of(self.tokens.at(at)) is not None, attributes)
        name = self.found.add(Phrase(thing, is_definite=False, is_plural=count > 1, stated=count))
        if name is None:
            return None
        self.tokens.use(at, after)
        self.start_clause(name)
        self.named_until = after
        return after

    def _all_of_one(self, at: int) -> int:
        """Take `both wearing hats` after a couple or another name of several people; else what it is about is open."""
        names = [name for name in self.found.things if name.split()[-1] in COLLECTIVES]
        if len(names) == 1 and not any(acts(name) for name in self.found.things if name not in names):
            self.tokens.use(at, at + 1)
            self.last = self.head = names[0]
            self.clause = [names[0]]
            return at + 1
        end = self.end_of_clause(at)
        self.tokens.doubt(at, end)
        self.lose(is_subject=True)
        return end

    def _members_of(self, at: int, group: str) -> int:
        """Take `one of them broken`, `none of them smiling` or `all of them holding umbrellas`."""
        word, start = self.tokens.at(at), at + 3
        if self.found.has_rival(group):
            return self._pass_by_members(at, group)  # `two dogs and a cat, none of them sleeping`
        start += self.tokens.at(start) in COPULAS
        if word in _ALL and self._begins_action(start):
            self.tokens.use(at, start)
            self.last = self.head = group
            return start
        attribute = attribute_of(self.tokens.at(start))
        is_action = attribute is not None and is_participle(attribute)
        ends = self.tokens.at(start + 1) in CLAUSE_ENDS and (number_of(word) or word in {"none", *_ALL})
        if attribute is None or not ends or (is_action and word not in {"none", *_ALL}):
            return self._pass_by_members(at, group)
        self.tokens.use(at, start + 1)
        if word in {"none", *_ALL}:
            said = f"not {attribute}" if word == "none" else attribute
            self.found.describe(group, **{"action" if is_action else "attribute": said})
        else:
            self.found.split(group, number_of(word) or 1, (attribute,))
        return start + 1

    def _begins_action(self, at: int) -> bool:
        """Return whether an action or an accessory begins at a token, as in `two wearing hats` or `one with a hat`."""
        word = self.tokens.at(at)
        is_placed = is_past(word) and self.phrases.place_at(at + 1) > 0
        is_action = (self.phrases.is_participle_at(at) or is_placed) and surface_of(word) is None
        return is_action or word in HAVING or word in COPULAS or word == "without" or self.phrases.place_at(at) > 0

    def _pass_by_members(self, at: int, group: str) -> int:
        """Pass by what only some of a group do: no part of it is asked of the whole group, or as a further thing."""
        self.lose()
        self.group = group
        start = at
        while True:
            at = self.end_of_clause(at + 1)
            following = self.tokens.at(at + 1)
            if self.tokens.at(at) != "and" or number_of(following) or following in {"the", "another"}:
                self.tokens.doubt(start, at)  # `one of them inside out` has no word that would be listed by itself
                return at

    def partitive(self, at: int) -> int | None:
        """Take `three of the seven balloons are red`: what it says is said of a part of the group alone."""
        word = self.tokens.at(at)
        degree = self.tokens.at(at + 1)
        if word == "the" and (degree.endswith("est") or degree in COMPARATIVES) and self.tokens.at(at + 2) == "of":
            return self._superlative(at)
        if end := self._fraction_end(at):
            return self._part_of_one(end)
        is_half = word == "half" and self.tokens.at(at + 1) == "the"
        start = at + 1 if is_half else at + 2
        if not is_half and self.tokens.at(at + 1) != "of":
            return None
        if self.tokens.at(start) not in DETERMINERS - {"a", "an", "another"}:
            return None
        if not (number_of(word) or word in _SOME | {"several", "none"}) or word in _ALL | {"each"}:
            return None
        phrase, after = self.phrases.read(start)
        if phrase is None or not phrase.is_plural:
            return None
        name = self.add(phrase, start, after)
        self.lose(is_subject=True)
        if name is None:
            return after
        words: tuple[str, ...] = ()
        end = after
        if self.tokens.at(after) in COPULAS and number_of(word):
            words, end = self.phrases.read_attributes(after + 1)
        if words and self.ends_clause(end) and self.found.split(name, number_of(word) or 1, words):
            self.tokens.use(at, end)
            self.group = name
            return end
        return self.end_of_clause(after)

    def _fraction_end(self, at: int) -> int:
        """Return the index after `two thirds of`, `a quarter of` or `half of`, else 0."""
        start = at + (number_of(self.tokens.at(at)) is not None or self.tokens.at(at) == "a")
        is_part = self.tokens.at(start).rpartition("-")[2] in _FRACTIONS and self.tokens.at(start + 1) == "of"
        is_one = is_part and self.tokens.at(start + 2) in DETERMINERS
        return start + 2 if is_one else 0

    def _part_of_one(self, start: int) -> int:
        """Take `two thirds of the pizza is eaten`, which says nothing of the whole pizza."""
        phrase, after = self.phrases.read(start)
        if phrase is not None:
            self.add(phrase, start, after)
        self.lose(is_subject=True)
        return self.end_of_clause(after)

    def _superlative(self, at: int) -> int | None:
        """Take `the tallest of three lighthouses`: what follows is said of one."""
        phrase, after = self.phrases.read(at + 3)
        if phrase is None or not phrase.is_plural:
            return None
        self.add(phrase, at + 3, after)
        self.lose(is_subject=True)
        return self.end_of_clause(after)

    def ends_clause(self, at: int) -> bool:
        """Return whether a clause ends at a token."""
        return self.tokens.at(at) in CLAUSE_ENDS

    def end_of_clause(self, at: int) -> int:
        """Return the index after a clause that was not understood, no part of which may be asked for."""
        while self.tokens.at(at) not in CLAUSE_ENDS:
            at += 1
        return at
