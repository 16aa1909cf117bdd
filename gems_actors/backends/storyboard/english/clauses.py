"""Reads clauses: which thing does what, where it is, and what is said not to be there.

A small machine that goes from word to word. It knows the last thing, the subject of the clause and the relation whose
object is still to come. What it cannot use stays unused, and is reported as not understood.
"""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.absences import Absences
from gems_actors.backends.storyboard.english.collecting import Collector
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.sentence import Pending, acts
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, is_content
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    AGENT_PLACES,
    BODY_PARTS,
    CLOTHES,
    COMPARATIVES,
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    HAVING,
    JOINTS,
    NEGATIONS,
    NEGATIVE_COPULAS,
    PARTICLES,
    POSSESSIVES,
    POSTNOMINAL,
    PRONOUNS,
    SAYING,
    SHARING,
    TRANSFERS,
    attribute_of,
    is_abstract,
    is_adverb,
    is_past,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.scene import RelationKind
from gems_actors.backends.storyboard.words import PLACES, is_participle, number_of, singular, surface_of

_GERUNDS_AFTER: Final = frozenset(("after", "before", "by", "for", "of", "to", "from", "when", "until", "in", "about"))
"""Words after which a participle says nothing of the thing before."""
_RELATIVES: Final = frozenset(("that", "which", "who", "whose"))
_ENDINGS: Final = frozenset(
    (",", ".", ";", TEXT_MARK, "and", "or", "but", "while", "as", "with", "without", "who", "that")
)
"""What may follow an action without an object."""


class ClauseReader(Absences):
    """Reads the tokens of one prompt into a collector."""

    def read(self) -> Collector:
        """Return the things and relations of all clauses."""
        self._has_articles = not {"a", "an", "the"}.isdisjoint(self.tokens.words)
        at = 0
        while at < len(self.tokens.words):
            at = max(self._take(at), at + 1)
        return self.found

    def _take(self, at: int) -> int:
        """Consume what begins at one token, and return the index after it."""
        word = self.tokens.at(at)
        if word in {".", ";"}:
            group = self.group if word == ";" else None
            self.end_sentence()
            self.group = group
            return at + 1
        if word == TEXT_MARK:
            self.pending = None
            return at + 1
        if word in JOINTS:
            return self._join(at)
        if end := self.phrases.text_end(at):
            self.tokens.use(at, end)
            self.pending = None
            return end
        for rule in (self.member, self.absence, self._copula, self._relation, self._action):
            after = rule(at)
            if after is not None:
                return after
        if word in NEGATIONS:
            self.is_negated = self.tokens.at(at + 1) != "only"
            self.tokens.use(at, at + 1)
            return at + 1
        if word in PRONOUNS:
            return self._pronoun(at)
        if is_adverb(word):
            is_verb_next = self.named_until == at and self._is_unknown(at + 1)
            if is_verb_next:
                self.lose()
            return at + 1 + is_verb_next
        if word in _RELATIVES and self.last:
            return self._relative(at)
        return self._thing(at)

    def _relative(self, at: int) -> int:
        """Take `who` or `that`: what follows is about the last thing, if its verb is known."""
        self.attached = None
        self.is_relative = True
        word = self.tokens.at(at + 1)
        is_known = word in FUNCTION_WORDS or word in SAYING or self.phrases.verb_at(at + 1) or is_adverb(word)
        if is_known or self.phrases.is_participle_at(at + 1) or is_past(word):
            return at + 1
        self.lose()
        return at + 2

    def _is_unknown(self, at: int) -> bool:
        """Return whether a word after a thing and an adverb is a verb that no table has."""
        word = self.tokens.at(at)
        is_known = word in FUNCTION_WORDS or word in SAYING or self.phrases.place_at(at) or self.phrases.verb_at(at)
        return not is_known and word.isalpha() and attribute_of(word) is None and not is_adverb(word)

    # Words that join

    def _join(self, at: int) -> int:
        """Take a comma or a conjunction; a list goes on with the relation of its first member."""
        word = self.tokens.at(at)
        pending = self.pending
        self.is_negated = False
        self.verb = ""
        if pending is not None and pending.word == "between" and pending.first and word == "and":
            return at + 1
        self.pending = None
        if (shared := self.shared) is not None and self._continues_list(at, shared):
            self.pending = shared
        return at + 1

    def _continues_list(self, at: int, shared: Pending) -> bool:
        """Return whether a further noun phrase without a verb of its own follows, and the list has an `and`."""
        start = at + 1 + (self.tokens.at(at + 1) in {"and", "or"})
        if self.tokens.at(at) in {"but", "while", "as", "then"} or self.tokens.at(start) in ABSENCES:
            return False
        phrase, after = self.phrases.read(start)
        if phrase is None or self.phrases.begins_predicate(phrase, after):
            return False
        if shared.word not in SHARING:
            is_bare = phrase.stated is None and not phrase.is_definite
            return is_bare and self.tokens.at(at) == "and" and shared.word != "between"
        if self.tokens.at(at) != ",":
            return True
        if self.tokens.at(at + 1) in {"and", "or"} or self.tokens.at(after) in {"and", "or"}:
            return True
        return self.tokens.at(after) == "," and self.tokens.at(after + 1) in {"and", "or"}

    # Predicates

    def _copula(self, at: int) -> int | None:
        """Take `is red and shiny`, or pass by a copula before a place or an action."""
        if self.tokens.at(at) not in COPULAS | NEGATIVE_COPULAS:
            return None
        start = at + 1
        is_negated = self.tokens.at(start) in NEGATIONS or self.tokens.at(at) in NEGATIVE_COPULAS
        start += self.tokens.at(start) in NEGATIONS
        words, after = self.phrases.read_attributes(start)
        subject = self.subject
        self.last = self.last and subject
        is_action = len(words) == 1 and is_participle(words[0]) and surface_of(words[0]) is None
        if words and subject is not None and not is_action and not _takes_object(words[-1], self.tokens.at(after)):
            for word in words:
                self.found.describe(subject, attribute=f"not {word}" if is_negated else word)
            self.tokens.use(at, after)
            return after
        self.is_negated = is_negated
        self.attached = None
        if self.tokens.at(start) in {"a", "an"} and self.tokens.at(at - 1) != "there" and subject is not None:
            self.is_negated = False
            return self.phrases.read(start)[1]  # `the man is a doctor` names no second thing
        return start

    def _relation(self, at: int) -> int | None:
        """Take a place, a comparison or `has`, whose object is to come."""
        word = self.tokens.at(at)
        if word in HAVING and is_past(self.tokens.at(at + 1)) and self.tokens.at(at + 2) in DETERMINERS:
            self.lose()  # `has lost its arm` says what is not there any more, or what happened before
            return at + 2
        if word in HAVING and self.last is not None:
            word = "without" if self.is_negated else "with"
            self.expect(self.attached or self.last, word, "position", (at, at + 1), is_negative=self.is_negated)
            self.is_negated = False
            return at + 1
        if word in COMPARATIVES and self.tokens.at(at + 1) == "than":
            if self.last is not None:
                self.expect(self.last, f"{word} than", "action", (at, at + 2))
            return at + 2
        if word == "to" and self.verb in TRANSFERS and self.agent is not None:
            self.expect(self.agent, f"{self.verb} to", "action", (at, at + 1))
            return at + 1
        if word in POSTNOMINAL and self.last is not None and self.named_until in (at, at - 1):
            if word == "full" and self.tokens.at(at + 1) == "of":
                self.expect(self.last, "full of", "action", (at, at + 2))
                return at + 2
            if self.found.describe(self.last, attribute=word):
                self.tokens.use(at, at + 1)
            return at + 1
        length = self.phrases.place_at(at)
        if not length:
            return None
        spelled = self.tokens.phrase(at, at + length)
        if self.tokens.at(at - 1) in {"from", "of"}:
            self.lose()
            return at + length
        subject = self._subject_of_place(at, spelled, self.tokens.at(at + length))
        span = (at, at + length)
        if subject is None and self.first is not None:
            self.lose()
            return at + length
        if subject is None:
            phrase, after = self.phrases.read(at + length)
            if phrase is None or self.tokens.at(after) != ",":
                return at + length
            name = self.add(phrase, at + length, after)
            if name is not None:
                self.fronted = (PLACES[spelled], name, span)
            self.last = self.head = None
            return after + 1
        if self.verb in TRANSFERS and spelled in {"to", "at"}:
            self.expect(subject, f"{self.verb} {spelled}", "action", span)
        elif self.is_negated:
            self.expect(subject, f"not {PLACES[spelled]}", "position", span, is_negative=True)
        else:
            self.expect(subject, PLACES[spelled], "position", span)
        self.is_negated = False
        return at + length

    def _subject_of_place(self, at: int, spelled: str, follower: str) -> str | None:
        before = self.tokens.at(at - 1)
        if before in {",", "while"}:
            return None if self.is_prose else self.head
        if before in {"and", "but"}:
            return self.agent or self.head
        if self.attached is not None:
            is_about_last = follower in POSSESSIVES | PRONOUNS  # `a squirrel with a nut in its paws`
            return self.last if is_about_last else self.attached
        if self.verb and (spelled in AGENT_PLACES or self.verb in TRANSFERS):
            return self.agent
        return self.last

    def _action(self, at: int) -> int | None:
        """Take an action or a state: `chasing a ball`, `sits on a mat`, `perched on a branch`, `running`."""
        word = self.tokens.at(at)
        if self.last is None and self.agent is None and self.head is None:
            return None
        finite = self.phrases.verb_at(at)
        if surface_of(word) is not None or word in FUNCTION_WORDS:
            return None
        if finite is None and not self.phrases.is_participle_at(at) and not is_past(word):
            return None
        if is_plain_adjective(word) and self.named_until != at and self.tokens.at(at - 1) not in COPULAS:
            return None
        if self.tokens.at(at - 1) in _GERUNDS_AFTER and finite is None:
            self.lose()
            return at + 1
        is_next = self.tokens.at(at - 1) not in JOINTS
        subject = self.subject if finite and is_next else self._subject_of_action(at)
        if subject is None or (self.pending is not None and finite is None):
            return None
        verb = finite or word
        return self._predicate(at, verb, subject)

    def _predicate(self, at: int, verb: str, subject: str) -> int:
        """Take the object of an action; without one, the action is a property of its subject."""
        after = at + 1
        while is_adverb(self.tokens.at(after)) or self.tokens.at(after) == "together":
            after += 1
        length = self.phrases.place_at(after)
        particle = self.tokens.phrase(after, after + length) if length else ""
        if not length and self.tokens.at(after) in PARTICLES | {"like"}:
            particle, length = self.tokens.at(after), 1
        if verb == "made" and particle in {"of", "from"}:
            return self._material(at, after + length, subject)
        full = f"{verb} {particle}".rstrip()
        end = after + length
        if length and self.tokens.at(end) in PARTICLES | {"onto"}:
            self.lose()  # `looking out onto a city`: two prepositions in a row are no relation of ours
            return end + 1
        negative = "not " if self.is_negated else ""
        self.is_negated = False
        if verb == "wearing" and particle == "":
            end = after
        kind: RelationKind = "position" if full in PLACES else "action"
        full = PLACES.get(full, full)
        phrase, after_phrase = self.phrases.read(end)
        self.agent = subject
        self.verb = ""
        if phrase is not None and not (is_past(verb) and not particle):
            self.expect(subject, negative + full, kind, (at, end), is_negative=bool(negative))
            return end
        if self.tokens.at(end) in PRONOUNS and particle:
            self.expect(subject, negative + full, kind, (at, end), is_negative=bool(negative))
            return end
        if is_past(verb):
            return self._state(at, end, after_phrase, subject, negative)
        follower = self.tokens.at(at + 1)
        if negative and particle:
            self.lose()  # `not looking at` something that was not understood says less than `not looking`
        elif particle or follower in _ENDINGS or is_adverb(follower) or follower == "together":
            if self.found.describe(subject, action=negative + verb):
                self.tokens.use(at, at + 1)
        else:
            self.lose()  # its object was not understood
        return max(at + 1, after if particle else end)

    def _state(self, at: int, end: int, after: int, subject: str, negative: str) -> int:
        """Take `broken`, `cut in half` or `set for two`."""
        words = [self.tokens.at(at)]
        if end > at + 1:
            tail = self.tokens.at(end)
            is_short = self.tokens.at(end + 1) in {".", ",", ";", "and"}
            if not is_short or not (number_of(tail) or is_abstract(tail) or tail == "half"):
                return at + 1
            words = self.tokens.words[at : end + 1]
            end += 1
        if self.tokens.at(at) == "set" and len(words) == 1:
            return at + 1
        if self.found.describe(subject, attribute=negative + " ".join(words)):
            self.tokens.use(at, end)
        return max(end, at + 1)

    def _material(self, at: int, start: int, subject: str) -> int:
        """Take `made of glass` as an attribute."""
        noun = self.tokens.at(start)
        if not noun.isalpha() or noun in DETERMINERS:
            return start
        material = surface_of(noun) or attribute_of(noun) or f"made of {noun}"
        if self.found.describe(subject, attribute=material):
            self.tokens.use(at, start + 1)
        return start + 1

    def _subject_of_action(self, at: int) -> str | None:
        while is_adverb(self.tokens.at(at - 1)):
            at -= 1
        before = self.tokens.at(at - 1)
        if before in JOINTS:
            is_list = self.agent is None and self.head != self.first
            if before == "," and (self.is_prose or is_list):
                return None
            return self.agent or self.head
        place = self.shared
        if place and place.word in {"inside", "at"} and acts(place.subject) and not (self.last and acts(self.last)):
            return place.subject  # `a man in a wheelchair playing basketball`
        if self.attached is None or self.last is None or self.attached == self.last:
            return self.last
        agent_acts, other = acts(self.attached), acts(self.last)
        word = self.tokens.at(at)
        kinds = {self.last.split()[-1], singular(self.last).split()[-1]}
        if not kinds.isdisjoint(CLOTHES | BODY_PARTS):
            return self.attached
        if other and not agent_acts:
            return self.last
        return self.attached if agent_acts or word in {"wearing", "holding", "carrying"} else self.last

    # Things

    def _thing(self, at: int) -> int:
        phrase, after = self.phrases.read(at)
        word = self.tokens.at(at)
        is_cut_short = self.phrases.is_unknown_verb(at, after)
        if phrase is not None and self._is_verb(phrase, at, after):
            self.lose()
            return after
        if phrase is None or not self._is_named(phrase, at, after):
            if after > at + 1 or (is_content(word) and not is_adverb(word)):
                before = self.tokens.at(at - 1)
                self.lose(is_subject=self.pending is None and (at == 0 or before in JOINTS | {".", ";"}))
            return max(after + is_cut_short, at + 1)
        if self.is_denied(phrase, at, after):
            return after
        name = self.add(phrase, at, after)
        if name is None:
            self.pending = None
            return after
        self.complete(name)
        if phrase.is_plural and (self.group is None or self.attached != self.group):
            self.group = name  # in `two women in red dresses, one tall`, `one` is a woman
        self.named_until = after
        if is_cut_short:
            self.lose()
            return after + 1
        return after

    def _is_verb(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether bare words are no thing: `grips a rock`, `to attract a mate`."""
        is_bare = phrase.stated is None and not phrase.is_definite and not phrase.thing.attributes
        if not is_bare or self.tokens.words[at].startswith(EMOJI):
            return False
        is_infinitive = self.tokens.at(at - 1) == "to" and (not phrase.is_plural or after > at + 1)
        return is_infinitive or (after == at + 1 and phrase.is_plural and self.tokens.at(after) in DETERMINERS)

    def _is_named(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether a phrase names a thing; a bare noun does as the object of a relation or in a list."""
        if self.pending is not None:
            return True
        before = self.tokens.at(at - 1)
        is_bare = phrase.stated is None and not phrase.is_definite and not phrase.is_plural
        if is_bare and before not in JOINTS | {".", ";", TEXT_MARK, "there", "is", "are"} and at > 0:
            return self.tokens.words[at].startswith(EMOJI) or not any(map(is_content, self.tokens.words[:at]))
        if is_bare and before == "," and self._has_articles and self.tokens.at(after) not in {"and", "or"}:
            return False  # `a cat, chiaroscuro` has one thing
        return phrase.is_sure

    def _pronoun(self, at: int) -> int:
        """Take a pronoun if there is only one thing that it can mean, as a subject or as the object of a relation."""
        pending, self.pending = self.pending, None
        if pending is None:
            things = [*self.found.things]
            self.lose()
            if len(things) != 1:
                return at + 1 + (self.phrases.verb_at(at + 1) is not None or self.tokens.at(at + 1) in HAVING)
            self.start_clause(things[0])
            return at + 1
        others = [name for name in self.found.things if name != pending.subject]
        if len(others) == 1 and not pending.is_negative:
            self.found.relate(pending.subject, pending.word, (others[0],), pending.kind)
            self.tokens.use(pending.span[0], at + 1)
        return at + 1


def _takes_object(word: str, after: str) -> bool:
    """Return whether a participle has a place or a particle after it, and so is a relation: `is parked in front of`."""
    return (is_past(word) or is_participle(word) or word == "full") and (after in PLACES or after in PARTICLES)
