"""Finds stretches of a sentence that say something only of a part, by an exception, or of what is not to be seen."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Final

from gems_actors.backends.storyboard.english.asides.alternatives import alternatives_at
from gems_actors.backends.storyboard.english.kinds import SCENES
from gems_actors.backends.storyboard.english.phrases import PhraseReader
from gems_actors.backends.storyboard.english.tokens import TEXT_MARK, Tokens
from gems_actors.backends.storyboard.english.verbs import BASES, PAST_VERBS, TAKING_FORMS, THIRD_PERSONS, is_past
from gems_actors.backends.storyboard.english.vocabulary import (
    ABSENCES,
    COMPARATIVES,
    COPULAS,
    DETERMINERS,
    HAVING,
    JOINTS,
    MISSING,
    NEGATIONS,
    NEGATIVE_COPULAS,
    POSSESSIVES,
    PRONOUNS,
    RELATIVES,
    WRITING,
    attribute_of,
    is_adverb,
)
from gems_actors.backends.storyboard.words import PLACES, is_participle, number_of, plural, word_set

_EXCEPTING: Final = frozenset(("except", "excepting", "excluding", "exception", "otherwise"))
_EXCEPTING_PAIRS: Final = frozenset(
    (("apart", "from"), ("aside", "from"), ("save", "for"), ("other", "than"), ("but", "for"))
)
_ALL: Final = word_set("all every each everything everyone everybody both")
_MEMBERS: Final = word_set("none neither either most some half many few several each all both any one only")
_GROUPS: Final = word_set("them which whom these those")
_REMAINDERS: Final = word_set("rest remainder majority others remaining")
_GONE: Final = MISSING | word_set("eaten removed taken lost stolen")
_TAKEN: Final = frozenset(("stolen", "removed", "demolished", "dismantled"))
_LEAVING_OUT: Final = word_set("hold skip ditch lose forget drop omit avoid exclude")
"""Imperatives for what is not wanted."""
_HABITUAL: Final = frozenset(("usually", "normally", "formerly", "ordinarily", "originally"))
_SEVERED: Final = frozenset(("knocked", "broken", "torn", "cut", "chopped", "blown", "ripped", "snapped"))
_COME: Final = word_set("risen arrived come begun started appeared landed returned emerged hatched")
_SEEN: Final = word_set("visible seen shown pictured noticeable see")
_UNSEEN: Final = word_set("unseen invisible off-screen offscreen off-camera out-of-frame offstage")
_HIDDEN: Final = word_set("hidden concealed obscured")
_HIDING: Final = word_set("behind from by under underneath beneath in inside within among beyond out")
_PARTLY: Final = word_set("partially partly half mostly slightly largely")
_HARDLY: Final = word_set("barely hardly scarcely")
_FRAMES: Final = word_set("frame view sight shot picture image reach camera photo canvas")
_PREPOSITIONS: Final = frozenset(word for word in PLACES if " " not in word) | {"of", "from", "to", "for", "than"}
_ANYWHERE: Final = frozenset(
    (
        *(("in", "sight"), ("in", "view"), ("in", "the", "image"), ("in", "the", "picture"), ("in", "the", "scene")),
        *(("at", "all"), ("in", "the", "photo"), ("in", "the", "frame")),
    )
)
_RAINING: Final = frozenset(("raining", "snowing"))
_TRIGGERS: Final = (
    _EXCEPTING
    | {first for first, _ in _EXCEPTING_PAIRS}
    | _REMAINDERS
    | _GROUPS
    | _HIDDEN
    | MISSING
    | _SEEN
    | _UNSEEN
    | _FRAMES
    | _RAINING
    | _TAKEN
    | _LEAVING_OUT
    | {"sold", "ago", "left", "doesn't", "don't"}
    | _HABITUAL
    | {"but", "no", "without", "than", "other", "only", "just", "not", "off", "one", "or"}
)
"""Words without which a prompt has no such stretch."""
_ANCHORS: Final = (_TRIGGERS - _FRAMES - _GROUPS) | word_set(
    "anything anywhere of in within inside out outside beyond off other all every both"
)
"""The words at which its rules begin."""
_SPACED_MARK: Final = re.compile(r" ([,.;:!?])")
_MAX_LISTED: Final = 400
_Span = tuple[int, int]
_Rule = Callable[[int, int], int | None]


def set_aside(tokens: Tokens, *, alternatives: bool) -> Tokens:
    """Return the tokens without such stretches; each is listed, and a comma stands in its place.

    With `alternatives`, what `or` joins is set aside, too; the reader of prose goes no further than that by itself.
    """
    if _TRIGGERS.isdisjoint(tokens.words):
        return tokens
    spans = _merged(sorted(_Finder(tokens, alternatives=alternatives).spans()))
    if not spans:
        return tokens
    words: list[str] = []
    raw: list[str] = []
    listed: list[str] = []
    start = 0
    for begin, end in spans:
        listed.append(_SPACED_MARK.sub(r"\1", " ".join(tokens.raw[begin:end]).replace(TEXT_MARK, "…")).strip(" ,"))
        words += [*tokens.words[start:begin], ","]
        raw += [*tokens.raw[start:begin], ","]
        start = end
    rest = Tokens([*words, *tokens.words[start:]], [*raw, *tokens.raw[start:]])
    rest.doubts = [words[:_MAX_LISTED] for words in listed if words]
    return rest


def _merged(spans: list[_Span]) -> list[_Span]:
    merged: list[_Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


class _Finder:
    """Finds the stretches of one prompt."""

    def __init__(self, tokens: Tokens, *, alternatives: bool) -> None:
        self._tokens = tokens
        self._takes_alternatives = alternatives
        self._words = tokens.words
        self._at = tokens.at
        self._phrases = PhraseReader(tokens)
        self._is_telegraphic = {"a", "an", "the"}.isdisjoint(tokens.words)

    def spans(self) -> Iterator[_Span]:
        """Yield start and end of each stretch."""
        index = 0
        for is_end, run in groupby(self._words, (".", ";").__contains__):
            start, index = index, index + len(list(run))
            if not is_end:
                yield from self._spans_in(start, index)

    def _spans_in(self, start: int, end: int) -> Iterator[_Span]:
        rules: tuple[_Rule, ...] = (
            self._exception,
            self._remainder,
            self._unseen,
            self._viewpoint,
            self._absence,
            self._comparison,
            self._weather,
            self._member,
        )
        if _TRIGGERS.isdisjoint(self._words[start:end]):
            return
        for at in range(start, end):
            if self._takes_alternatives and (span := alternatives_at(self._tokens, at, start, end)) is not None:
                yield span
            for rule in rules if self._at(at) in _ANCHORS else ():
                if (begin := rule(at, start)) is not None:
                    yield begin, self._end(at, end, rule)

    def _end(self, at: int, end: int, rule: _Rule) -> int:
        """Return where a stretch ends: at a comma before a place or another thing, or with its sentence."""
        if rule == self._exception:
            return end
        for comma in range(at + 1, end):
            if self._at(comma) != ",":
                continue
            is_place = self._phrases.place_at(comma + 1) and self._at(comma + 1) != "with"
            if rule in {self._viewpoint, self._weather, self._member}:
                return comma
            is_thing = rule == self._unseen and (self._begins_object(comma + 1) or self._is_telegraphic)
            if is_place or is_thing:
                return comma
        return end

    def _exception(self, at: int, start: int) -> int | None:
        """Take `all are red except one`: what is said of all is not so of one."""
        word, following = self._at(at), self._at(at + 1)
        before = self._words[start:at]
        if word in {"anything", "anywhere"} and following in {"but", "except"}:
            return at
        if word in {"but", "except"} and following == "as":
            return start  # `girl with a pearl earring but as a raccoon`
        is_but = word == "but" and not _ALL.isdisjoint(before)
        is_but = is_but and (number_of(following) is not None or following == "the")
        is_besides = word in _EXCEPTING or (word, following) in _EXCEPTING_PAIRS
        is_besides = is_besides and not (word == "apart" and self._is_verbal(at - 1))
        if not (is_but or is_besides):
            return None
        denied = [index for index in range(start, at) if self._at(index) in ABSENCES | {"nothing"}]
        if word == "except" and (denied or "empty" in before):
            return None  # `no furniture except a chair` has the chair
        if denied:
            return self._clause_start(denied[-1], start)
        every = [index for index in range(start, at) if self._at(index) in _ALL]
        if every and every[-1] > start:
            return self._clause_start(every[-1], start)
        return self._predicate_start(start, at)

    def _member(self, at: int, start: int) -> int | None:
        """Take `two cubs on a floe, one cub in the water`: one of those that were named."""
        is_only = self._at(at - 1) in {"only", "just"}
        if self._at(at) != "one" or not (is_only or self._at(at - 1) in {",", "and", "with", "but"}):
            return None
        phrase, after = self._phrases.read(at)
        if phrase is None or after < at + 2:
            return None
        if phrase.thing.attributes and self._at(at - 1) == "and":
            return None  # `five red balloons and one green balloon`
        named = plural(self._at(after - 1))
        return at - is_only if named != self._at(after - 1) and named in self._words[start:at] else None

    def _remainder(self, at: int, start: int) -> int | None:
        """Take `none of them`, `only one of which` and `the rest`, which speak of some members of a group."""
        word = self._at(at)
        is_other = word == "other" and tuple(self._words[at - 2 : at]) == ("than", "the")
        if is_other or (word in _REMAINDERS and self._at(at - 1) in DETERMINERS):
            is_apart = self._at(at - 2) == "from"  # `a sheep standing apart from the rest`
            return self._predicate_start(start, at) if is_apart else self._clause_start(at - 1, start)
        if word in {"all", "every", "both"} and self._at(at - 1) == "not":
            return self._clause_start(at - 1, start)  # `not all the candles are lit`
        is_only = not {"only", "just"}.isdisjoint(self._words[max(at - 3, start) : at])
        if word == "of" and is_only and self._at(at + 1) in DETERMINERS:
            return self._clause_start(at, start)  # `only some of the candles are lit`
        if word != "of" or self._at(at + 1) not in _GROUPS:
            return None
        at -= 1
        word = self._at(at)
        if (self._at(at - 2), self._at(at - 1)) in {("not", "a"), ("not", "one")}:
            return self._clause_start(at, start)  # `not a drop of which has spilled`
        if word not in _MEMBERS and number_of(word) is None:
            return None
        begin = self._clause_start(at, start)
        copula = self._at(at + 3) in COPULAS
        stated = self._at(at + 3 + copula)
        if stated in _GONE and not self._begins_object(at + 4 + copula):
            return self._thing_start(begin, start)  # `eight slices, two of which are missing`
        is_state = attribute_of(stated) is not None and self._at(at + 4 + copula) in {",", ".", ";", "and", "with"}
        is_plain = word in _ALL or (is_state and (word == "none" or number_of(word) is not None))
        return None if is_plain and self._at(at - 1) in {",", "."} else begin

    def _unseen(self, at: int, start: int) -> int | None:
        """Take a thing that is said not to be in the picture, with the words that say where it would be."""
        word, following = self._at(at), self._at(at + 1)
        opens = at
        while opens > start and is_adverb(self._at(opens - 1)):
            opens -= 1
        graded = self._words[opens:at]
        if word in _LEAVING_OUT and self._at(at - 1) in {",", "but"} and following in {"the", "any"}:
            return at  # `a pizza, hold the mushrooms`
        if word == "ago" and (was := self._was_before(at, start)):
            return self._thing_start(self._link_start(was, start), start)  # `the castle was destroyed long ago`
        if word in _HABITUAL and at > start:
            return self._habit_start(at, start)
        if word == "left" and self._at(at - 1) in COPULAS and following == "of":
            return self._clause_start(at, start)  # `crumbs, all that is left of the pie`
        if (word, following) == ("left", "behind") or (word == "off" and self._at(at - 1) in _SEVERED):
            return self._thing_start(self._link_start(at - (word == "off"), start), start)
        if following == "have" and word in {"doesn't", "don't"} and self._at(at - 1) in PRONOUNS:
            return self._thing_start(at - 1, start)  # `combing hair he doesn't have`
        if (word, following) == ("sold", "out"):
            return self._thing_start(self._link_start(opens, start), start)
        if word == "not" and self._at(at - 1) in {"has", "have"} and self._at(at + 1 + (following == "yet")) in _COME:
            return self._thing_start(at - 1, start)  # `the sun has not yet risen`
        is_ended = following in {",", ".", ";"} or self._at(at - 1) in {"was", "were", "been"}
        is_gone = word in MISSING or (word in _TAKEN and is_ended)
        if is_gone and not self._begins_object(at + 1) and self._at(at + 1) not in POSSESSIVES:
            begin = self._thing_start(self._link_start(opens, start), start)
            return begin if begin < at and self._at(at - 1) not in DETERMINERS else None  # `one wheel missing`
        if word == "off" and "with" in self._words[max(start, at - 5) : at] and not is_past(self._at(at - 1)):
            is_last = following in {",", "."} or is_participle(following)
            return self._thing_start(at, start) if is_last else None  # `a man with his shoes off`
        if word in _HIDDEN and following in _HIDING:
            return opens if not _PARTLY.isdisjoint(graded) else self._thing_start(self._link_start(opens, start), start)
        is_out = word == "out" and following == "of" and not _FRAMES.isdisjoint(self._words[at + 2 : at + 4])
        is_beyond = word in {"outside", "beyond", "off"} and following == "the" and self._at(at + 2) in _FRAMES
        while (is_out or is_beyond) and opens > start and self._is_verbal(opens - 1):
            opens -= 1  # `a kite that has flown out of the picture`
        if is_out or is_beyond or word in _UNSEEN or (word in _SEEN and not _HARDLY.isdisjoint(graded)):
            return self._thing_start(self._link_start(opens, start), start)
        is_in_frame = word in {"in", "within", "inside"} and not _FRAMES.isdisjoint(self._words[at + 1 : at + 3])
        if word not in _SEEN and not is_in_frame:
            return None
        for index in range(at - 1, max(start, at - 5) - 1, -1):
            if self._at(index) in NEGATIONS | NEGATIVE_COPULAS:
                return self._thing_start(self._link_start(index, start), start)
            if not (is_adverb(self._at(index)) or self._at(index) in COPULAS | {"itself", "themselves"}):
                return None
        return None

    def _habit_start(self, at: int, start: int) -> int:
        """Return where what is usually so begins: `where the dog usually lies`, `, formerly a duckling`."""
        openings = RELATIVES | {"where", "when", "as"}
        return next((index for index in range(at, start, -1) if self._at(index) in openings | {","}), start)

    def _was_before(self, at: int, start: int) -> int:
        """Return the index of the last `was` or `were` before a token, else 0."""
        return next((index for index in range(at - 1, start, -1) if self._at(index) in {"was", "were"}), 0)

    def _viewpoint(self, at: int, start: int) -> int | None:
        """Take `seen only from the waist up`, whose objects need not be seen."""
        is_view = self._at(at) in _SEEN and "from" in self._words[at + 1 : at + 3]
        return at if is_view and at > start else None

    def _absence(self, at: int, start: int) -> int | None:
        """Take `no leaves on the ground`: the absence holds there, and need not hold for the picture or the subject."""
        word = self._at(at)
        is_not_one = word == "not" and self._at(at + 1) in {"a", "an", "one"}
        if word not in {"no", "without"} and not is_not_one:
            return None
        begin = at + 1 + (is_not_one or self._at(at + 1) == "any")
        phrase, after = self._phrases.read(begin)
        while phrase is not None and self._at(after) in {"or", "nor"}:
            phrase, after = self._phrases.read(after + 1)
        if phrase is None and self._at(begin) in WRITING:
            after = begin + 1  # `without any letters on it`
        elif phrase is None:
            return None
        length = self._phrases.place_at(after)
        if word == "without":
            target = self._phrases.read(after + length)[0]
            is_scene = target is not None and target.thing.name.split()[-1] in SCENES
            opening = self._at(after + length)
            is_there = opening in POSSESSIVES | PRONOUNS or (opening == "the" and not is_scene and phrase is not None)
            return at if length and is_there else None
        if any(tuple(self._words[after : after + len(words)]) == words for words in _ANYWHERE):
            return None
        is_doing = is_participle(self._at(after)) or self._at(after) in RELATIVES
        if not length and not is_doing:
            return None
        while at > start and self._at(at - 1) in COPULAS | HAVING | {"with", "there", "and", "but"}:
            at -= 1
        return at

    def _comparison(self, at: int, start: int) -> int | None:
        """Take `floats higher than`, whose verb would be read as a noun."""
        is_than = self._at(at) == "than" and self._at(at - 1) in COMPARATIVES
        at -= 2
        is_verb = self._at(at) in BASES or self._at(at) in THIRD_PERSONS or is_participle(self._at(at))
        is_verb = is_verb and self._at(at - 1) not in DETERMINERS and at > start
        return at if is_than and is_verb else None

    def _weather(self, at: int, _start: int) -> int | None:
        """Take `raining cats and dogs`, which names nothing to draw."""
        return at if self._at(at) in _RAINING and self._phrases.read(at + 1)[0] is not None else None

    def _clause_start(self, at: int, start: int) -> int:
        """Return where the clause of a token begins, with the word that joins it."""
        while at > start and self._at(at) not in JOINTS:
            at -= 1
        return at

    def _predicate_start(self, start: int, at: int) -> int:
        """Return where the first predicate of a clause begins, or else `at`."""
        for index in range(start + 1, at):
            word = self._at(index)
            is_verbal = word in THIRD_PERSONS or is_participle(word) or is_past(word)
            is_attribute = self._at(index - 1) in DETERMINERS or number_of(self._at(index - 1)) is not None
            if word in COPULAS | HAVING | _PREPOSITIONS - {"of"} or (is_verbal and not is_attribute):
                return index
        return at

    def _is_verbal(self, at: int) -> bool:
        word = self._at(at)
        return is_participle(word) or is_past(word) or word in THIRD_PERSONS | PAST_VERBS.keys() or word in BASES

    def _begins_object(self, at: int) -> bool:
        return self._at(at) in DETERMINERS or number_of(self._at(at)) is not None

    def _link_start(self, at: int, start: int) -> int:
        """Return where `that is`, `which are` or `just` before a token begins."""
        while at > start and (
            self._at(at - 1)
            in COPULAS | RELATIVES | HAVING | {"can", "just", "itself", "but", "lies", "remains", "we", "you"}
            or self._at(at - 1) in {"remain", "stays", "kept"}
            or is_adverb(self._at(at - 1))
        ):
            at -= 1
        return at

    def _thing_start(self, at: int, start: int) -> int:
        """Return where the noun phrase before a token begins, with the preposition or the verb before it."""
        at -= self._at(at - 1) == "," and at - 1 > start
        end = at
        while at > start and self._at(at - 1) not in JOINTS:
            word = self._at(at - 1)
            if word in COPULAS or word in RELATIVES - {"whose"} or (word in _PREPOSITIONS and at < end):
                break  # but not at `the sink below`
            at -= 1
            if word == "whose":
                return at
            if word in DETERMINERS or number_of(word) is not None:
                break
        while at > start and self._at(at - 1) in _PREPOSITIONS:
            at -= 1
            if self._at(at) == "of":
                return self._thing_start(at, start)
        is_verb = at > start and (self._at(at - 1) in TAKING_FORMS or is_past(self._at(at - 1)))
        is_verb = is_verb and self._at(at - 1) not in {"set", "bear"}  # `a chess set with one pawn missing`
        is_verb = is_verb or (at > start and (is_participle(self._at(at - 1)) or self._at(at - 1) in THIRD_PERSONS))
        return at - 1 if is_verb else at
