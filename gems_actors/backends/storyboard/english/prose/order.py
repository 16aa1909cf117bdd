"""Decides by the order of a sentence's chunks which of its things are there."""

from __future__ import annotations

from typing import Final, Literal

from gems_actors.backends.storyboard.english.gates.relations import is_figurative
from gems_actors.backends.storyboard.english.kinds import CLOTHES
from gems_actors.backends.storyboard.english.prose.chunks import Chunk, Kind
from gems_actors.backends.storyboard.english.prose.nouns import is_concrete
from gems_actors.backends.storyboard.english.short.sentence import kinds_of
from gems_actors.backends.storyboard.english.tokens import Tokens
from gems_actors.backends.storyboard.english.verbs import TAKING_FORMS, is_past
from gems_actors.backends.storyboard.english.vocabulary import DEGREES, is_adverb
from gems_actors.backends.storyboard.words import PLACES, PLURAL_ONLY, word_set

PREDICATES: Final = frozenset(("verb", "be", "have"))
_AFTER_THINGS: Final = PREDICATES | {"joint", "place", "participle", "relative", "end", "cut"}
_PREPOSITIONS: Final = frozenset(("from", "for", "to", "into", "onto", "off"))
"""Words after which nothing more is said of the thing before them."""
_UNSURE_PLACES: Final = frozenset(("toward", "past", "by", "with"))
"""Places whose object may be out of the picture, or no thing."""
_SHAPES: Final = word_set("ring star arch pyramid column chain knot braid bun ball crescent cross bow wave cloud web")
"""Things that `in` does not name where it tells a shape."""
_POSTURES: Final = word_set(
    "stands stand sits sit lies lie hangs hang rests rest leans lean floats float hovers hover perches perch sleeps "
    "sleep kneels kneel"
)
"""Verbs that stand before their subject, as in `behind it stands a vase`."""
COVERED: Final = word_set(
    "covered filled decorated adorned topped lined surrounded flanked framed bordered dotted dusted wrapped laden "
    "stacked piled packed cluttered crowded draped strewn scattered garnished trimmed overgrown loaded stuffed fitted"
)
"""Participles after which `with`, `in` or `by` names what is there."""
_SHOWING: Final = frozenset(("show", "shows", "showing", "display", "displays", "displaying"))
"""What something shows is in its own picture."""
_CARRIERS: Final = word_set(
    "patch patches logo badge emblem tattoo screen screens monitor monitors display television tv phone mirror card "
    "label stamp medallion flag banner crest coin sticker tapestry dial gauge"
)
"""What shows a picture of its own."""
_MADE: Final = word_set("illustration painting drawing image artwork picture poster artist style composition render")
_NEARLY: Final = DEGREES | {"never"}
"""Adverbs that say that something is not wholly so."""
_ATTACHING: Final = frozenset(("with", "in", "wearing", "holding", "carrying"))


class Order:
    """The chunks of one sentence."""

    def __init__(self, tokens: Tokens, chunks: list[Chunk], *, is_whole: bool, is_telegraphic: bool) -> None:
        """Take the chunks up to the end of a sentence, or up to where it is cut because it says no longer what is."""
        self.chunks = chunks
        self.there: dict[int, str] = {}
        """Names of the things that are there, by their index; empty where it is open which of their kind is meant."""
        self._tokens = tokens
        self._last: Literal["end", "cut"] = "end" if is_whole else "cut"
        self._is_telegraphic = is_telegraphic

    def kind(self, index: int) -> Kind | Literal["start", "end", "cut"]:
        """Return the kind of a chunk, or what is before the first and after the last one."""
        if index < 0:
            return "start"
        return self.chunks[index].kind if index < len(self.chunks) else self._last

    def word(self, index: int) -> str:
        """Return the words of a chunk, or nothing where there is none."""
        if not 0 <= index < len(self.chunks):
            return ""
        return self._tokens.phrase(self.chunks[index].start, self.chunks[index].end)

    def skip_adverbs(self, index: int) -> int:
        """Return the index after adverbs, or beyond the last chunk if they say that something is not wholly so."""
        while self.kind(index) == "adverb":
            if self.word(index) in _NEARLY:
                return len(self.chunks)
            index += 1
        return index

    def is_subject(self, index: int) -> bool:
        """Return whether a finite verb follows a thing."""
        after = self.skip_adverbs(index + 1)
        joining = _ATTACHING
        while self.word(after) in joining and self.kind(after + 1) == "thing":
            after = self.skip_adverbs(after + 2)  # `a boy with a cap and a scarf sleeps`
            joining = _ATTACHING | {"and"}
        return self.kind(after) in PREDICATES

    def begins_clause(self, index: int) -> bool:
        """Return whether a thing is alone the subject of its clause."""
        if self.kind(index + 1) == "joint":
            return False
        if index == 0 or (self.kind(index - 1), self.kind(index - 2)) == ("be", "there"):
            return True
        if self.word(index - 1) == "and" and (self.kind(index - 2) == "thing" or not self._is_closed(index)):
            return False
        return self.kind(index - 1) == "joint" and self.is_subject(index)

    def _is_closed(self, index: int) -> bool:
        """Return whether the clause before `and` has its verb, unlike `a penguin wearing a tie and a monocle sits`."""
        commas = [at for at in range(index) if self.word(at) == ","]
        if commas == [index - 2]:
            return True  # a single comma, which begins no list
        for at in range(index - 2, -1, -1):
            if self.kind(at) in PREDICATES and self.kind(at - 1) != "relative":
                return True
            if self.kind(at) == "joint" and self.word(at) not in {"and", ","}:
                return False
        first = self.chunks[0].start
        return first > 0 and self._tokens.at(first - 1) not in {".", ";"}  # after `the scene features`

    def is_there(self, index: int) -> bool:
        """Return whether a sentence says of a thing that it is there."""
        return self._ends_well(index) and self._begins_well(index)

    def _is_bare(self, index: int) -> bool:
        return not (self.chunks[index].has_opening or self._is_telegraphic)

    def _named(self, index: int) -> str:
        phrase = self.chunks[index].phrase
        return phrase.thing.name if phrase is not None else ""

    def _is_plural(self, index: int) -> bool:
        phrase = self.chunks[index].phrase
        return phrase is not None and (phrase.is_plural or phrase.thing.name.split()[-1] in PLURAL_ONLY)

    def _ends_well(self, index: int) -> bool:
        """Return whether the words after a thing cannot belong to its name."""
        after = self.skip_adverbs(index + 1)
        if self.kind(after) == "have" and self._is_past_at(self.chunks[after].end):
            return False  # `the singer has left`
        if self.kind(after) == "verb":  # `with pink ear flaps`
            is_object = index > 0 and self.kind(index - 1) != "joint"
            is_singular_verb = self._is_plural(index) and self.word(after).endswith("s")
            return self.chunks[index].has_opening or not is_object or is_singular_verb
        is_prepositional = self.kind(after) == "other" and self.word(after) in _PREPOSITIONS
        return self.kind(after) in _AFTER_THINGS or is_prepositional

    def _is_past_at(self, at: int) -> bool:
        """Return whether a past participle without a noun stands at a token: `has just struck noon`."""
        while is_adverb(self._tokens.at(at)) or self._tokens.at(at) in {"just", "now", "since", "long"}:
            at += 1
        following = self._tokens.at(at + 1)
        return is_past(self._tokens.at(at)) and not (following.isalpha() and is_concrete(following))

    def _begins_well(self, index: int) -> bool:
        """Return whether the words before a thing say that it is there."""
        before = index - 1
        while self.kind(before) == "adverb" and self.word(before) not in _NEARLY:
            before -= 1
        is_bare = self._is_bare(index)
        match self.kind(before):
            case "start":
                return not is_bare or (self.is_subject(index) and self._is_plural(index))
            case "joint":
                is_tag = self._is_telegraphic and self.word(before) == ","
                return is_tag or self._is_joined(index, before + 1)
            case "place":
                return self._is_at_place(before, is_bare=is_bare)
            case _ if self.word(before) in _SHOWING and self.word(before - 1).rpartition(" ")[2] in _CARRIERS:
                return False  # `a patch shows a wave`
            case _ if self.word(before) in {"uses", "employs"} and self.word(before - 1).rpartition(" ")[2] in _MADE:
                return False  # `the illustration uses soft crayons`
            case "have" if is_bare and is_past(self._tokens.at(self.chunks[index].start)):
                return False  # `ferns have taken root`
            case _ if self.word(before) in TAKING_FORMS or self.kind(before) == "have":
                verb = TAKING_FORMS.get(self.word(before), "")
                is_aim = self._tokens.at(self.chunks[before].start - 1) == "to"  # `running to catch a bus`
                return not is_aim and not is_figurative(verb, self._named(index))
            case "be":
                return not is_bare and (self.kind(before - 1) == "there" or self._is_inverted(before))
            case "verb":
                return not is_bare and self.word(before) in _POSTURES and self._is_inverted(before)
        return False

    def _is_at_place(self, index: int, *, is_bare: bool) -> bool:
        """Return whether the object of a place is there."""
        word = self.word(index)
        if word == "in" and self._named(index + 1) in _SHAPES:
            return False  # `stacked in a pyramid`
        if self.word(index - 1) in COVERED and word in {"with", "in", "by"}:
            return True
        if word == "with":
            return self.kind(index - 1) in {"thing", "joint"}
        is_worn = bool(named := self._named(index + 1)) and not CLOTHES.isdisjoint(kinds_of(named))
        if word == "in" and is_worn and self.kind(index - 1) == "thing":
            return True  # `a boy in striped pajamas`
        if word == "by":
            return not is_bare and self.kind(index - 1) not in {"participle", "verb"}
        return not is_bare and PLACES[word] not in _UNSURE_PLACES

    def _is_inverted(self, index: int) -> bool:
        """Return whether a verb stands between a place at the beginning of its sentence and its subject."""
        is_early = index in (2, 3) and self.kind(0) == "place"
        return is_early and all(chunk.kind != "verb" for chunk in self.chunks[:index])

    def _is_joined(self, index: int, after_joints: int) -> bool:
        """Return whether a thing after a comma or `and` is there: a subject, or one more member of a list."""
        start = after_joints
        while self.kind(start - 1) == "joint":
            start -= 1
        joints = {self.word(at) for at in range(start, after_joints)}
        is_after_thing = start - 1 in self.there
        if self.is_subject(index) and not self._is_bare(index):
            return joints != {","} or not (is_after_thing and self._is_apposed(start - 1))
        if not is_after_thing or not joints <= {",", "and"}:
            return False
        is_alike = self.chunks[index].has_opening or not self.chunks[start - 1].has_opening
        return is_alike and ("and" in joints or self._goes_on(index))

    def _is_apposed(self, first: int) -> bool:
        """Return whether what follows only says what a thing is: `the knight, a tall woman, kneels`."""
        return self.kind(first - 1) in {"start", "joint"}

    def _goes_on(self, index: int) -> bool:
        """Return whether a list goes on after a thing until `and` and its last member."""
        while self.kind(index + 1) == "joint":
            start = index = index + 1
            while self.kind(index) == "joint":
                index += 1
            if self.kind(index) != "thing":
                return False
            if "and" in {self.word(at) for at in range(start, index)}:
                return not self.is_subject(index)
        return False
