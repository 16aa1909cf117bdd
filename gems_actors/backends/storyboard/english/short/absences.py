"""What a prompt says is not so: absent things, denied actions, and members of a group that differ."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import COLLECTIVES
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.sentence import Sentence, acts
from gems_actors.backends.storyboard.english.verbs import THIRD_PERSONS, is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    COMPARATIVES,
    COPULAS,
    DETERMINERS,
    FILLERS,
    HAVING,
    MISSING,
    NEGATIONS,
    POSTNOMINAL,
    VACUOUS,
    WRITING,
    attribute_of,
)
from gems_actors.backends.storyboard.words import NOUNS_IN_ING, is_participle, number_of, singular, surface_of

_SHOWING: Final = frozenset(("any", "include", "show", "draw", "add", "contain", "depict", "use", "put", "want"))
"""Verbs of the prompt itself: what they deny must not be in the picture."""

_SOME: Final = frozenset(
    ("none", "both", "all", "other", "others", "another", "some", "half", "most", "many", "few", "several", "each")
)
"""Words for members of a group."""
_FRACTIONS: Final = frozenset(
    ("half", "third", "thirds", "quarter", "quarters", "fifth", "fifths", "part", "parts", "most", "much", "percent")
)
_ALL: Final = frozenset(("both", "all"))
_ANYWHERE: Final = (
    *(("in", "sight"), ("in", "view"), ("to", "be", "seen"), ("can", "be", "seen"), ("around",), ("there",)),
    *(("visible",), ("present",), ("in", "the", "image"), ("in", "the", "picture"), ("in", "the", "scene")),
)
"""Words that after `nobody` speak of the whole picture."""
_HARDLY: Final = frozenset(("hardly", "barely", "scarcely"))
_CLAUSE_ENDS: Final = frozenset((",", ".", ";", "and", "but", "while"))


class Absences(Sentence):
    """The rules for negation and for individuals of a group."""

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
        ends = self.tokens.at(start + 1) in _CLAUSE_ENDS and (number_of(word) or word in {"none", *_ALL})
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

    def absence(self, at: int) -> int | None:
        """Take `no cars`, `without a hat` or `free of cars`: of the subject if there is one, else of the picture."""
        if end := self._passed_denial(at):
            return end
        start = self._denied_from(at)
        if start is None:
            return None
        word, before = self.tokens.at(at), self.tokens.at(at - 1)
        if self.tokens.at(start - 1) == "neither" and not self._has_nor(start):
            end = self.end_of_clause(start)  # `but neither wears boots`
            self.tokens.doubt(at, end)
            self.lose(is_subject=True)
            return end
        is_limit = self.phrases.is_limit_at(start) or (word == "no" and self.tokens.at(start) == "more")
        if is_limit or self.tokens.at(start) in {"other", "others", "longer"}:
            self.lose()  # `no other people` than those named before
            return self.end_of_clause(start)
        if self._denies_predicate(start):
            self.lose(is_subject=True)
            return self.end_of_clause(start)
        is_apart = word in {"no", "with"} and (before == "," or (before == "but" and self.tokens.at(at - 2) == ","))
        is_whole = is_apart or word in NEGATIONS or word in {"instead", "rather"}
        subject = None if is_whole else self._subject_of_absence(at)
        if subject is not None and self.is_coordinated and subject == self.last and self.named_until == at:
            self.tokens.doubt(at, self.end_of_clause(start))
            self.lose()  # `a cat and a dog with no tail`
            return self.end_of_clause(start)
        if word in {"without", "with"} and subject is not None and self._is_open_between(subject, at):
            self.tokens.doubt(at, self.end_of_clause(start))
            self.lose()  # `dancing in the rain without umbrellas`
            return self.end_of_clause(start)
        if subject is None and not is_whole and at > 0 and before not in _CLAUSE_ENDS | COPULAS | {"there"}:
            self.lose()  # of something that was not understood
            return self.end_of_clause(start)
        if before in {"and", "but"} and subject != self.first:  # `ramen topped with an egg, pork and no seaweed`
            if self.tokens.at(self.phrases.read(start)[1]) not in {".", ";"}:
                self.lose()
                return self.end_of_clause(start)
            subject = None
        self.pending = None
        return self._exclude(at, start, subject)

    def _has_nor(self, at: int) -> bool:
        """Return whether `neither` stands before nouns, as in `neither cats nor dogs`, and for no member of a pair."""
        after = self.phrases.read(at)[1]
        return self.tokens.at(after) in {"nor", "or"} and self.tokens.at(at) not in THIRD_PERSONS

    def _denied_from(self, at: int) -> int | None:
        """Return where the name of what is denied begins, or None where nothing is."""
        word, following = self.tokens.at(at), self.tokens.at(at + 1)
        if word in {"instead", "rather"} and self.tokens.at(at + 2) in DETERMINERS - {"a", "an", "any"}:
            return None  # `a forest instead of the room`
        if (word, following) in {("free", "of"), ("instead", "of"), ("rather", "than"), ("devoid", "of")}:
            return at + 2
        if word == "with" and following in {"no", "not", "neither"}:
            return at + 2 + (self.tokens.at(at + 2) == "any")
        if word in NEGATIONS and following in DETERMINERS:
            return at + 1 + (following == "any")
        return at + 1 if word in ABSENCES else None

    def _passed_denial(self, at: int) -> int:
        """Return the index after an exception, `nobody`, or a denial that no requirement can say; else 0."""
        word, start = self.tokens.at(at), at + 1
        if word in {"except", "besides"}:
            start += self.tokens.at(start) == "for"
            if self._is_after_denial(at):  # `nothing except a chair` has a chair, `everything except bananas` has none
                self.tokens.use(at, start)
                self.pending = self.attached = None
                return start
        elif word in {"nobody", "no-one"} or (word, self.tokens.at(start)) == ("no", "one"):
            return self._nobody(at, start + (word == "no"))
        elif not self._is_vague_denial(word, self.tokens.at(start)):
            return 0
        self.lose()
        return self.end_of_clause(start)

    def _exclude(self, at: int, start: int, subject: str | None) -> int:
        """Note that what is named from `start` on is not there, and return the index after it."""
        while True:
            phrase, after = self.phrases.read(start)
            if phrase is None and (end := self._writing(start)):
                self.found.exclude("text")
                self.tokens.use(at, end)
                self.lose()
                return end
            is_some = number_of(self.tokens.at(start)) is not None  # `without one eye`
            if phrase is None or is_some or self.phrases.is_participle_at(start):
                self.lose()
                end = self.end_of_clause(start)
                self.tokens.doubt(at, end)
                return end
            if self.has_exception(after):
                self.tokens.doubt(at, after)
                self.tokens.use(at, after)
                return after  # `no passengers except an old man` has a passenger
            name = name_of(phrase)
            if subject is None:
                is_kept = self.found.exclude(name)
            else:
                self.found.relate(subject, "without", (name,), "position")
                is_kept = True
            if is_kept:
                self.phrases.use(at, after)
            self.named_until = after
            end = after + (self.tokens.at(after) in COPULAS)
            end = next((end + len(words) for words in _ANYWHERE if self._reads(end, words)), after)
            if end > after and is_kept and subject is None:
                self.tokens.use(after, end)
                return end
            joint = self.tokens.at(after)
            start = after + 1
            if joint == "," and self._lists_denied(start):
                start += self.tokens.at(start) in {"or", "nor"}
                if self.tokens.at(start) in {"other", "others"}:
                    self.lose()  # `no trees, buildings or other people`
                    return self.end_of_clause(start)
                continue
            if joint in {"or", "nor"} and self.tokens.at(start) in {"other", "others"}:
                self.lose()
                return self.end_of_clause(start)
            if joint not in {"and", "or", "nor"} or (joint == "and" and self.tokens.at(start) in DETERMINERS):
                return after
            following, end = self.phrases.read(start)
            if following is None or (joint == "and" and not self._goes_on(following, start, end)):
                return after
            if joint == "and" and following.thing.attributes:
                self.tokens.doubt(start, end)  # `no curtains and red chairs` may have chairs
                self.lose()
                return end

    def _goes_on(self, phrase: Phrase, start: int, end: int) -> bool:
        """Return whether a denial goes on over what `and` joins to it: over bare nouns alone."""
        is_bare = phrase.stated is None and not phrase.is_definite and end - start <= len(name_of(phrase).split())
        is_bare = is_bare and " of " not in phrase.thing.name  # `hundreds of pigeons`
        return is_bare and not self.phrases.begins_predicate(phrase, end)

    def _lists_denied(self, at: int) -> bool:
        """Return whether what is denied goes on: bare words, commas and then `or`, as in `no trees, cars or people`."""
        while self.tokens.at(at) not in {".", ";"}:
            if self.tokens.at(at) in {"or", "nor"}:
                return True
            phrase, end = self.phrases.read(at)
            if phrase is None or phrase.stated is not None or phrase.is_definite:
                return False
            if self.tokens.at(end) not in {",", "or", "nor"}:
                return False
            at = end + (self.tokens.at(end) == ",")
        return False

    def _is_vague_denial(self, word: str, following: str) -> bool:
        """Return whether a word denies something that no requirement can deny: a car missing a wheel has others."""
        if word == "nothing":
            return following not in {"but", "except", "besides"}
        return word in MISSING or (word in _HARDLY and following == "any") or (word, following) == ("lack", "of")

    def _nobody(self, at: int, after: int) -> int:
        """Take `nobody around`; what nobody does, and where nobody else is, says nothing of the whole picture."""
        start = after + (self.tokens.at(after) in COPULAS)
        end = next((start + len(words) for words in _ANYWHERE if self._reads(start, words)), after)
        is_said = end > after or self.ends_clause(after)
        if is_said and self.found.exclude("person"):
            self.tokens.use(at, end)
            return end
        self.lose()
        if self.tokens.at(at) == "no":
            self.tokens.doubt(at, after)
        return self.end_of_clause(after)

    def _reads(self, at: int, words: tuple[str, ...]) -> bool:
        return tuple(self.tokens.words[at : at + len(words)]) == words

    def has_exception(self, at: int) -> bool:
        """Return whether the sentence names an exception after a token."""
        while self.tokens.at(at) not in {".", ";"}:
            is_but_one = self.tokens.at(at) == "but" and number_of(self.tokens.at(at + 1)) is not None
            if is_but_one or self.tokens.at(at) in {"except", "besides"} or self._reads(at, ("apart", "from")):
                return True
            at += 1
        return False

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

    def _denies_predicate(self, at: int) -> bool:
        """Return whether what is denied is the predicate, as in `neither the cat nor the dog is awake`."""
        phrase, end = self.phrases.read(at)
        while phrase is not None and self.tokens.at(end) in {"nor", "or"}:
            phrase, end = self.phrases.read(end + 1)
        if phrase is not None and self.tokens.at(end) in HAVING:
            return True
        end = end if phrase is not None else self._writing(at)
        if end and self.tokens.at(end) in {"can", "could"}:
            return self.tokens.at(end + 2) != "seen"
        if phrase is not None and is_past(self.tokens.at(end)) and self.tokens.at(end) not in VACUOUS:
            return True  # `no dogs allowed`
        if phrase is None or self.tokens.at(end) not in COPULAS:
            return False
        attribute = attribute_of(self.tokens.at(end + 1))
        is_said = attribute is not None or self.tokens.at(end + 1) in POSTNOMINAL
        return is_said and attribute not in VACUOUS

    def _is_after_denial(self, at: int) -> bool:
        """Return whether the clause up to a token says that there is nothing."""
        while not self.ends_clause(at - 1):
            at -= 1
            if self.tokens.at(at) in ABSENCES | {"nothing", "empty"}:
                return True
        return False

    def ends_clause(self, at: int) -> bool:
        """Return whether a clause ends at a token."""
        return self.tokens.at(at) in _CLAUSE_ENDS

    def end_of_clause(self, at: int) -> int:
        """Return the index after a clause that was not understood, no part of which may be asked for."""
        while self.tokens.at(at) not in _CLAUSE_ENDS:
            at += 1
        return at

    def _writing(self, at: int) -> int:
        """Return the index after `text`, `any text` or `words`, else 0."""
        at += self.tokens.at(at) in DETERMINERS
        return at + 1 if self.tokens.at(at) in WRITING else 0

    def _is_open_between(self, subject: str, at: int) -> bool:
        """Return whether what is denied after a thing may be denied of what was named before it, too."""
        return self.named_until == at and any(name != subject for name in self.clause)

    def _subject_of_absence(self, at: int) -> str | None:
        if self.tokens.at(at - 1) in {"but", "and", ","}:
            return self.head
        if self.tokens.at(at - 1) in HAVING and self.pending is not None:
            return self.pending.subject
        return self.attached or self.last

    def is_denied(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether a phrase names what is not there, and note that; it is no thing to draw."""
        pending = self.pending
        if pending is not None and pending.is_negative:
            self.pending = None
            self.found.relate(pending.subject, pending.word, (name_of(phrase),), pending.kind)
            self.phrases.use(at, after)
            self.tokens.use(*pending.span)
            return True
        if not self.is_negated:
            return False
        if self.tokens.at(at - 1) in _SHOWING and self.found.exclude(name_of(phrase)):
            self.phrases.use(at, after)
        else:
            self.lose()
        return True


def name_of(phrase: Phrase) -> str:
    """Return the name of something that is not there, with its attributes."""
    return singular(" ".join((*phrase.thing.attributes, phrase.thing.name)))
