"""Reads clauses: which thing does what, where it is, and what is said not to be there.

A small machine that goes from word to word. It knows the last thing, the subject of the clause and the relation whose
object is still to come. What it cannot use stays unused, and is reported as not understood.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.english.collecting import Collector
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.predicates import Predicates
from gems_actors.backends.storyboard.english.sentence import Pending, acts
from gems_actors.backends.storyboard.english.tokens import EMOJI, TEXT_MARK, is_content
from gems_actors.backends.storyboard.english.verbs import (
    IMPERATIVES,
    NOUNS_MOSTLY,
    PASSED_VERBS,
    SINGULAR_VERBS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    COPULAS,
    DETERMINERS,
    FUNCTION_WORDS,
    HAVING,
    JOINTS,
    MISSING,
    NEGATIONS,
    PRONOUNS,
    SAYING,
    SHARING,
    attribute_of,
    is_adverb,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.words import NOUNS_IN_ING, colour_of, number_of

_INDEFINITE_ARTICLES: Final = frozenset(("a", "an"))
_NOUNS_TOO: Final = frozenset(("display", "present", "place", "set", "picture", "focus", "step", "use", "light", "aim"))
"""Imperatives that are nouns, too, so that only an object tells them."""
_NEVER_DONE: Final = frozenset(("hasn't", "haven't"))
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
_TEMPORAL: Final = frozenset(("before", "after", "until", "during", "since", "because", "despite", "off"))
"""Words after which a phrase names what is not there, or not now."""
_RELATIVES: Final = frozenset(("that", "which", "who", "whose"))


class ClauseReader(Predicates):
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
            if word == "with":
                self.last = None  # `with the words "BACK SOON" taped to the door`: the words are
            return end
        for rule in (self.partitive, self.member, self.absence, self.copula, self.relation, self.action):
            after = rule(at)
            if after is not None:
                return after
        if word in _NEVER_DONE and is_past(self.tokens.at(at + 1)):
            self.lose()  # `hasn't noticed the mouse` denies nothing that a picture shows
            return self.end_of_clause(at + 1)
        if word in NEGATIONS:
            self.is_negated = self.tokens.at(at + 1) != "only"
            self.tokens.use(at, at + 1)
            return at + 1
        if word in PRONOUNS:
            return self._pronoun(at)
        if word in {"one", "ones"} and (is_plain_adjective(self.tokens.at(at - 1)) or self.tokens.at(at - 1) == "each"):
            self.lose(is_subject=True)  # `the younger one decorates a tower`
            return at + 1
        if self._is_passed_verb(at):
            self.lose()
            return at + 1
        if is_adverb(word):
            is_verb_next = self.named_until == at and self._is_unknown(at + 1)
            if is_verb_next:
                self.lose()
            return at + 1 + is_verb_next
        if word in _RELATIVES and self.last:
            return self._relative(at)
        if word in _RELATIVES and self.tokens.at(at + 1) in PASSED_VERBS:
            return at + 2
        return self._thing(at)

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
        return word in PASSED_VERBS and not begins_sentence and self.tokens.at(at - 1) not in DETERMINERS | {","}

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
        if word == "but" and self.tokens.at(at - 1) in {"everything", "anything", "everyone", "all"}:
            self.lose()
            return self.end_of_clause(at + 1)
        if word == "," and (end := self._apposition(at)):
            return end
        if pending is not None and pending.word == "between" and pending.first and word == "and":
            return at + 1
        self.pending = None
        if (shared := self.shared) is not None and self._continues_list(at, shared):
            is_last = "and" in {word, self.tokens.at(at + 1)}
            self.pending = replace(shared, is_closed=is_last)
        return at + 1

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
        is_verb = word in COPULAS | HAVING | PASSED_VERBS or self.phrases.verb_at(end + 1) is not None
        return end + 1 if is_closed and is_verb else 0

    def _continues_list(self, at: int, shared: Pending) -> bool:
        """Return whether a further noun phrase without a verb of its own follows, and the list has an `and`."""
        if shared.is_closed and self.tokens.at(at) == ",":
            return False  # `with roses and tulips, a towel`
        start = at + 1 + (self.tokens.at(at + 1) in {"and", "or"})
        if self.tokens.at(at) in {"but", "while", "as", "then"} or self.tokens.at(start) in ABSENCES:
            return False
        phrase, after = self.phrases.read(start)
        is_bare = phrase is not None and phrase.stated is None and not phrase.is_definite
        is_part = is_bare and phrase is not None and not phrase.is_plural and not acts(phrase.thing.name)
        is_verb_next = self.tokens.at(after) not in COPULAS | HAVING and self.phrases.verb_at(after) is not None
        if phrase is None or (
            self.phrases.begins_predicate(phrase, after)
            and not (is_part and is_verb_next and shared.word == "with" and acts(shared.subject))
        ):
            return False
        place = self.phrases.place_at(after)
        if place and self.tokens.at(after + place) in PRONOUNS:
            return False  # `a soup with noodles and chopsticks beside it`
        if shared.word not in SHARING:
            return is_bare and self.tokens.at(at) == "and" and shared.word != "between"
        if self.tokens.at(at) != ",":
            return True
        if self.tokens.at(at + 1) in {"and", "or"} or self.tokens.at(after) in {"and", "or"}:
            return True
        return self.tokens.at(after) == "," and self.tokens.at(after + 1) in {"and", "or"}

    # Things

    def _thing(self, at: int) -> int:
        phrase, after = self.phrases.read(at)
        word = self.tokens.at(at)
        is_cut_short = self.phrases.is_unknown_verb(at, after)
        if phrase is not None and self._is_verb(phrase, at, after):
            self.lose()
            return after
        is_colour = colour_of(word) is not None and after == at + 1 and self.tokens.at(at - 1) in JOINTS
        if is_colour and colour_of(self.tokens.at(at - 2)) is not None:  # `swirls of teal and orange`
            self.lose()
            return after
        if phrase is None or not self._is_named(phrase, at, after):
            if after > at + 1 or (is_content(word) and not is_adverb(word)):
                before = self.tokens.at(at - 1)
                self.lose(is_subject=self.pending is None and (at == 0 or before in JOINTS | {".", ";"}))
            return max(after + is_cut_short, at + 1)
        if self.is_denied(phrase, at, after):
            return after
        is_elsewhen = self.pending is None and self.tokens.at(at - 1) in _TEMPORAL and not acts(phrase.thing.name)
        if is_elsewhen or self._is_missing(phrase, after) or self._is_of_the_picture(phrase):
            self.lose()
            return after
        is_another = phrase.stated == 1 and not phrase.thing.attributes and not self.is_prose
        if is_another and phrase.thing.name in self.found.things and self.tokens.at(at) in _INDEFINITE_ARTICLES:
            self.lose()  # `a panda next to a panda`
            self.tokens.doubt(at, after)
            return after
        is_object = self.pending is None and self._follows_unread(at) and self.tokens.at(at) not in _RELATIVES
        name = self.add(phrase, at, after)
        if name is None:
            self.pending = None
            return after
        if is_object:  # of a word that was not understood: no subject of what follows
            self.lose()
            is_passed = self.tokens.at(at - 1) in _THROUGH | {"of"}
            self.last = self.unowned = None if is_passed else name
        else:
            self.complete(name)
        if phrase.is_plural and (self.group is None or self.attached != self.group):
            self.group = name  # in `two women in red dresses, one tall`, `one` is a woman
        self.named_until = after
        if is_cut_short:
            self.lose()
            return after + 1
        return after

    def _is_missing(self, phrase: Phrase, after: int) -> bool:
        """Return whether a phrase names what is not there: `a missing tooth`, `one piece missing`."""
        following = self.tokens.at(after + 1)
        begins_object = following in DETERMINERS or number_of(following) is not None
        is_so = self.tokens.at(after) in MISSING and not begins_object
        return is_so or not MISSING.isdisjoint(phrase.thing.attributes)

    def _is_of_the_picture(self, phrase: Phrase) -> bool:
        """Return whether a phrase is `the frame` of the picture, and not one that was named before."""
        return phrase.is_definite and phrase.thing.name == "frame" and "frame" not in self.found.things

    def _follows_unread(self, at: int) -> bool:
        """Return whether the word before is a verb or another word that was not understood."""
        word = self.tokens.at(at - 1)
        is_joint = at == 0 or word in JOINTS | {".", ";", TEXT_MARK}
        is_unread = is_content(word) and not is_adverb(word) and word not in _PRESENTING
        is_passed = word in _THROUGH or (word, self.tokens.at(at - 2)) == ("of", "out")
        return not is_joint and (is_unread or is_passed) and not self.tokens.is_used[at - 1]

    def _is_verb(self, phrase: Phrase, at: int, after: int) -> bool:
        """Return whether bare words are no thing: `grips a rock`, `to attract a mate`."""
        is_bare = phrase.stated is None and not phrase.is_definite and not phrase.thing.attributes
        if not is_bare or self.tokens.words[at].startswith(EMOJI):
            return False
        word, before = self.tokens.at(at), self.tokens.at(at - 1)
        if word in NOUNS_IN_ING and before in COPULAS and after == at + 1:
            return True  # `a train is crossing`
        is_finite = word in SINGULAR_VERBS and word not in NOUNS_MOSTLY and after == at + 1
        if is_finite and at > 0 and before not in JOINTS | {".", ";"} and self.pending is None:
            return True  # `another one waits`
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
        if len(others) != 1:
            self.tokens.doubt(pending.span[0], at + 1)
        elif not pending.is_negative:
            self.found.relate(pending.subject, pending.word, (others[0],), pending.kind)
            self.tokens.use(pending.span[0], at + 1)
        return at + 1
