"""Reads a short prompt that is only partly understood: its beginning as far as it is clear, then what is certain."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from gems_actors.backends.storyboard.english.lookahead import tells_again
from gems_actors.backends.storyboard.english.phrases import PhraseReader
from gems_actors.backends.storyboard.english.prose.reader import ProseReader
from gems_actors.backends.storyboard.english.short.clauses import ClauseReader
from gems_actors.backends.storyboard.english.tokens import Tokens, first_gap, listed_spans
from gems_actors.backends.storyboard.english.vocabulary import COPULAS, DETERMINERS, HAVING, JOINTS, PRONOUNS, RELATIVES
from gems_actors.backends.storyboard.scene import Scene
from gems_actors.backends.storyboard.words import LONGEST_PLACE, PLACES, is_participle, number_of, word_set

_REFERRING: Final = word_set(
    "he she it they him them that which who whom whose where ones other others each either neither first second third "
    "fourth fifth latter former used"
)
"""Words that stand for a thing named before them, or tell one of several."""
_ENDS: Final = frozenset((",", ".", ";"))
_BOUNDARIES: Final = DETERMINERS | JOINTS | RELATIVES | COPULAS | HAVING | _ENDS


def read_short(tokens: Tokens) -> tuple[Tokens, Scene]:
    """Return the scene of a short prompt, and its tokens with those noted that were understood.

    A word that refers back may stand for the wrong thing once words next to it are not understood, and a thing after
    a gap may belong to what is missing there. From such a word on, only what the reader of prose is certain of counts.
    """
    whole = _unread(tokens)
    scene = ClauseReader(whole).read().scene()
    gap = _gap_start(whole)
    end = min(_reference_end(whole), gap)
    if end == len(whole.words):
        return whole, scene
    beginning = Tokens(tokens.words[:end], tokens.raw[:end])
    certain = _common(ClauseReader(beginning).read().scene(), scene)
    partly = _unread(tokens)
    partly.is_used[:end] = beginning.is_used
    partly.doubts += beginning.doubts
    partly.doubted |= beginning.doubted
    further = ProseReader(partly, counts_one=True).read().scene()
    is_whole_certain = gap == len(whole.words)
    return partly, _joined(certain, _common(further, scene) if is_whole_certain else further)


def _unread(tokens: Tokens) -> Tokens:
    """Return the tokens without notes of what was used; what was set aside before stays listed."""
    unread = Tokens(tokens.words, tokens.raw)
    unread.doubts = [*tokens.doubts]
    return unread


def _reference_end(tokens: Tokens) -> int:
    """Return the index of the first word that refers back and has something not understood in its stretch or later."""
    unread = {at for span in listed_spans(tokens) for at in range(*span)} | tokens.doubted
    last = max(unread, default=-1)
    phrases = PhraseReader(tokens)
    for at, word in enumerate(tokens.words):
        is_one = word == "one" and phrases.read(at)[0] is None
        place = _place_before(tokens, at)
        refers = is_one or (word in _REFERRING and not (place and word in PRONOUNS))  # `beside it` is listed as it is
        if tells_again(tokens, at):
            return at
        if (is_one and place) or (refers and _stretch_start(tokens, at) <= last):  # `next to one in a sweater`
            return at - place
    return len(tokens.words)


def _stretch_start(tokens: Tokens, at: int) -> int:
    while at > 0 and tokens.at(at - 1) not in _ENDS:
        at -= 1
    return at


def _place_before(tokens: Tokens, at: int) -> int:
    """Return the number of words of the place, such as `in front of`, that ends before a token."""
    lengths = range(min(LONGEST_PLACE, at), 0, -1)
    return next((length for length in lengths if tokens.phrase(at - length, at) in PLACES), 0)


def _gap_start(tokens: Tokens) -> int:
    """Return where the phrase begins that has the first word not understood before understood ones of its stretch."""
    at = first_gap(tokens)
    if at is None:
        return len(tokens.words)
    phrases = PhraseReader(tokens)
    while at > 0:
        word = tokens.at(at)
        if word in _BOUNDARIES or number_of(word) is not None or is_participle(word) or phrases.place_at(at):
            break
        at -= 1
    return at


def _common(first: Scene, second: Scene) -> Scene:
    """Return what two readings have in common.

    Read without its end, `a pond with two swans and a willow behind them` would have the willow in the pond.
    """
    things = []
    for thing in first.things:
        same = second.find_thing(thing.name)
        if same is not None:
            attributes = tuple(word for word in thing.attributes if word in same.attributes)
            actions = tuple(word for word in thing.actions if word in same.actions)
            is_counted = thing.is_counted and same.is_counted and thing.count == same.count
            things.append(replace(thing, attributes=attributes, actions=actions, is_counted=is_counted))
    names = {thing.name for thing in things}
    return replace(
        first,
        things=tuple(things),
        relations=tuple(each for each in first.relations if each in second.relations and each.subject in names),
        totals=tuple(each for each in first.totals if each in second.totals),
        absent=tuple(name for name in first.absent if name in second.absent),
    )


def _joined(scene: Scene, further: Scene) -> Scene:
    """Return a scene with the things of another one of which it has none alike, and with what that says of them."""
    kinds = {thing.name.split()[-1] for thing in scene.things}
    for thing in further.things:
        known = scene.find_thing(thing.name)
        if known is not None and (not thing.is_counted or thing.count != known.count):
            scene = scene.with_thing(replace(known, is_counted=False))
        elif known is None and thing.name.split()[-1] not in kinds and thing.name not in scene.absent:
            scene = scene.with_thing(thing)
    names = {thing.name for thing in scene.things}
    relations = [relation for relation in further.relations if {relation.subject, *relation.objects} <= names]
    absent = [name for name in further.absent if name not in names]
    return replace(
        scene,
        relations=tuple(dict.fromkeys((*scene.relations, *relations))),
        absent=tuple(dict.fromkeys((*scene.absent, *absent))),
    )
