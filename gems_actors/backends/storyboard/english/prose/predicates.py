"""Takes what a clause of prose says of its subject, as far as nothing stands between them that is not understood."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.collecting import Collector
from gems_actors.backends.storyboard.english.gates.relations import makes_sense
from gems_actors.backends.storyboard.english.kinds import CLOTHES, PAIRED, SCENES
from gems_actors.backends.storyboard.english.phrases import PhraseReader
from gems_actors.backends.storyboard.english.prose.order import COVERED, Order
from gems_actors.backends.storyboard.english.short.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.verbs import (
    ANIMATE_ACTIONS,
    SINGULAR_VERBS,
    TAKING_FORMS,
    TRANSITIVE,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import COMPARATIVES, STATES, VACUOUS
from gems_actors.backends.storyboard.scene import RelationKind
from gems_actors.backends.storyboard.words import NOUNS_IN_ING, PLACES, is_participle, place_name

_UNSURE_PLACES: Final = frozenset(("between", "in between", "into", "on the left side of", "on the right side of"))
_BESIDE: Final = frozenset(("left of", "right of"))
"""Places that in a scene are a side of it: `on the left of the room`."""
_OF_HOLDERS: Final = frozenset(("holding", "carrying", "wearing"))
_ATTACHING: Final = {"has": "with"} | {word: word for word in ("with", "in", "wearing", "holding", "carrying")}


class PredicateReader:
    """Reads the clauses of one sentence into a collector."""

    def __init__(self, order: Order, phrases: PhraseReader, found: Collector) -> None:
        """Read from these chunks; what they say is added to what was found."""
        self._order = order
        self._phrases = phrases
        self._tokens = phrases.tokens
        self._found = found

    def read(self, index: int, name: str) -> None:
        """Take what the words after a subject say of it."""
        order = self._order
        at = order.skip_adverbs(index + 1)
        if self._attach(at, name):
            at = self._attach_last(at, name)
            if order.kind(at) not in {"verb", "be"}:
                return
        if order.kind(at) == "be":
            at = order.skip_adverbs(at + 1)
            if self._describe(at, name):
                return
        start, verb = at, ""
        if order.kind(at) in {"verb", "participle"}:
            verb = self._participle_of(at)
            at = order.skip_adverbs(at + 1)
            if not verb or order.kind(at) in {"end", "joint"}:
                self._act(start, name, verb)
                return
        place = order.word(at) if order.kind(at) == "place" else ""
        at += bool(place)
        if (verb or place) and order.there.get(at):
            self._relate(name, verb, place, order.there[at], (start, at))

    def _attach(self, at: int, name: str) -> bool:
        """Take `with a hat` or `in a coat` right after a subject; return whether it stands there."""
        word = _ATTACHING.get(self._order.word(at))
        if word is None or at + 1 not in self._order.there:
            return False
        if target := self._order.there[at + 1]:
            verb, place = ("", word) if word in PLACES else (word, "")
            self._relate(name, verb, place, target, (at, at + 1))
        return True

    def _attach_last(self, at: int, name: str) -> int:
        """Take the last member of `with a cap and a scarf` before the verb of the subject; return where the verb is."""
        order, after = self._order, at + 2
        target = order.there.get(after + 1, "")
        end = order.skip_adverbs(after + 2)
        if not target:
            return after
        is_list = order.word(after) == "and" and not acts(target) and order.kind(at) != "have"
        is_one = order.kind(end) in {"verb", "be"} and order.word(end).endswith("s")  # of `a man with a cart wait`, not
        is_worn = order.word(at) != "in" or not CLOTHES.isdisjoint(kinds_of(target))
        if not (is_list and is_one and is_worn):
            return after
        verb, place = ("", order.word(at)) if order.word(at) in PLACES else (order.word(at), "")
        self._relate(name, verb, place, target, (after, after + 1))
        return end

    def _describe(self, at: int, name: str) -> bool:
        """Take the adjectives after `is`; return whether there are any."""
        if self._order.kind(at) in {"end", "cut"}:
            return False
        start = self._order.chunks[at].start
        words, after = self._phrases.read_attributes(start)
        while self._order.kind(at) not in {"end", "cut"} and self._order.chunks[at].start < after:
            at += 1
        if self._order.kind(at) not in {"end", "joint"} or not words:
            return False
        if any(self._is_verbal(word) or word in VACUOUS | COMPARATIVES for word in words):
            return False
        for word in words:
            self._found.describe(name, attribute=word)
        self._tokens.use(start, after)
        return True

    def _is_verbal(self, word: str) -> bool:
        return (is_past(word) or is_participle(word)) and word not in STATES

    def _act(self, at: int, name: str, verb: str) -> None:
        """Take an action without an object."""
        is_said = is_participle(verb) and verb not in TRANSITIVE
        if acts(name) and is_said and self._found.describe(name, action=verb):
            self._tokens.use(self._order.chunks[at].start, self._order.chunks[at].end)

    def _relate(self, name: str, verb: str, place: str, target: str, chunks: tuple[int, int]) -> None:
        """Add a relation whose words are all known, and which stands in the chunks from the first up to the second."""
        is_beside_scene = PLACES.get(place) in _BESIDE and target.split()[-1] in SCENES
        if place in _UNSURE_PLACES or is_beside_scene or not {name, target} <= self._found.things.keys():
            return
        if verb in NOUNS_IN_ING and place:
            return  # `the artist painting at the easel` could be a painting
        if place and verb in ANIMATE_ACTIONS - _OF_HOLDERS and not acts(name):
            return  # `a radio plays on a shelf`
        if is_past(verb):
            if not place or (place in {"with", "by"} and verb not in COVERED):
                return
        elif verb and place == "with":
            return
        full = place if verb in VACUOUS | {"set"} else f"{verb} {place}".strip()
        word = place_name(full, target)
        if not makes_sense(word, target):
            return
        kind: RelationKind = "position" if full in PLACES else "action"
        is_alone = target.split()[-1] in PAIRED and self._found.things[target].count == 1
        if word == "inside" and not is_alone and not CLOTHES.isdisjoint(kinds_of(target)):
            if not acts(name):
                return
            word, kind = "wearing", "action"
        self._found.relate(name, word, (target,), kind)
        first, last = (self._order.chunks[at] for at in chunks)
        self._tokens.use(first.start, last.start)

    def _participle_of(self, at: int) -> str:
        word = self._order.word(at)
        if self._order.kind(at) == "participle":
            return word
        known = self._phrases.verb_at(self._order.chunks[at].start)
        return known or TAKING_FORMS.get(word, "") or SINGULAR_VERBS.get(word, "")
