"""Words of prose after which a sentence no longer says what its picture shows."""

from __future__ import annotations

import re
from typing import Final

from gems_actors.backends.storyboard.english.tokens import Tokens
from gems_actors.backends.storyboard.english.vocabulary import ABSENCES, MISSING, NEGATIONS, NEGATIVE_COPULAS
from gems_actors.backends.storyboard.words import word_set

_DENYING: Final = (
    NEGATIONS
    | NEGATIVE_COPULAS
    | ABSENCES
    | MISSING
    | word_set("none nobody no-one nothing nor hardly scarcely except excluding besides instead rather avoid avoiding")
)
_SUPPOSING: Final = word_set(
    "if unless whether would could might may should will perhaps maybe possibly probably presumably supposedly "
    "seemingly apparently seem seems seeming appear appears appearing want wants wanting try tries trying hope hopes "
    "hoping wish wishes wishing imagine imagines imagining imagined dream dreams dreaming pretend pretends pretending "
    "await awaits awaiting wait waits waiting expect expects expecting ready once formerly previously until before "
    "after soon eventually about intended meant supposed either or than twice thrice times double equal equally number"
)
_LIKENING: Final = word_set(
    "like unlike akin similar reminiscent evocative suggestive likeness shaped shape form metaphor metaphorical "
    "inspired themed so-called dubbed photographed filmed pictured viewed"
)
_TELLING: Final = word_set("story stories tale tales legend memory memories history scent smell aroma sound sounds")
_HIDING: Final = word_set(
    "hidden hiding hides hide obscured obscuring obscures concealed concealing conceals unseen invisible off-screen "
    "offscreen out-of-frame reflected reflecting reflects reflection reflections mirrored mirroring mirrors "
    "blocked blocking blocks masked masking"
)
_STEMS: Final = re.compile(
    r"(?:resembl|remind|recall|evok|suggest|hint|impl(?:y|ies|ied)|symboli|represent|embod|signif|echo|mimic|imitat"
    r"|compar|remember|promis|becom|became|transform|morph|dissolv|turn(?:s|ing|ed)?$|chang|blend|merg|depict|portray"
    r"|illustrat(?:e|es|ing)$|vanish|disappear|fad(?:e|es|ing)$|conjur|invok|encourag|emphasi|convey|foreshadow"
    r"|inspir|contrast|simulat|emulat|equivalent|commemorat|honor|dedicat|replac|omit|remov|prevent|forb[ia]d)"
)
_HEDGES: Final = _DENYING | _SUPPOSING | _LIKENING | _TELLING | _HIDING
_JOINTS: Final = frozenset((",", "and", "but", "while", "as"))


def certain_end(tokens: Tokens, start: int, end: int) -> int:
    """Return the index up to which the sentence from `start` to `end` says plainly what is there."""
    for at in range(start, end):
        word = tokens.at(at)
        is_as_if = word == "as" and tokens.at(at + 1) in {"if", "though", "a", "an"}
        is_as_if = is_as_if or (word == "as" and "as" in tokens.words[at + 2 : min(at + 4, end)])  # `as tall as`
        if word in {"or", "either"}:
            return _clause_start(tokens, start, at)
        if is_as_if or word in _HEDGES or _STEMS.match(word):
            return at
    return end


def _clause_start(tokens: Tokens, start: int, at: int) -> int:
    """Return where the clause of an alternative begins: neither of its members need be there."""
    while at > start and tokens.at(at - 1) not in _JOINTS:
        at -= 1
    return max(at - 1, start)
