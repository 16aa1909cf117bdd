"""Reads predicates: what a thing is and what it does."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.gates.relations import is_figurative
from gems_actors.backends.storyboard.english.kinds import BODY_PARTS, CLOTHES
from gems_actors.backends.storyboard.english.short.places import Places
from gems_actors.backends.storyboard.english.short.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK
from gems_actors.backends.storyboard.english.verbs import (
    BASES,
    INTRANSITIVE,
    PURPOSES,
    SINGULAR_VERBS,
    THIRD_PERSONS,
    TRANSITIVE,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    COPULAS,
    DEGREES,
    DETERMINERS,
    FUNCTION_WORDS,
    JOINTS,
    MISSING,
    NEGATIONS,
    NEGATIVE_COPULAS,
    PARTICLES,
    POSSESSIVES,
    PRONOUNS,
    VACUOUS,
    attribute_of,
    is_abstract,
    is_adverb,
    is_plain_adjective,
)
from gems_actors.backends.storyboard.scene import RelationKind
from gems_actors.backends.storyboard.words import (
    NOUNS_IN_ING,
    PLACES,
    is_participle,
    number_of,
    surface_of,
    word_set,
)

_GERUNDS_AFTER: Final = frozenset(("after", "before", "by", "for", "of", "to", "from", "when", "until", "in", "about"))
"""Words after which a participle says nothing of the thing before."""
_NEARLY: Final = DEGREES | {"never"}
_REACHING: Final = frozenset(("reaching", "grabbing", "grasping", "set"))
_MAX_GUISE_WORDS: Final = 6
_PERSONAL: Final = frozenset(("wearing", "riding", "driving", "cruising", "eating", "drinking", "walking", "reading"))
_PHOTOGRAPHED: Final = frozenset(("viewed", "photographed", "shot", "filmed", "pictured"))
"""Participles that tell how a picture was taken."""
_WITHOUT_OBJECT: Final = frozenset(("standing", "sitting", "lying", "kneeling", "sleeping"))
_SELVES: Final = word_set("itself himself herself themselves it them him her me us you something someone nothing")
_THINKING: Final = frozenset(("dreaming", "thinking", "reading", "talking", "singing"))
"""What somebody has in mind after `of` or `about`."""
_IN_MEDIUM: Final = frozenset(("in", verb) for verb in ("written", "signed", "scrawled", "drawn"))
"""After which a medium is no thing: `a letter written in pencil`."""
_FOR_PURPOSES: Final = word_set(
    "glasses bag bags shoes boots trunks suit suits cap caps goggles pool stick sticks lights board boards table mat "
    "mats machine machines pan pans pot pots gear cart carts basket baskets rod rods chair chairs lesson lessons"
)
"""Things that a participle before them tells the purpose of: shopping bags, reading glasses."""
_MADE: Final = word_set(
    "built made painted drawn written carved knitted designed photographed created invented founded abandoned crafted "
    "sewn woven sculpted composed baked cooked left sent donated owned"
)
"""What was done before, so that who did it need not be there."""
_ENDINGS: Final = frozenset(
    (",", ".", ";", TEXT_MARK, "and", "or", "but", "while", "as", "with", "without", "who", "that")
)
"""What may follow an action without an object."""


class Predicates(Places):
    """The rules for predicates."""

    def copula(self, at: int) -> int | None:
        """Take `is red and shiny`, or pass by a copula before a place or an action."""
        if self.tokens.at(at) not in COPULAS | NEGATIVE_COPULAS:
            return None
        start = at + 1
        self.has_predicate = True
        if self.tokens.at(at - 1) == "to":
            self.lose(is_subject=True)  # `waiting to be kissed`
            return self.end_of_clause(at)
        if self.tokens.at(start) in MISSING:
            self.lose(is_subject=True)
            return start
        is_negated = self.tokens.at(start) in NEGATIONS or self.tokens.at(at) in NEGATIVE_COPULAS
        start += self.tokens.at(start) in NEGATIONS
        words, after = self.phrases.read_attributes(start)
        subject = self.subject
        self.last = self.last and subject
        self.clause = [subject] if subject is not None else []
        is_action = len(words) == 1 and is_participle(words[0]) and surface_of(words[0]) is None
        if words and VACUOUS.issuperset(words):
            if words == ("arranged",) and self.tokens.at(after) == "in":
                return self.phrases.read(after + 1)[1]
            if not self.phrases.place_at(after):
                self.lose()
            return after
        if words and self.has_exception(after):
            self.lose()  # `all are empty except one`
            return after
        if words and subject is not None and not is_action and not self._takes_object(words[-1], after):
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

    def _takes_object(self, word: str, after: int) -> bool:
        """Return whether a participle and a place or particle after it are a relation: `is parked in front of`."""
        is_verbal = is_past(word) or is_participle(word) or word == "full"
        return is_verbal and (self.tokens.at(after) in PLACES or self.tokens.at(after) in PARTICLES)

    def action(self, at: int) -> int | None:
        """Take an action or a state: `chasing a ball`, `sits on a mat`, `perched on a branch`, `running`."""
        word = self.tokens.at(at)
        if self.last is None and self.agent is None and self.head is None:
            return None
        if self._is_nearly_so(at):
            self.lose()
            return at + 1
        if self.tokens.at(at - 1) in JOINTS and word in PURPOSES and self.tokens.at(at + 1) in _FOR_PURPOSES:
            return None  # `a candle next to a book and reading glasses`
        if word == "resembling":
            return None
        if word in _PHOTOGRAPHED:
            self.lose()
            return self.end_of_clause(at)
        if self.tokens.at(at - 1) in PLACES and not self.phrases.is_participle_at(at) and not is_past(word):
            return None  # `with picks and ropes`
        is_listed = is_past(word) and self.tokens.at(at - 1) in JOINTS
        is_named = word in PURPOSES and self.tokens.at(at - 1) in JOINTS and not (self.agent or self.has_predicate)
        if (is_listed or is_named or word in INTRANSITIVE) and self._is_before_noun(at):
            return None  # `a skull and wilting tulips`, `a sail and patched flags`
        if word == "arranged" and self.tokens.at(at + 1) == "in":
            return self.phrases.read(at + 2)[1]  # `arranged in a circle` is inside no circle
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
        subject = self.subject if finite and is_next else self.owner_of_action(at)
        if finite and not is_next and self.tokens.at(at - 1) == "and":
            subject = self.head  # `holds a shield painted with a raven and raises an axe`
        if finite and self.is_rivalled and word in SINGULAR_VERBS:
            self.lose(is_subject=True)  # `a glass with ice on the rim and a straw stands on a table`
            return at + 1
        if subject is None or (self.pending is not None and finite is None):
            return None
        verb = finite or word
        if finite is None and (end := self._past_end(at)) is not None:
            return end
        kinds = kinds_of(subject)
        if verb in NOUNS_IN_ING and self.tokens.at(at + 1) not in DETERMINERS:
            self.lose()  # `crossing between the towers` could be a crossing
            return at + 1
        is_text = verb == "reading" and self.phrases.read(at + 1)[0] is None and not acts(subject)
        if is_text and self.tokens.at(at - 1) not in JOINTS:
            return at + 1  # `a bubble reads clearly`, and then a text
        if verb in _PERSONAL and not kinds.isdisjoint(CLOTHES | BODY_PARTS):
            self.lose()  # no beard wears sunglasses; who does was not understood
            return at + 1
        self.has_predicate = self.has_predicate or finite is not None
        return self._predicate(at, verb, subject)

    def _past_end(self, at: int) -> int | None:
        """Return the index after what was done before or by somebody who need not be there; None if it is neither."""
        word, following = self.tokens.at(at), self.tokens.at(at + 1)
        if word == "getting":
            self.lose()  # `getting its mane trimmed`
            return self.end_of_clause(at)
        if word in _MADE and following == "by":
            self.lose()  # `a tree house built by children`
            return max(self.phrases.read(at + 2)[1], at + 2)
        if is_past(word) and self.begins_phrase(at + 1):
            self.lose(is_subject=True)  # `the firefighter who rescued the kitten`, `a soldier handed a letter by a boy`
            return self.end_of_clause(at)
        return None

    def _is_nearly_so(self, at: int) -> bool:
        """Return whether an adverb before a verb says that it is not wholly so: `half buried`, `nearly touches`."""
        while is_adverb(self.tokens.at(at - 1)):
            at -= 1
            if self.tokens.at(at) in _NEARLY:
                return True
        return False

    def _is_before_noun(self, at: int) -> bool:
        word = self.tokens.at(at + 1)
        is_other = word in DETERMINERS or is_adverb(word) or self.phrases.place_at(at + 1) > 0 or word in PARTICLES
        return word.isalpha() and not is_other and not self.phrases.ends_at(at + 1)

    def _predicate(self, at: int, verb: str, subject: str) -> int:
        """Take the object of an action; without one, the action is a property of its subject."""
        after = at + 1
        while is_adverb(self.tokens.at(after)) or self.tokens.at(after) == "together":
            after += 1
        if self._is_supposed(verb, after):
            self.lose()
            return self.end_of_clause(after + 1)
        if self.tokens.at(after) in {"as", "like"}:
            return self._guise(at, after, subject)
        length = self.phrases.place_at(after)
        particle = self.tokens.phrase(after, after + length) if length else ""
        if not length and self.tokens.at(after) in PARTICLES:
            particle, length = self.tokens.at(after), 1
        if particle == "of" and after > at + 1:
            self.lose()  # `runs ahead of a horse`
            return after + 1
        if particle == "for" and verb not in _REACHING:
            self.lose()  # `decorated for a wedding` has no wedding to draw, `waiting for a train` no train yet
            return max(self.phrases.read(after + 1)[1], after + 1)
        is_out = (particle, self.tokens.at(after + length)) == ("out", "of")
        if verb == "made" and (is_out or particle in {"of", "from"}):
            return self._material(at, after + length + is_out, subject)
        full = f"{verb} {particle}".rstrip()
        end = after + length
        if particle == "with" and self._is_manner(end):  # `rests with its blade up`
            self.lose()
            return end
        if particle and self.names_idiom(end):
            self.lose()  # `shouting at the top of its lungs`
            return self.phrases.read(end)[1]
        if length and self.tokens.at(end) in PARTICLES | {"onto"}:
            self.lose()  # `looking out onto a city`: two prepositions in a row are no relation of ours
            return end + 1
        negative = "not " if self.is_negated else ""
        self.is_negated = False
        phrase, after_phrase = self.phrases.read(end)
        is_in_mind = (particle in {"of", "about"} and verb in _THINKING) or (particle, verb) in _IN_MEDIUM
        is_idiom = phrase is not None and not particle and is_figurative(verb, phrase.thing.name)  # `taking a bow`
        is_lit = particle in {"in", "by"} and self.is_ambient(end)  # `bathed in the evening sun`
        if is_in_mind or is_idiom or is_lit:
            self.lose()
            return after_phrase
        if particle == "between" and phrase is not None and not phrase.is_plural:
            full = particle  # `stuck between the hoop and the board` has two objects
        kind: RelationKind = "position" if full in PLACES else "action"
        full = PLACES.get(full, full)
        self.agent = subject
        self.verb = ""
        if verb in _WITHOUT_OBJECT and not particle and phrase is not None:
            self.lose(is_subject=True)  # `on an easel stands a portrait`
            return at + 1
        is_object = phrase is not None and (bool(particle) or not is_past(verb))
        if is_object or (particle and self.tokens.at(end) in PRONOUNS):
            self.expect(subject, negative + full, kind, (at, end), is_negative=bool(negative))
            return end
        if is_past(verb):
            return self._state(at, end, after_phrase, subject, negative)
        return self._without_object(at, after, particle, subject, negative + verb)

    def _is_supposed(self, verb: str, at: int) -> bool:
        """Return whether what follows a verb says that nothing of it, or that something else, may be so."""
        word, following = self.tokens.at(at), self.tokens.at(at + 1)
        is_likened = word == "as" and following in {"if", "though"}  # `fingers curled as though they held a hand`
        is_further = word in NOUNS_IN_ING and following in DETERMINERS  # `who never smiles painting a portrait`
        is_further = is_further or (is_participle(word) and verb not in TRANSITIVE)
        return is_likened or (self.is_negated and is_further)

    def _is_manner(self, at: int) -> bool:
        """Return whether `with` tells how something is done: `rests with its blade up`, `plays with closed eyes`."""
        phrase = self.phrases.read(at)[0]
        is_part = phrase is not None and not kinds_of(phrase.thing.name).isdisjoint(BODY_PARTS)
        return is_part or self.tokens.at(at) in POSSESSIVES

    def _without_object(self, at: int, after: int, particle: str, subject: str, action: str) -> int:
        """Take an action whose object was not understood, or that has none, as a property of its subject."""
        end = after + len(particle.split())
        if action in TRANSITIVE and (particle or self.tokens.at(end) in _SELVES or self.tokens.at(end) in _ENDINGS):
            end += self.tokens.at(end) in _SELVES
            self.tokens.doubt(at, max(end, after))  # `looking at itself`
            self.tokens.use(at, end)
            self.lose()
        elif particle and (action.startswith("not ") or (self.tokens.at(end) in DETERMINERS and not acts(subject))):
            self.lose()  # `running down its side` says something else than `running`
        elif particle or self.tokens.at(at + 1) == "together" or self.tokens.at(after) in _ENDINGS:
            if self.found.describe(subject, action=action):
                self.tokens.use(at, at + 1)
            if particle and self.tokens.at(end) not in _ENDINGS:
                self.lose()  # where or at what it acts was not understood
                return end
        else:
            self.lose()  # its object was not understood
        return max(at + 1, after if particle else end)

    def _guise(self, at: int, after: int, subject: str) -> int:
        """Take `dressed as a pirate` or `shaped like a fig`, which name nothing to draw."""
        phrase, end = self.phrases.read(after + 1)
        if phrase is None:
            self.lose()
            return after
        is_short = end - at <= _MAX_GUISE_WORDS and is_past(self.tokens.at(at)) and not self.is_negated
        if is_short and self.found.describe(subject, attribute=self.tokens.phrase(at, end)):
            self.tokens.use(at, end)
        self.lose()  # `used as a bathtub by a frog`
        return end

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
        if self.tokens.at(at) in VACUOUS | {"set"} and len(words) == 1:
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
        _, after = self.phrases.read(start)
        while after > start + 1 and is_participle(self.tokens.at(after - 1)):
            after -= 1  # `made of stained glass hanging in a window`
        if after > start + 1 and self.tokens.at(after - 1) in BASES | THIRD_PERSONS:
            self.lose()  # `made of woven rattan hang`
            return after
        if after > start + 1:  # `made of ice cream`
            material = f"made of {self.tokens.phrase(start, after)}"
        after = max(after, start + 1)
        if self.is_negated:
            material = f"not {material}"
        if self.found.describe(subject, attribute=material):
            self.tokens.use(at, after)
        return after
