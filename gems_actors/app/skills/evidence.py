"""What trajectories say about wording: which refinements turned unmet requirements into met ones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, cast

from actors.rounds import PastRound, look_back
from protocol.limits import MAX_NOTE_CHARS
from protocol.messages import KindCount, RequirementKind, TrajectoryState, Turn

MAX_TURNS: Final = 200
"""Turns that are kept; the curator shows its model fewer."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What some trajectories have in common."""

    trajectories: int
    counts: tuple[KindCount, ...]
    turns: tuple[Turn, ...]


def distil(states: Iterable[TrajectoryState]) -> Distilled:
    """Return how often requirements of each kind were unmet and met later, and the turns from one to the other."""
    asked: Counter[str] = Counter()
    unmet: Counter[str] = Counter()
    turned: Counter[str] = Counter()
    turns: list[Turn] = []
    trajectories = 0
    for state in states:
        rounds = _rounds_of(state)
        if not rounds or not state.requirements:
            continue
        trajectories += 1
        kinds = {item.question: item.kind for item in state.requirements}
        asked.update(kinds.values())
        first = set(rounds[0].unmet)
        later = {question for past in rounds[1:] for question in past.met}
        unmet.update(kinds[question] for question in first)
        turned.update(kinds[question] for question in first & later)
        for before, after in pairwise(rounds):
            if before.attempt.edited is None and after.attempt.edited is None:  # else no wording of prompts did it
                turns += _turns_of(before, after, kinds)
    counts = [
        KindCount(kind=cast(RequirementKind, kind), asked=asked[kind], unmet=unmet[kind], turned=turned[kind])
        for kind in sorted(asked)
    ]
    return Distilled(trajectories, tuple(counts), tuple(_spread(turns)[:MAX_TURNS]))


def _rounds_of(state: TrajectoryState) -> tuple[PastRound, ...]:
    last = max((attempt.round for attempt in state.attempts), default=0)
    return look_back(state, last) if last else ()


def _turns_of(before: PastRound, after: PastRound, kinds: dict[str, RequirementKind]) -> Iterator[Turn]:
    met = set(after.met)
    for question in before.unmet:
        if question in met:
            yield Turn(
                question=question[:MAX_NOTE_CHARS],
                kind=kinds[question],
                before=before.attempt.prompt[:MAX_NOTE_CHARS],
                after=after.attempt.prompt[:MAX_NOTE_CHARS],
                lesson=(before.experience or "")[:MAX_NOTE_CHARS],
            )


def _spread(turns: Sequence[Turn]) -> list[Turn]:
    """Return turns with those of all kinds in turn, so that no kind crowds out the others."""
    seen: Counter[str] = Counter()
    ranked = []
    for turn in turns:
        seen[turn.kind] += 1
        ranked.append((seen[turn.kind], turn))
    return [turn for _, turn in sorted(ranked, key=lambda item: item[0])]
