"""A world in which the effect of instructions is known: one helps, one hurts, all others have none."""

from __future__ import annotations

from functools import lru_cache

from gems_actors.app.skills.pairing import Evidence, Pair, Side, weigh
from gems_actors.backends.storyboard.error_model import choose_errors
from gems_actors.backends.storyboard.grammar import DIRECTION_OPENING, parse_scene
from gems_actors.backends.storyboard.laboratory.planted import Garden
from gems_actors.backends.storyboard.scene import claims_of
from gems_actors.config import PlantedInstruction

HELPFUL = "State every count in a clause of its own."
HARMFUL = "State every position in a clause of its own."
NEUTRAL = "State every texture in a clause of its own."
PLANTED = (
    PlantedInstruction(words="every count", kind="count", factor=0.0),
    PlantedInstruction(words="every position", kind="position", factor=2.5),
)
SETTING = (
    'storyboard.planted=[{words="every count", kind="count", factor=0.0}, '
    '{words="every position", kind="position", factor=2.5}]'
)
_FIRST = ("cats", "dogs", "birds", "boats", "coins", "frogs")
_SECOND = ("trees", "cars", "kites", "horses", "chairs")
_THIRD = ("apples", "clocks", "lamps", "shoes")
_PLACES = ("left of", "right of", "above", "below")


def prompts(count: int) -> list[str]:
    """Return different prompts with three counts and a position each."""
    return [
        f"{2 + number % 5} {_FIRST[number % 6]} {_PLACES[number % 4]} {2 + number // 5 % 4} {_SECOND[number % 5]}, "
        f"and {2 + number // 20 % 5} {_THIRD[number % 4]}"
        for number in range(count)
    ]


def try_rule(rule: str, seed: int, *, count: int = 24, samples: int = 4, confidence: float = 0.98) -> Evidence:
    """Return the evidence of a trial in which every picture is judged by the truth, and no picture is drawn."""
    pairs = []
    for place, prompt in enumerate(prompts(count)):
        seeds = [(seed * 1_000_003 + place * 101 + sample) % 2**32 for sample in range(samples)]
        pairs.append(Pair(prompt, _draw(prompt, seeds), _draw(f"{prompt}\n\n{DIRECTION_OPENING} {rule}", seeds)))
    return weigh(pairs, confidence=confidence, resamples=2_000)


_scene_of = lru_cache(maxsize=512)(parse_scene)


def _draw(prompt: str, seeds: list[int]) -> Side:
    scene, garden, side = _scene_of(prompt), Garden(PLANTED, prompt), Side()
    claims = claims_of(scene)
    for seed in seeds:
        lost = choose_errors(scene, garden.seed_of_errors(seed), garden.factor)
        side.pictures += 1
        side.all_met += not lost.intersection(claims)
        for claim in claims:
            met, of = side.kinds.get(claim.kind, (0, 0))
            side.kinds[claim.kind] = (met + (claim not in lost), of + 1)
    return side
