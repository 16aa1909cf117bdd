"""What a prompt says is not so: absent things and denied actions."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.kinds import MATERIALS
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.short.members import CLAUSE_ENDS, Members
from gems_actors.backends.storyboard.english.verbs import THIRD_PERSONS, is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    COPULAS,
    DETERMINERS,
    HAVING,
    MISSING,
    NEGATIONS,
    POSTNOMINAL,
    VACUOUS,
    WRITING,
    attribute_of,
)
from gems_actors.backends.storyboard.words import number_of, singular

_SHOWING: Final = frozenset(("any", "include", "show", "draw", "add", "contain", "depict", "use", "put", "want"))
"""Verbs of the prompt itself: what they deny must not be in the picture."""
_ANYWHERE: Final = (
    *(("in", "sight"), ("in", "view"), ("to", "be", "seen"), ("can", "be", "seen"), ("around",), ("there",)),
    *(("visible",), ("present",), ("in", "the", "image"), ("in", "the", "picture"), ("in", "the", "scene")),
)
"""Words that after `nobody` speak of the whole picture."""
_HARDLY: Final = frozenset(("hardly", "barely", "scarcely"))


class Absences(Members):
    """The rules for negation."""

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
        if subject is None and not is_whole and at > 0 and before not in CLAUSE_ENDS | COPULAS | {"there"}:
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
        is_object = self.shared is not None or self.tokens.at(at + 2) in MATERIALS | {"wood"}
        is_told = self.tokens.at(at + 2) in DETERMINERS - {"a", "an", "any"}
        if word in {"instead", "rather"} and (is_object or is_told):
            return None  # `holding a broom instead of a sword`, `paper rather than wood`, `instead of the room`
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
                joint = self.tokens.at(end)
                if joint in {"or", "nor"} or (joint == "," and self._lists_denied(end + 1)):
                    start, subject = end + 1 + (self.tokens.at(end + 1) in {"or", "nor"}), None
                    continue  # `no text, watermark or border`
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
