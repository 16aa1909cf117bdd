"""What a prompt says is not so: absent things, denied actions, and members of a group that differ."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.sentence import Sentence
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    COPULAS,
    DETERMINERS,
    HAVING,
    NEGATIONS,
    WRITING,
    attribute_of,
)
from gems_actors.backends.storyboard.words import is_participle, number_of, singular, surface_of

_SHOWING: Final = frozenset(("any", "include", "show", "draw", "add", "contain", "depict", "use", "put", "want"))
"""Verbs of the prompt itself: what they deny must not be in the picture."""

_SOME: Final = frozenset(
    ("none", "both", "all", "other", "others", "another", "some", "half", "most", "many", "few", "several", "each")
)
"""Words for members of a group."""
_ALL: Final = frozenset(("both", "all"))
_CLAUSE_ENDS: Final = frozenset((",", ".", ";", "and", "but", "while"))


class Absences(Sentence):
    """The rules for negation and for individuals of a group."""

    def member(self, at: int) -> int | None:
        """Take `one black`, `a big one` or `one of them broken` after a group, and tell these apart."""
        word = self.tokens.at(at)
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
        name = self.found.split(self.group, count, attributes)
        if name is not None:
            self.tokens.use(at, after)
        return after

    def _members_of(self, at: int, group: str) -> int:
        """Take `one of them broken`, `none of them smiling` or `all of them holding umbrellas`."""
        word, start = self.tokens.at(at), at + 3
        start += self.tokens.at(start) in COPULAS
        if word in _ALL and self._begins_action(start):
            self.tokens.use(at, start)
            self.last = self.head = group
            return start
        attribute = attribute_of(self.tokens.at(start))
        is_action = attribute is not None and is_participle(attribute)
        ends = self.tokens.at(start + 1) in _CLAUSE_ENDS
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
        is_action = self.phrases.is_participle_at(at) and surface_of(word) is None
        return is_action or word in HAVING or word in COPULAS or word == "without" or self.phrases.place_at(at) > 0

    def _pass_by_members(self, at: int, group: str) -> int:
        """Pass by what only some of a group do: no part of it is asked of the whole group, or as a further thing."""
        self.lose()
        self.group = group
        while True:
            at = self._end_of_denial(at + 1)
            following = self.tokens.at(at + 1)
            if self.tokens.at(at) != "and" or number_of(following) or following in {"the", "another"}:
                return at

    def absence(self, at: int) -> int | None:
        """Take `no cars`, `without a hat` or `free of cars`: of the subject if there is one, else of the picture."""
        word = self.tokens.at(at)
        start = at + 1
        if (word, self.tokens.at(start)) in {("free", "of"), ("instead", "of"), ("rather", "than")}:
            start += 1
        elif word == "with" and self.tokens.at(start) in {"no", "not", "neither"}:
            start += 1 + (self.tokens.at(start + 1) == "any")
        elif word in {"except", "besides"}:
            self.pending = self.attached = None
            return start + (self.tokens.at(start) == "for")
        elif word in NEGATIONS and self.tokens.at(start) in DETERMINERS:
            start += self.tokens.at(start) == "any"
        elif word in {"nobody", "no-one"}:
            self.found.exclude("person")
            self.tokens.use(at, start)
            return start
        elif word not in ABSENCES:
            return None
        before = self.tokens.at(at - 1)
        is_apart = word in {"no", "with"} and (before == "," or (before == "but" and self.tokens.at(at - 2) == ","))
        is_whole = is_apart or word in NEGATIONS or word in {"instead", "rather"}
        subject = None if is_whole else self._subject_of_absence(at)
        self.pending = None
        while True:
            phrase, after = self.phrases.read(start)
            if phrase is None and (end := self._writing(start)):
                self.found.exclude("text")
                self.tokens.use(at, end)
                self.lose()
                return end
            if phrase is None or self.phrases.is_participle_at(start):
                self.lose()
                return self._end_of_denial(start)
            name = name_of(phrase)
            if subject is None:
                is_kept = self.found.exclude(name)
            else:
                self.found.relate(subject, "without", (name,), "position")
                is_kept = True
            if is_kept:
                self.use_phrase(at, after)
            joint = self.tokens.at(after)
            start = after + 1
            if joint not in {"and", "or", "nor"} or (joint == "and" and self.tokens.at(start) in DETERMINERS):
                return after
            following, end = self.phrases.read(start)
            if following is None or self.phrases.begins_predicate(following, end):
                return after

    def _end_of_denial(self, at: int) -> int:
        """Return the index after a denial that was not understood, no part of which may be asked for."""
        while self.tokens.at(at) not in _CLAUSE_ENDS:
            at += 1
        return at

    def _writing(self, at: int) -> int:
        """Return the index after `text`, `any text` or `words`, else 0."""
        at += self.tokens.at(at) in DETERMINERS
        return at + 1 if self.tokens.at(at) in WRITING else 0

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
            self.use_phrase(at, after)
            self.tokens.use(*pending.span)
            return True
        if not self.is_negated:
            return False
        if self.tokens.at(at - 1) in _SHOWING and self.found.exclude(name_of(phrase)):
            self.use_phrase(at, after)
        else:
            self.lose()
        return True


def name_of(phrase: Phrase) -> str:
    """Return the name of something that is not there, with its attributes."""
    return singular(" ".join((*phrase.thing.attributes, phrase.thing.name)))
