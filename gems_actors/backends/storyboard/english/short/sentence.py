"""The state of one sentence while it is read: what the next words can be about, and how a relation finds its object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gems_actors.backends.storyboard.english.collecting import MAX_THINGS, Collector
from gems_actors.backends.storyboard.english.gates.relations import makes_sense
from gems_actors.backends.storyboard.english.kinds import (
    AMBIENT,
    ANIMATE,
    BODY_PARTS,
    CLOTHES,
    INERT,
    LEASHES,
    LIMBS,
    PAIRED,
    SCENES,
    SEATS,
)
from gems_actors.backends.storyboard.english.phrases import Phrase, PhraseReader
from gems_actors.backends.storyboard.english.tokens import Tokens
from gems_actors.backends.storyboard.english.verbs import TRANSFERS
from gems_actors.backends.storyboard.english.vocabulary import (
    ATTACHING,
    DETERMINERS,
    POSSESSIVES,
    POSTNOMINAL,
)
from gems_actors.backends.storyboard.scene import RelationKind
from gems_actors.backends.storyboard.words import number_of, plural, singular, word_set

_CARRIERS: Final = word_set(
    "poster screen billboard stamp postcard t-shirt tshirt sweatshirt hoodie wallpaper banner flag mural label sticker "
    "monitor television tv cover coin banknote canvas"
)
"""What shows pictures of things."""
_STAYING: Final = frozenset(("standing", "sitting", "lying", "kneeling", "sleeping", "reading", "talking", "speaking"))
"""Actions of a person that are also where the next place says: `standing on a stool in a circus`."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A relation whose object is still to come."""

    subject: str
    word: str
    kind: RelationKind
    span: tuple[int, int]
    first: str = ""
    """First object of `between`."""
    is_negative: bool = False
    is_closed: bool = False
    """Whether an `and` has ended the list of its objects."""


class Sentence:
    """What is known of the sentence up to the current word."""

    def __init__(self, tokens: Tokens) -> None:
        """Start at the first sentence of these tokens."""
        self.tokens = tokens
        self.phrases = PhraseReader(tokens)
        self.has_articles = not {"a", "an", "the"}.isdisjoint(tokens.words)
        self.found = Collector(MAX_THINGS)
        self.end_sentence()

    def end_sentence(self) -> None:
        self.last: str | None = None
        """The last thing that was named."""
        self.head: str | None = None
        """The first thing of the clause."""
        self.first: str | None = None
        """The first thing of the sentence."""
        self.clause: list[str] = []
        """The things that were named since the clause began: what follows may be said of each of them."""
        self.agent: str | None = None
        """The subject of the last action."""
        self.attached: str | None = None
        """The subject of the last relation, if what follows is about it: `a man in a suit`."""
        self.verb = ""
        """The action whose object was named last."""
        self.pending: Pending | None = None
        self.shared: Pending | None = None
        """The relation that further members of a list share."""
        self.fronted: tuple[str, str, tuple[int, int]] | None = None
        """Place, thing and words of `on a table`, where it stands before its subject."""
        self.group: str | None = None
        """The group of which `one` names a member."""
        self.has_predicate = False
        """Whether the subject of the clause has a finite verb."""
        self.is_rivalled = False
        """Whether the subject stands after `and`, and what was named before it has no verb yet, which may follow."""
        self.is_coordinated = False
        """Whether the last thing stands right after another one and `and`, so that what follows may be about both."""
        self.is_negated = False
        self.is_relative = False
        """Whether `that` or `who` stands before what follows, which is then about the last thing."""
        self.unowned: str | None = None
        """The object of a verb that was not understood: where it is may be said of the verb's subject."""
        self.named_until = -1
        """Index after the last thing."""

    @property
    def subject(self) -> str | None:
        """The subject of a finite verb: the first thing of the clause, or what `that` stands for."""
        return self.last if self.is_relative else self.head

    def lose(self, *, is_subject: bool = False) -> None:
        """Forget what the next words could be about, because words before them were not understood."""
        if is_subject:
            self.head = self.agent = None
        self.last = self.attached = self.pending = self.shared = self.group = None
        self.verb = ""

    def add(self, phrase: Phrase, start: int, after: int) -> str | None:
        """Add a thing, and note that its words are understood; return its name, or None if there is no room."""
        before = set(self.found.things)
        name = self.found.add(phrase)
        if name is None:
            return None
        self.phrases.use(start, after)
        self.follow_renaming(before - set(self.found.things))
        return name

    def follow_renaming(self, gone: set[str]) -> None:
        """Refer to a thing by its new name where it was renamed to tell it from another one."""
        for old in gone:
            new = next((name for name in self.found.things if name.endswith(f" {old}")), None)
            for name in ("last", "head", "first", "agent", "attached", "group"):
                if getattr(self, name) == old:
                    setattr(self, name, new)
            self.clause = [new or name if name == old else name for name in self.clause]
            for name in ("pending", "shared"):
                relation = getattr(self, name)
                if relation is not None and relation.subject == old and new is not None:
                    setattr(self, name, replace(relation, subject=new))

    def expect(
        self, subject: str, word: str, kind: RelationKind, span: tuple[int, int], *, is_negative: bool = False
    ) -> None:
        self.pending = Pending(subject, word, kind, span, is_negative=is_negative)
        self.shared = None

    def complete(self, name: str, after: int) -> None:
        """Complete the relation that awaits its object with a thing, or else make the thing a subject."""
        pending, self.pending = self.pending, None
        if pending is None:
            self.start_clause(name)
            return
        is_first = self.found.things[name].count == 1 or self.tokens.at(after) == "and"
        if pending.word == "between" and not pending.first and is_first:  # `between two pillows` has one
            self.pending = Pending(pending.subject, "between", pending.kind, pending.span, first=name)
            self.last = name
            return
        is_alone = name.split()[-1] in PAIRED and self.found.things[name].count == 1  # `a mouse in a boot` wears none
        is_clothing = not is_alone and not CLOTHES.isdisjoint(kinds_of(name))
        is_worn = " of " not in name and self.tokens.at(pending.span[0] - 1) not in POSTNOMINAL  # `asleep in a hood`
        if pending.word == "inside" and is_clothing and is_worn:
            pending = replace(pending, word="wearing", kind="action")
        if pending.word == "on top of" and name.split()[-1] in LEASHES:
            pending = replace(pending, word="with")
        objects = (pending.first, name) if pending.first else (name,)
        if pending.word in TRANSFERS and self.begins_phrase(after):
            self.tokens.doubt(*pending.span)  # `hands a customer a latte`
            self.lose()
            return
        is_fronted = pending.kind == "position" and self.tokens.at(pending.span[0] - 1) == ","
        if is_fronted and self.begins_phrase(after):
            self.tokens.doubt(*pending.span)  # `a painter in a studio, on the easel a canvas`
            self.lose()
            return
        if not makes_sense(pending.word, name):
            self.tokens.doubt(pending.span[0], after)
            self.lose()
            return
        is_content = pending.word == "with" and pending.subject.endswith(f" of {plural(name)}")
        if pending.subject in objects or is_content:  # `a goat on the back of another goat`
            self.tokens.doubt(*pending.span)
        if pending.word == "with" and self._is_pictured(after):
            self.tokens.doubt(*pending.span)  # `a bedroom with a shark on a poster`
            self.last = name
            self.clause = [name]
            return
        if is_content:  # `a bowl of cherries with one cherry on the table`
            self.lose()
            return
        is_own = pending.word == "with" and self.tokens.at(pending.span[1]) in POSSESSIVES
        if not (is_own and not kinds_of(name).isdisjoint(BODY_PARTS)):  # `asleep with his head on a pillow`
            self.found.relate(pending.subject, pending.word, objects, pending.kind)
        self.tokens.use(*pending.span)
        is_attaching = pending.word in ATTACHING or pending.word in {"dressed in", "clad in"}
        self.attached = pending.subject if is_attaching else None
        self.shared = pending
        is_verb = pending.kind == "action" and (pending.word.endswith("ing") or pending.word.split()[0] in _STAYING)
        self.verb = pending.word if is_verb else ""
        self.last = name
        self.clause.append(name)
        self.is_relative = False

    def _is_pictured(self, at: int) -> bool:
        """Return whether `on a poster` or the like begins at a token, so that what stands before it is a picture."""
        if self.tokens.at(at) != "on":
            return False
        phrase = self.phrases.read(at + 1)[0]
        return phrase is not None and phrase.thing.name.split()[-1] in _CARRIERS

    def start_clause(self, name: str) -> None:
        if self.fronted is not None:
            place, target, span = self.fronted
            is_room = target.split()[-1] in SCENES | SEATS or place != "on top of"
            if is_room or not acts(name):
                self.found.relate(name, place, (target,), "position")
                self.tokens.use(*span)
            else:  # `on a counter, a woman is cutting a cake`
                self.tokens.doubt(*span)
            self.fronted = None
        self.head = name
        self.has_predicate = self.is_rivalled = False
        self.clause = [name]
        self.is_relative = False
        self.first = self.first or name
        self.last, self.agent, self.attached, self.shared, self.verb = name, None, None, None, ""

    def begins_phrase(self, at: int) -> bool:
        """Return whether a noun phrase begins with an article, a possessive or a number at a token."""
        return self.tokens.at(at) in DETERMINERS or number_of(self.tokens.at(at)) is not None

    def is_ambient(self, at: int) -> bool:
        """Return whether a phrase names light or weather, which is no thing that others are in."""
        phrase = self.phrases.read(at)[0]
        return phrase is not None and phrase.thing.name.split()[-1] in AMBIENT

    def is_alone(self) -> bool:
        """Return whether the clause has named nothing but the last thing."""
        return all(name == self.last for name in self.clause)

    def has_own_part(self, shared: Pending | None) -> bool:
        """Return whether `with` has opened a clause about a part, as in `with its head in the sand`."""
        if shared is None or shared.word != "with" or self.last is None:
            return False
        opening = self.tokens.at(shared.span[1])
        is_part = self.last.split()[-1] in LIMBS
        return opening in POSSESSIVES or (is_part and opening == "one")


def kinds_of(name: str) -> set[str]:
    """Return the last word of the name of a thing, as it is and in the plural and singular."""
    if name.endswith(INERT):
        return {name}
    return {name.split()[-1], singular(name).split()[-1], plural(name).split()[-1]}


def acts(name: str) -> bool:
    """Return whether a thing acts by itself."""
    group, _, last = name.rpartition(" ")
    if name.endswith(INERT):
        return False
    return last in ANIMATE or (" of" in group and singular(last) in ANIMATE)
