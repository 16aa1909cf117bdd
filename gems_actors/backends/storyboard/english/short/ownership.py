"""Decides what a place or an action is said of where a clause has named several things; where that is open, of none."""

from __future__ import annotations

from typing import Final

from gems_actors.backends.storyboard.english.asides.pictures import AROUND_PICTURES, HANGING, shows_something
from gems_actors.backends.storyboard.english.collecting import is_human
from gems_actors.backends.storyboard.english.kinds import (
    BODY_PARTS,
    CLOTHES,
    CONTAINERS,
    SCENES,
)
from gems_actors.backends.storyboard.english.phrases import Phrase
from gems_actors.backends.storyboard.english.short.absences import Absences
from gems_actors.backends.storyboard.english.short.sentence import acts, kinds_of
from gems_actors.backends.storyboard.english.verbs import (
    ANIMATE_ACTIONS,
    INTRANSITIVE,
    KNOWN_ACTIONS,
    is_past,
)
from gems_actors.backends.storyboard.english.vocabulary import (
    ATTACHING,
    JOINTS,
    POSSESSIVES,
    PRONOUNS,
    is_adverb,
)
from gems_actors.backends.storyboard.words import PLACES, word_set

_PLACED: Final = frozenset(("set", "placed", "positioned", "located", "situated"))
_POSTURES: Final = frozenset(("seated", "dressed", "perched", "surrounded", "lost", "absorbed", "engaged", "focused"))
"""Past participles that say something of a person, and not of clothes or hair named before."""
_APART: Final = frozenset(("down", "up", "off", "out", "away", "back", "forth"))
_PRESENTED: Final = frozenset(("seen", "viewed", "together", "presented", "depicted", "captured", "shown", "featured"))
"""Words after which a place says where or how a picture shows something."""
_VIEWS: Final = frozenset(("background", "foreground", "distance"))
SIDES: Final = frozenset(("next to", "near", "left of", "right of", "behind", "in front of", "under", "above", "below"))
"""Places after which a participle is about the nearest thing: `a cat next to a dog wearing a hat`."""
_BESIDE: Final = SIDES | {"on top of"}
_INSTRUMENTS: Final = word_set(
    "hand hands finger fingers paw paws foot feet arm arms mouth beak trunk claw claws tongue"
)
"""Parts of the body that after an action say how it is done."""
_BEARING: Final = ATTACHING | {"balancing"}
"""Words after which a part of the body says where their object is."""
_OF_THINGS: Final = word_set("hanging shining dangling dripping spilling blowing spinning rolling swinging pouring")
"""Actions of things that somebody holds, too."""
_OF_NEAREST: Final = frozenset(("made", "shaped"))


class Ownership(Absences):
    """The rules for who or what owns a place or an action."""

    def owner_of_place(self, at: int, spelled: str, end: int) -> str | None:
        """Return what the place from `at` to `end` is said of, or None where that is open."""
        before, follower = self.tokens.at(at - 1), self.tokens.at(end)
        is_open = self._is_unowned() or (follower not in PRONOUNS and self._follows_feature(at))
        if before in _PRESENTED or is_open or self._is_of_view(at, spelled):
            return None  # `seen through a window`
        if before in _PLACED and self.tokens.at(at - 2) in {",", "and"}:
            return self.agent or self.head
        if before in {",", "while"}:
            is_alone = self.head == self.first
            is_main = self.head is not None and (is_alone or (acts(self.head) and spelled != "with"))
            is_main = is_main and not (spelled == "with" and self._opens_clause(end))
            return self.head if is_main else None
        if before in {"and", "but"}:
            return self.agent or self.head
        if any(self.tokens.at(index) in _APART for index in range(self.named_until, at)):
            return None  # `a mountain reflected upside down in a lake`
        others = [name for name in self.clause if name != self.last]
        phrase = self.phrases.read(end)[0]
        target = phrase.thing.name.split()[-1] if phrase is not None else ""
        if self.last is not None and shows_something(self.last) and not _is_around_pictures(phrase):
            return None  # `a painting of a storm at sea`
        if self.last is None or not others:
            return self.last
        if spelled == "with":
            return self._owner_of_company(self.last, end)
        if follower in PRONOUNS:
            return self.last if len(others) == 1 else None
        if target in CLOTHES and (follower in POSSESSIVES or (spelled == "in" and acts(self.last))):
            return self._wearer()
        return self.last if self._is_of_last(self.last, spelled, follower, target) else None

    def _is_of_last(self, last: str, spelled: str, follower: str, target: str) -> bool:
        """Return whether a place after a relation is that of its object, and not also, or only, of its subject."""
        shared, place = self.shared, PLACES[spelled]
        if shared is None:
            return False
        if self.has_own_part(shared):
            return place not in SIDES  # `with its head in the sand`
        if follower in POSSESSIVES:  # `with a nut in its paws`, `carrying a basket on her head`
            return spelled in {"in", "on"} and target in BODY_PARTS and shared.word.split()[0] in _BEARING
        is_in_chain = shared.kind == "position" and shared.word in _BESIDE and not is_scene(last)
        is_of_acting = shared.kind == "action" and acts(last) and spelled != "on"  # `chasing a cat behind a car`
        return place in _BESIDE and target not in BODY_PARTS and (is_in_chain or is_of_acting)

    def _owner_of_company(self, last: str, at: int) -> str | None:
        """Return what is with the phrase at a token."""
        phrase = self.phrases.read(at)[0]
        if phrase is None or self._is_about_it(at):
            return None  # `planting a flag with a smiley face on it`
        target = phrase.thing.name.split()[-1]
        is_instrument = self.shared is not None and self.shared.kind == "action" and target in _INSTRUMENTS
        if target in BODY_PARTS | CLOTHES and not is_instrument:
            return self._wearer()
        is_filled = last.split()[-1] in CONTAINERS and not acts(phrase.thing.name)
        return last if is_filled and self.shared is not None and self.shared.word in ATTACHING else None

    def _follows_feature(self, at: int) -> bool:
        """Return whether the place of a thing may be its owner's: `a table with a vase and a clock in a corner`."""
        if not self.is_rivalled or self.last is None or self.last != self.head or acts(self.last):
            return False
        while self.tokens.at(at) not in JOINTS | {"."}:
            at -= 1
        at -= 1
        while self.tokens.at(at) not in JOINTS | {".", "with"}:
            at -= 1
        return self.tokens.at(at) == "with"

    def owner_of_action(self, at: int) -> str | None:
        """Return what the participle at a token is said of, or None where that is open."""
        word = self.tokens.at(at)
        while is_adverb(self.tokens.at(at - 1)):
            at -= 1
        before = self.tokens.at(at - 1)
        if before in JOINTS:
            owner = self.agent or self.head
            is_list = owner != self.first and not (owner and acts(owner))
            return None if before == "," and is_list else owner
        is_hung = word in HANGING or (word == "hanging" and self.tokens.at(at + 1) in {"in", "on", "above", "over"})
        if self.last is not None and is_hung and shows_something(self.last):
            return self.last
        if self.last is not None and (" of a " in self.last or " of an " in self.last):
            return None  # `the string of a balloon shaped like a moon`, `an illustration of a bear mailing a letter`
        if self.last is None or self.is_alone():
            return self.last
        if not is_past(word):
            return self._owner_of_doing(word, self.last)
        return self._owner_of_state(word, self.last)

    def _owner_of_doing(self, word: str, last: str) -> str | None:
        only, shared = self._only_one_acting(), self.shared
        if only is not None and (only == last or word in ANIMATE_ACTIONS):
            return only
        if word in ANIMATE_ACTIONS and shared is not None and acts(last):
            is_alike = is_human(shared.subject) == is_human(last) and acts(shared.subject)
            return last if shared.word in SIDES or (is_alike and shared.word not in ATTACHING) else None
        is_of_person = word in KNOWN_ACTIONS and word not in INTRANSITIVE | _OF_THINGS
        if self.attached is None or not acts(self.attached) or acts(last) or shared is None or not is_of_person:
            return None
        is_worn = shared.word != "with" or not kinds_of(last).isdisjoint(CLOTHES | BODY_PARTS)
        return self.attached if is_worn else None

    def _owner_of_state(self, word: str, last: str) -> str | None:
        if word in _OF_NEAREST:
            return last
        is_of_person = not kinds_of(last).isdisjoint(CLOTHES | BODY_PARTS)
        if word in _POSTURES:
            return self._only_one_acting()
        if is_of_person or (self.shared is not None and self.shared.word == "with"):
            return last  # `with his arms crossed`
        return last if not acts(last) and any(acts(name) for name in self.clause) else None

    def owner_of_feature(self, at: int) -> str | None:
        """Return what `having` or `featuring` at a token is said of, or None where that is open."""
        if self.tokens.at(at - 1) in JOINTS and not self.is_alone():
            return None
        is_filled = self.last is not None and not CONTAINERS.isdisjoint(kinds_of(self.last))
        is_filled = is_filled and self.tokens.at(at) == "containing"  # `a bicycle with a basket containing a puppy`
        return self.last if self.is_alone() or self.is_relative or is_filled else self.attached

    def _only_one_acting(self) -> str | None:
        acting = [name for name in self.clause if acts(name)]
        return acting[0] if len(acting) == 1 else None

    def _is_about_it(self, at: int) -> bool:
        """Return whether a phrase at a token is followed by `on it` or `in it`."""
        after = self.phrases.read(at)[1]
        length = self.phrases.place_at(after)
        return length > 0 and self.tokens.at(after + length) in PRONOUNS

    def _wearer(self) -> str | None:
        """Return whose clothes or parts of the body come next: of the only one that acts, or of the nearest."""
        if (only := self._only_one_acting()) is not None or self.shared is None or self.last is None:
            return only
        return self.last if acts(self.last) and self.shared.word in SIDES else None

    def _opens_clause(self, at: int) -> bool:
        """Return whether `, with` opens a further part of the picture, as in `with a barn behind it`."""
        phrase, after = self.phrases.read(at)
        if phrase is None or not kinds_of(phrase.thing.name).isdisjoint(CLOTHES | BODY_PARTS):
            return False
        if length := self.phrases.place_at(after):
            return self.tokens.at(after + length) not in POSSESSIVES
        return self.tokens.at(after) not in JOINTS | {".", ";"}

    def _is_unowned(self) -> bool:
        return self.last == self.unowned is not None

    def _is_of_view(self, at: int, spelled: str) -> bool:
        """Return whether `with` opens a further part of the picture: `with mountains in the background`."""
        end = self.phrases.read(at + 1)[1] if spelled == "with" else at
        return self.is_in_view(end) and end > at

    def is_in_view(self, at: int) -> bool:
        """Return whether `in the background` or the like begins at a token."""
        return self.tokens.words[at : at + 2] == ["in", "the"] and self.tokens.at(at + 2) in _VIEWS


def _is_around_pictures(phrase: Phrase | None) -> bool:
    return phrase is not None and phrase.thing.name.partition(" of ")[0].split()[-1] in AROUND_PICTURES


def is_scene(name: str) -> bool:
    """Return whether a thing is a place such as a garden, in which other things are."""
    return name.split()[-1] in SCENES
