"""Reads clauses: which thing does what, where it is, and what is said not to be there.

A small machine that goes from word to word. It knows the last thing, the subject of the clause and the relation whose
object is still to come. What it cannot use stays unused, and is reported as not understood.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from gems_actors.backends.storyboard.english.collecting import Collector, is_human
from gems_actors.backends.storyboard.english.gates.relations import makes_sense, may_be_worn_too
from gems_actors.backends.storyboard.english.kinds import BODY_PARTS, CHARTS, CLOTHES
from gems_actors.backends.storyboard.english.short.sentence import Pending, acts, kinds_of
from gems_actors.backends.storyboard.english.short.things import Things
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, is_content
from gems_actors.backends.storyboard.english.verbs import (
    ANIMATE_ACTIONS,
    BASES,
    IMPERATIVES,
    TELLING,
    THIRD_PERSONS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    ATTACHING,
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    HAVING,
    JOINTS,
    NEGATIONS,
    PRONOUNS,
    RELATIVES,
    SAYING,
    SHARING,
    attribute_of,
    is_adverb,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.words import colour_of, is_participle, number_of, word_set

_FINITE_HAVING: Final = frozenset(("has", "have", "had"))
_INDEFINITE_ARTICLES: Final = frozenset(("a", "an"))
_NOUNS_TOO: Final = frozenset(("display", "present", "place", "set", "picture", "focus", "step", "use", "light", "aim"))
"""Imperatives that are nouns, too, so that only an object tells them."""
_NEVER_DONE: Final = frozenset(("hasn't", "haven't"))
_LIKENING: Final = frozenset(("for", "about", "than", "like", "versus", "resembling", "regarding", "unlike"))
"""Words after which a phrase names what the picture need not show: `a poster for a bakery`."""
_CHARTING: Final = word_set("showing shows comparing compares displaying depicting plotting tracking for")
_WEATHER: Final = word_set("raining snowing hailing drizzling pouring thundering")
_PLACES_ALONE: Final = word_set("underneath beneath below above behind outside inside nearby overhead alongside beside")
"""Places without an object: what stands before them is a further part of the picture."""
_WISHING: Final = word_set("imagine suppose swap replace exchange substitute pretend")
"""Words that at the beginning of a sentence say what is not so, or is to be so no more."""
_SUPPOSING: Final = word_set("if unless whether would could") | {f"{word}ever" for word in ("who", "what", "which")}


class ClauseReader(Things):
    """Reads the tokens of one prompt into a collector."""

    def read(self) -> Collector:
        """Return the things and relations of all clauses."""
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
        if word in JOINTS:
            return self._join(at)
        if end := at + 1 if word == TEXT_MARK else self.phrases.text_end(at):
            self._take_text(at, end)
            return end
        if word in TELLING and self.named_until == at:
            self.lose()
            return self._end_of_sentence(at)
        for rule in (self.partitive, self.member, self.absence, self.copula, self.relation, self.action):
            after = rule(at)
            if after is not None:
                return after
        if self.phrases.is_limit_at(at):
            return self.thing(at)
        if word in _NEVER_DONE and (is_past(self.tokens.at(at + 1)) or self.tokens.at(at + 1) == "been"):
            self.lose()  # `hasn't noticed the mouse` denies nothing that a picture shows
            return self.end_of_clause(at + 1)
        if self._is_figurative_denial(at):
            end = self.end_of_clause(at)
            self.tokens.doubt(at, end)
            self.lose()
            return end
        if word in NEGATIONS:
            self.is_negated = self.tokens.at(at + 1) != "only"
            self.tokens.use(at, at + 1)
            return at + 1
        if self._is_passed_by_clause(at):
            return self.end_of_clause(at)
        if word in _LIKENING:
            return self._likeness(at)
        if word in PRONOUNS:
            return self._pronoun(at)
        if self._is_passed_verb(at):
            self.has_predicate = True
            self.lose()
            return at + 1
        if is_adverb(word):
            return self._adverb(at)
        if word in RELATIVES and self.last:
            return self._relative(at)
        if word in RELATIVES and (self.phrases.is_passed_verb(at + 1) or is_content(self.tokens.at(at - 1))):
            return at + 2
        return self.thing(at)

    def _take_text(self, at: int, end: int) -> None:
        """Take a text and the words before it, after which a place is that of the text or of a sign."""
        self.pending = None
        if end > at + 1:
            self.tokens.use(at, end)
        is_of_text = self.tokens.at(at) == "with"  # `with the words "BACK SOON" taped to the door`: the words are
        if is_of_text or (self.last is not None and acts(self.last)):
            self.last = None  # `a teacher writing the word "PATIENCE" on a blackboard`

    def _is_figurative_denial(self, at: int) -> bool:
        """Return whether something is said never to do what it could not do, as in `a city that never sleeps`."""
        word, subject = self.tokens.at(at), self.subject
        is_habit = word in NEGATIONS - {"not"} or (word == "not" and self.tokens.at(at - 1) in {"do", "does", "did"})
        is_verb = self.tokens.at(at + 1) in BASES or self.phrases.verb_at(at + 1) is not None
        return is_habit and is_verb and subject is not None and not acts(subject) and self.pending is None

    def _adverb(self, at: int) -> int:
        """Pass by an adverb, and by a verb after it that no table has."""
        is_verb_next = self.named_until == at and self._is_unknown(at + 1)
        if is_verb_next:
            self.lose()
        return at + 1 + is_verb_next

    def _is_passed_by_clause(self, at: int) -> bool:
        """Return whether the rest of a clause is passed by: what each one does, or what would be so."""
        word, following = self.tokens.at(at), self.tokens.at(at + 1)
        is_each = word in {"each", "every"} and following != "other" and self.pending is None
        is_relative = word == "from" and following in {"which", "whom"}
        if word in _CHARTING and self.last is not None and not CHARTS.isdisjoint(self.last.split()):
            self.lose()  # `a bar chart showing sales`
            return True
        is_wish = word in _WISHING and (at == 0 or self.tokens.at(at - 1) in {".", ";"})
        if is_each or is_relative or is_wish or word in _SUPPOSING:
            self.lose(is_subject=is_relative)
            return True
        return False

    def _end_of_sentence(self, at: int) -> int:
        while self.tokens.at(at) != ".":
            at += 1
        return at

    def _likeness(self, at: int) -> int:
        """Pass by a phrase after `for`, `like` or `than`, except `than` or `about` before a number."""
        self.lose()
        if self.tokens.at(at - 1) == "of" and number_of(self.tokens.at(at + 1)) is not None:
            return at + 2  # `a boy of about ten`
        after = max(self.phrases.read(at + 1)[1], at + 1)
        is_about = self.tokens.at(after) in {"set", "about"}  # `a novel set in Rome`
        return self.end_of_clause(after) if is_about else after

    def _is_passed_verb(self, at: int) -> bool:
        """Return whether a verb that no requirement is made of stands after its subject or begins a sentence."""
        word = self.tokens.at(at)
        begins_sentence = at == 0 or self.tokens.at(at - 1) in {".", ";"}
        if begins_sentence and word in IMPERATIVES:
            following = self.tokens.at(at + 1)
            begins_object = (
                following in DETERMINERS or following in {"to", TEXT_MARK} or number_of(following) is not None
            )
            return begins_object or (word not in _NOUNS_TOO and not self.phrases.ends_at(at + 1))
        is_predicate = not begins_sentence and self.tokens.at(at - 1) not in DETERMINERS | {","}
        return is_predicate and self.phrases.is_passed_verb(at)

    def _relative(self, at: int) -> int:
        """Take `who` or `that`: what follows is about the last thing, if its verb is known."""
        self.attached = None
        self.is_relative = True
        is_of_acting = self.tokens.at(at) == "who" or self._begins_animate_action(at + 1)
        if is_of_acting and self.last is not None and not acts(self.last):
            acting = [name for name in self.clause if acts(name)]  # `a girl in boots who is crouching`
            if len(acting) != 1:
                self.lose()  # `a man with a parrot on his shoulder that is biting his ear`
                return self.end_of_clause(at) if self.tokens.at(at) == "that" else at + 2
            self.last = acting[0]
        word = self.tokens.at(at + 1)
        is_known = word in FUNCTION_WORDS or word in SAYING or self.phrases.verb_at(at + 1) or is_adverb(word)
        if is_known or self.phrases.is_participle_at(at + 1) or is_past(word):
            return at + 1
        self.lose()
        return at + 2

    def _begins_animate_action(self, at: int) -> bool:
        """Return whether a person or an animal does what follows: `is sleeping`, `barks`."""
        at += self.tokens.at(at) in COPULAS
        return (self.phrases.verb_at(at) or self.tokens.at(at)) in ANIMATE_ACTIONS

    def _is_finite(self, at: int) -> bool:
        return self.tokens.at(at) in COPULAS | HAVING | THIRD_PERSONS or self.phrases.verb_at(at) is not None

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
        if word == "as" and (end := self._comparison_end(at)):
            self.lose()
            return end
        if word == "," and (end := self._apposition(at) or self._colours_end(at)):
            return end
        if pending is not None and pending.word == "between" and pending.first and word == "and":
            return at + 1
        self.pending = None
        if (shared := self.shared) is not None and self._continues_list(at, shared):
            is_last = "and" in {word, self.tokens.at(at + 1)}
            self.pending = replace(shared, is_closed=is_last)
        return at + 1

    def _comparison_end(self, at: int) -> int:
        """Return the index after `as if it slept`, `as tall as a house` or `as a pirate`, else 0."""
        following = self.tokens.at(at + 1)
        is_measure = is_plain_adjective(self.tokens.at(at - 1)) and following in {"he", "she", "it", "they"}
        if (
            is_measure
            or following in {"if", "though", "many", "much", "long", "seen", "viewed"}
            or self.phrases.place_at(at + 1)
        ):
            return self.end_of_clause(at + 1)
        if self.tokens.at(at + 2) == "as":  # `as tall as a house`
            return max(self.phrases.read(at + 3)[1], at + 3)
        phrase, after = self.phrases.read(at + 1)
        if phrase is None or self._is_clause(at + 1, after):
            return 0
        return after  # `a dog as a pirate carrying a map`

    def _is_clause(self, at: int, after: int) -> bool:
        """Return whether what begins with a noun phrase has a finite verb, as in `as a man in a hat waves`."""
        if is_past(self.tokens.at(after)) or self.phrases.is_unknown_verb(at, after):
            return True
        return any(
            self.tokens.at(index) in COPULAS | _FINITE_HAVING
            or self.phrases.verb_at(index) is not None
            or self.phrases.is_passed_verb(index)
            for index in range(after, self.end_of_clause(after))
        )

    def _apposition(self, at: int) -> int:
        """Return the index after `, a bright yellow orb,` if it tells what the subject before it is, else 0."""
        start = at
        while start > 0 and self.tokens.at(start - 1) not in {".", ";", ","}:
            start -= 1
        if start == at or self.phrases.read(start)[1] != at or self.tokens.at(at + 1) not in _INDEFINITE_ARTICLES:
            return 0
        end = self.phrases.read(at + 1)[1]
        if self.tokens.at(end) == "and" and self.tokens.at(end + 1) in _INDEFINITE_ARTICLES:
            end = self.phrases.read(end + 1)[1]
        is_closed = self.tokens.at(end) == "," and end > at + 1
        word = self.tokens.at(end + 1)
        is_known = self.phrases.is_passed_verb(end + 1) or self.phrases.verb_at(end + 1) is not None
        is_verb = is_known or word in COPULAS | HAVING
        return end + 1 if is_closed and is_verb else 0

    def _colours_end(self, at: int) -> int:
        """Return the index after `, orange and white,`, the colours of no thing in particular, else 0."""
        end = at + 1
        while colour_of(self.tokens.at(end)) is not None and self.tokens.at(end + 1) == ",":
            end += 2
        pair = [self.tokens.at(index) for index in (end, end + 2)]
        is_list = self.tokens.at(end + 1) == "and" and all(colour_of(word) is not None for word in pair)
        end += 2
        if not is_list or self.tokens.at(end + 1) not in {",", ".", ";"}:
            return 0
        self.tokens.doubt(at + 1, end + 1)
        self.lose()
        return end + 1

    def _continues_list(self, at: int, shared: Pending) -> bool:
        """Return whether a further noun phrase without a verb of its own follows, and the list has an `and`."""
        if shared.is_closed and self.tokens.at(at) == ",":
            return False  # `with roses and tulips, a towel`
        start = at + 1 + (self.tokens.at(at + 1) in {"and", "or"})
        if self.tokens.at(at) in {"but", "while", "as", "then"} or self.tokens.at(start) in ABSENCES:
            return False
        if shared.kind == "action" and is_participle(self.tokens.at(start)):
            return False  # `peeling onions and chopping carrots`
        is_apart = self.tokens.words[start - 2 : start] == [",", "and"]
        is_apart = is_apart and (self.begins_phrase(start) or self.begins_phrase(shared.span[1]))
        if is_apart and "," not in self.tokens.words[shared.span[1] : start - 2]:
            return False  # `a bed covered with a quilt, and a shelf`
        phrase, after = self.phrases.read(start)
        is_worn = shared.word in {"wearing", "dressed in", "clad in"}
        makes = may_be_worn_too if is_worn else partial(makes_sense, shared.word)
        if phrase is not None and (not makes(phrase.thing.name) or self.is_in_view(after)):
            return False  # `a woman in a hat and a man`
        is_bare = phrase is not None and phrase.stated is None and not phrase.is_definite
        is_part = is_bare and phrase is not None and not phrase.is_plural and not acts(phrase.thing.name)
        is_finite = self.phrases.verb_at(after) is not None or self.phrases.is_passed_verb(after)
        if phrase is not None and is_finite and not self.has_predicate and shared.word == "with" and not is_bare:
            return True  # `a glass with a slice of lemon and a sprig of mint stands on a railing`
        if phrase is not None and not is_bare and self.tokens.at(after) in THIRD_PERSONS:
            return False  # `a mill with red sails, and a stream spills over its edge`
        is_part_of = phrase is not None and not kinds_of(phrase.thing.name).isdisjoint(CLOTHES | BODY_PARTS)
        is_owned = self.begins_phrase(shared.span[1]) and (is_part_of or acts(shared.subject))
        is_placed = self.phrases.place_at(after) > 0 and not is_owned  # `a mill with a door and a car on a road`
        if shared.word == "with" and (
            self.tokens.at(after) in {"with", "without"} or (is_placed and self.begins_phrase(start))
        ):
            return False  # `a robot with a loose arm and a doll with a torn dress`
        if after == start + 1 and self.tokens.at(start) in THIRD_PERSONS and shared.word not in SHARING:
            return False  # `leans on a railing and smokes`
        is_verb_next = self.tokens.at(after) not in COPULAS | HAVING and self.phrases.verb_at(after) is not None
        if phrase is None or (
            self.phrases.begins_predicate(phrase, after)
            and not (is_part and is_verb_next and shared.word == "with" and acts(shared.subject))
        ):
            return False
        place = self.phrases.place_at(after)
        if (place and self.tokens.at(after + place) in PRONOUNS) or self.tokens.at(after) in _PLACES_ALONE:
            return False  # `a soup with noodles and chopsticks beside it`, `and sandals underneath`
        is_bare_list = shared.word not in ATTACHING and not self.begins_phrase(shared.span[1])
        if is_bare_list and self.begins_phrase(start):
            return False  # `covered in flour, a rolling pin, and a tray`
        if shared.word not in SHARING and not self.phrases.ends_at(after):
            return False  # `stars on the ceiling and toys scattered across the rug`
        if shared.word not in SHARING:
            return is_bare and self.tokens.at(at) == "and" and shared.word != "between"
        if self.tokens.at(at) != ",":
            return True
        if self.tokens.at(at + 1) in {"and", "or"} or self.tokens.at(after) in {"and", "or"}:
            return True
        return self.tokens.at(after) == "," and self.tokens.at(after + 1) in {"and", "or"}

    def _pronoun(self, at: int) -> int:
        """Take a pronoun if there is only one thing that it can mean, as a subject or as the object of a relation."""
        pending, self.pending = self.pending, None
        if pending is None and self.named_until == at and self._is_finite(at + 1):
            end = self.end_of_clause(at)
            self.tokens.doubt(at, end)
            self.lose()  # `the pumpkin he is hugging`
            return end
        if pending is None and self.tokens.at(at + 1) in COPULAS and self.tokens.at(at + 2) in _WEATHER:
            self.lose(is_subject=True)  # `it is raining`
            return at + 3
        if pending is None:
            is_person = self.tokens.at(at) in {"he", "she"}
            things = [name for name in self.found.things if not is_person or is_human(name)]
            self.lose()
            if len(things) != 1 or "'s " in things[0]:
                return at + 1 + (self.phrases.verb_at(at + 1) is not None or self.tokens.at(at + 1) in HAVING)
            self.start_clause(things[0])
            return at + 1
        if self.tokens.at(pending.span[0] - 1) in JOINTS and self.begins_phrase(at + 1):
            self.tokens.doubt(pending.span[0], at + 1)
            self.lose(is_subject=True)  # `a bowl of cherries, next to it a spoon`
            return at + 1
        is_person = self.tokens.at(at) in {"he", "she", "him", "her"}
        others = [name for name in self.found.things if name != pending.subject]
        others = [name for name in others if not (is_person and not acts(name))]
        if len(others) != 1:
            self.tokens.doubt(pending.span[0], at + 1)
        elif not pending.is_negative:
            self.found.relate(pending.subject, pending.word, (others[0],), pending.kind)
            self.tokens.use(pending.span[0], at + 1)
        return at + 1
