"""Whether a picture looks like the one that it was drawn from, apart from what an instruction is about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from gems_actors.backends.storyboard.editing.framing import is_same
from gems_actors.backends.storyboard.editing.instructions import Instruction
from gems_actors.backends.storyboard.judging import Verdict
from gems_actors.backends.storyboard.reading import Seen, SeenCard

Given = tuple[Seen | None, bytes]
"""A given picture: what it shows if it is a storyboard, and its fingerprint."""

_ASKED: Final = re.compile(
    r"(?:apart from (.+), does|does) the (?:image|picture) look like the given one", re.IGNORECASE
)
_TEXT, _STYLE, _SETTING = "text", "style", "scene"
"""What an instruction can be about that is no thing."""


def ask_kept(instruction: Instruction) -> str:
    """Return the question whether all is kept that an instruction is not about."""
    parts = [*instruction.names]
    parts += [_TEXT] * bool(instruction.scene.texts or instruction.gone_texts)
    parts += [_STYLE] * bool(instruction.scene.styles) + [_SETTING] * bool(instruction.scene.settings)
    named = [f"the {part}" for part in parts]
    if not named:
        return "Does the image look like the given one?"
    listed = f"{', '.join(named[:-1])} and {named[-1]}" if len(named) > 1 else named[0]
    return f"Apart from {listed}, does the image look like the given one?"


def excepted_in(question: str) -> tuple[str, ...] | None:
    """Return the names that such a question leaves out; None if it is another question."""
    match = _ASKED.fullmatch(question.strip().rstrip("?. "))
    if match is None:
        return None
    return tuple(name.removeprefix("the ").strip() for name in re.split(r", | and ", match[1] or "") if name.strip())


def judge_kept(excepted: Sequence[str], seen: Seen, given: Sequence[Given]) -> Verdict:
    """Return whether a picture looks like the given ones: each as it was seen, and its fingerprint."""
    if not given:
        return Verdict("unsure", "there is no given picture to compare it with")
    changes: list[str] = []
    for number, (before, fingerprint) in enumerate(given):
        if number == 0 and before is not None:
            changes += _changes(before, seen, excepted)
        elif not any(is_same(fingerprint, item.fingerprint) for item in seen.framed):
            changes.append(f"given picture {number + 1} is not shown")
    return Verdict("no", "; ".join(changes[:3])) if changes else Verdict("yes", "nothing else was changed")


def _changes(before: Seen, after: Seen, excepted: Sequence[str]) -> Iterator[str]:
    old, new = _cards(before, excepted), _cards(after, excepted)
    yield from (f"the {name} is gone" for name in old if name not in new)
    yield from (f"a {name} was added" for name in new if name not in old)
    for name, card in old.items():
        if name in new and (change := _change_of(card, new[name])):
            yield f"the {name} {change}"
    if _TEXT not in excepted and _folded(before.texts) != _folded(after.texts):
        yield "the text was changed"
    for kind in (_STYLE, _SETTING):
        noted = [_folded(note for note in seen.notes if note.startswith(f"{kind}: ")) for seen in (before, after)]
        if kind not in excepted and noted[0] != noted[1]:
            yield f"the {kind} was changed"
    shown = [item.fingerprint for item in after.framed]
    if any(not any(is_same(item.fingerprint, other) for other in shown) for item in before.framed):
        yield "a framed picture is gone"


def _cards(seen: Seen, excepted: Sequence[str]) -> dict[str, SeenCard]:
    return {
        card.name: card
        for card in seen.cards
        if not any(card.name == name or card.name.endswith(f" {name}") for name in excepted)
    }


def _change_of(old: SeenCard, new: SeenCard) -> str:
    if old.count != new.count:
        return f"was there {old.count} times, and is {new.count} times"
    if (old.colours, old.surfaces) != (new.colours, new.surfaces):
        return "looks different"
    return "is described differently" if _folded(old.written) != _folded(new.written) else ""


def _folded(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(re.sub(r"\s", "", text).casefold() for text in texts)
