"""Weighs paired evidence: the same prompts and seeds drawn in two ways. Pure.

Requirements of one picture are not independent, and neither are pictures of one prompt, so the prompt is the unit
throughout: intervals come from a bootstrap over prompts, the p-values from a sign-flip test over prompts and from
McNemar's exact test, which is the sign test over the prompts in which the number of pictures that meet everything
differs. The random numbers have a fixed seed: the same pictures give the same verdict.

Source: Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapters 13 and 15; McNemar, Psychometrika 12, 1947.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import NormalDist
from typing import Final, Literal

from gems_actors.app.evaluation.bootstrap import interval_of, resampled_sums

RESAMPLES: Final = 10_000
POWER: Final = 0.8
"""Chance of a clear verdict at the number of prompts that would tell."""
SMALL_DIFFERENCE: Final = 0.02
"""Difference in requirements met that a careful comparison should be able to tell."""
_SEED: Final = 0
_CHUNK: Final = 8
_EXACT: Final = 12
"""Prompts with a difference up to which the sign-flip test visits every pattern of signs."""
_TINY: Final = 1e-9

Verdict = Literal["helps", "hurts", "cannot_tell"]


@dataclass(slots=True)
class Side:
    """The pictures of one prompt, drawn in one way."""

    pictures: int = 0
    all_met: int = 0
    """Pictures that meet every requirement."""
    images: int = 0
    """Images drawn for them."""
    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Requirements met, and all of them, by kind."""

    @property
    def total(self) -> tuple[int, int]:
        """Requirements met, and all of them."""
        return sum(met for met, _ in self.kinds.values()), sum(of for _, of in self.kinds.values())


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt, drawn in both ways with the same seeds."""

    prompt: str
    before: Side
    after: Side
    """Drawn with what is on trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A share in both ways, and how much it changes; shares from 0 to 1."""

    before: float
    after: float
    change: float
    low: float | None
    """Lower end of the interval of the change; None where a single prompt allows none."""
    high: float | None
    prompts: int
    """Prompts that the share is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What paired pictures say."""

    verdict: Verdict
    confidence: float
    """Confidence of the intervals and of the verdict, such as 0.95."""
    prompts: int
    pictures: int
    """Pictures drawn each way."""
    requirements: Difference
    all_met: Difference
    kinds: Mapping[str, Difference]
    p_requirements: float
    """Chance of a change in requirements met at least as large if there were no effect: sign-flip test, two-sided."""
    p_all_met: float
    """The same for pictures that meet everything: McNemar's exact test, two-sided."""
    gained: int
    """Prompts with more such pictures than before."""
    lost: int
    prompts_to_tell: int | None
    """Prompts that would tell a change as large as this one with a chance of 80 %; None without any change."""
    prompts_to_tell_2_points: int | None
    """The same for a change of two percentage points; None where the prompts do not differ at all."""


def weigh(pairs: Sequence[Pair], *, confidence: float = 0.95, resamples: int = RESAMPLES) -> Evidence:
    """Return the evidence of paired pictures; prompts without requirements, or with pictures on one side, say nothing.

    Raises:
        ValueError: no pair says anything.
    """
    pairs = [pair for pair in pairs if all(side.pictures and side.total[1] for side in (pair.before, pair.after))]
    if not pairs:
        raise ValueError("expected prompts that were drawn both ways and have requirements, got none")
    kinds = sorted({kind for pair in pairs for kind in (*pair.before.kinds, *pair.after.kinds)})
    columns = {
        "all": [_weighed(pair.before.total, pair.after.total) for pair in pairs],
        "all met": [_weighed_pictures(pair) for pair in pairs],
        **{f"kind {kind}": [_weighed_kind(pair, kind) for pair in pairs] for kind in kinds},
    }
    differences = _differences(columns, confidence, resamples)
    requirements = differences["all"]
    changes = [after - before for _, before, after in columns["all"]]
    p_requirements = sign_flip(changes, resamples)
    gains = [after - before for _, before, after in columns["all met"]]
    gained, lost = sum(gain > _TINY for gain in gains), sum(gain < -_TINY for gain in gains)
    p_all_met = mcnemar(gained, lost)
    level = 1 - confidence
    spread = _spread(columns["all"], requirements.change)
    return Evidence(
        verdict=_verdict(requirements, p_requirements, level, contrary=lost - gained if p_all_met <= level else 0),
        confidence=confidence,
        prompts=len(pairs),
        pictures=sum(pair.after.pictures for pair in pairs),
        requirements=requirements,
        all_met=differences["all met"],
        kinds={kind: differences[f"kind {kind}"] for kind in kinds},
        p_requirements=p_requirements,
        p_all_met=p_all_met,
        gained=gained,
        lost=lost,
        prompts_to_tell=prompts_to_tell(spread, requirements.change, confidence),
        prompts_to_tell_2_points=prompts_to_tell(spread, SMALL_DIFFERENCE, confidence),
    )


def sign_flip(changes: Sequence[float], resamples: int = RESAMPLES) -> float:
    """Return the two-sided p-value of a sum of changes if the sign of each had been a matter of chance."""
    changes = [change for change in changes if abs(change) > _TINY]
    if not changes:
        return 1.0
    tables = [_subset_sums(changes[start : start + _CHUNK]) for start in range(0, len(changes), _CHUNK)]
    total = sum(changes)
    is_exact = len(changes) <= _EXACT
    random = Random(_SEED)  # not for secrets
    patterns = range(2 ** len(changes)) if is_exact else (random.getrandbits(len(changes)) for _ in range(resamples))
    extreme = 0
    for bits in patterns:
        kept = sum(table[bits >> _CHUNK * place & 2**_CHUNK - 1] for place, table in enumerate(tables))
        extreme += abs(2 * kept - total) >= abs(total) - _TINY
    return extreme / (1 << len(changes)) if is_exact else (extreme + 1) / (resamples + 1)


def mcnemar(gained: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test from the numbers of discordant pairs."""
    discordant = gained + lost
    tail = sum(math.comb(discordant, count) for count in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / (1 << discordant))


def prompts_to_tell(spread: float, change: float, confidence: float) -> int | None:
    """Return the prompts at which a change would be told with the power `POWER`, from the spread of single prompts."""
    if not spread or abs(change) <= _TINY:
        return None
    quantiles = NormalDist().inv_cdf((1 + confidence) / 2) + NormalDist().inv_cdf(POWER)
    return max(2, math.ceil((quantiles * spread / change) ** 2))


_Weighed = tuple[float, float, float]
"""The weight of a prompt, and its share before and after, times the weight."""


def _weighed(before: tuple[float, float], after: tuple[float, float]) -> _Weighed:
    """Weigh a prompt by its requirements; where the two ways have different numbers of them, by the mean."""
    weight = (before[1] + after[1]) / 2
    return weight, weight * before[0] / before[1], weight * after[0] / after[1]


def _weighed_pictures(pair: Pair) -> _Weighed:
    return _weighed((pair.before.all_met, pair.before.pictures), (pair.after.all_met, pair.after.pictures))


def _weighed_kind(pair: Pair, kind: str) -> _Weighed:
    before, after = (side.kinds.get(kind, (0, 0)) for side in (pair.before, pair.after))
    return _weighed(before, after) if before[1] and after[1] else (0.0, 0.0, 0.0)


def _differences(columns: Mapping[str, Sequence[_Weighed]], confidence: float, resamples: int) -> dict[str, Difference]:
    """Return each share with the interval of its change; all shares are computed on the same resamples."""
    flat = [list(values) for weighed in columns.values() for values in zip(*weighed, strict=True)]
    prompts = len(flat[0])
    changes: list[list[float]] = [[] for _ in columns]
    if prompts > 1:
        for sums in resampled_sums(flat, [range(prompts)], resamples, Random(_SEED)):
            for place, found in enumerate(changes):
                weight, before, after = sums[3 * place : 3 * place + 3]
                if weight:
                    found.append((after - before) / weight)
    differences = {}
    for (name, weighed), found in zip(columns.items(), changes, strict=True):
        weight, before, after = (math.fsum(values) for values in zip(*weighed, strict=True))
        change = (after - before) / weight if weight else 0.0
        low, high = interval_of(found, confidence) if len(found) > resamples // 2 else (None, None)
        differences[name] = Difference(
            before=before / weight if weight else 0.0,
            after=after / weight if weight else 0.0,
            change=change,
            low=None if low is None else min(low, change),  # sums in fixed point may miss the mean by their last bit
            high=None if high is None else max(high, change),
            prompts=sum(1 for one in weighed if one[0]),
        )
    return differences


def _spread(weighed: Sequence[_Weighed], change: float) -> float:
    """Return the standard deviation of what single prompts say of a change, which is a ratio of sums."""
    if len(weighed) < 2:
        return 0.0
    mean = math.fsum(weight for weight, _, _ in weighed) / len(weighed)
    parts = [((after - before) - change * weight) / mean for weight, before, after in weighed]
    return math.sqrt(math.fsum(part * part for part in parts) / (len(parts) - 1))


def _verdict(found: Difference, p_value: float, level: float, *, contrary: int) -> Verdict:
    """Return the verdict: interval and test must agree, and pictures that meet everything must not say the contrary.

    The interval of a bootstrap is too narrow for few prompts, and the test says nothing of the size: it takes both.
    """
    if found.low is None or found.high is None or p_value > level:
        return "cannot_tell"
    if found.low > _TINY and contrary <= 0:
        return "helps"
    if found.high < -_TINY and contrary >= 0:
        return "hurts"
    return "cannot_tell"


def _subset_sums(values: Sequence[float]) -> list[float]:
    """Return the sum of each subset of up to eight values, by the bits of its index."""
    sums = [0.0]
    for value in values:
        sums += [known + value for known in sums]
    return sums
