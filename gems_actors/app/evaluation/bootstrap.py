"""Sums over resamples of the prompts, drawn with replacement, and intervals of what follows from them. Pure.

All columns are summed over the same resample, so that figures of different runs stay paired by prompt.

Source: Efron, Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from random import Random
from statistics import quantiles
from typing import Final

MAX_UNITS: Final = 2000
"""Prompts of a stratum that are drawn one by one; of more, equal blocks are drawn, chosen by chance beforehand."""
_FIELD_BITS: Final = 64
_VALUE_BITS: Final = 40
"""Bits of the largest value of a column, so that the sum of sixteen million fits into its field."""


def resampled_sums(
    columns: Sequence[Sequence[float]], strata: Sequence[Sequence[int]], resamples: int, random: Random
) -> Iterator[Sequence[float]]:
    """Yield the sum of each column, all of values from 0 on, over each resample of the rows.

    Every resample has as many rows of each stratum as the stratum has. The values of a row are packed into one integer
    with a field for each column: one addition then adds a row to all sums, ten times faster than one by one.
    """
    quanta = [max(column) / 2**_VALUE_BITS or 1.0 for column in columns]
    fields = list(enumerate(zip(columns, quanta, strict=True)))
    rows = [
        sum(round(column[row] / quantum) << _FIELD_BITS * place for place, (column, quantum) in fields)
        for row in range(len(columns[0]))
    ]
    drawn = [_blocks([rows[row] for row in stratum], random) for stratum in strata]
    unpack = struct.Struct(f"<{len(columns)}Q").unpack
    for _ in range(resamples):
        total = sum(sum(random.choices(units, k=len(units))) for units in drawn)
        counts = unpack(total.to_bytes(_FIELD_BITS // 8 * len(columns), "little"))
        yield [count * quantum for count, quantum in zip(counts, quanta, strict=True)]


def _blocks(units: list[int], random: Random) -> list[int]:
    if len(units) <= MAX_UNITS:
        return units
    shuffled = random.sample(units, len(units))
    return [sum(shuffled[start::MAX_UNITS]) for start in range(MAX_UNITS)]


def interval_of(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of a figure's values on at least two resamples."""
    cuts = quantiles(values, n=round(2 / (1 - confidence)), method="inclusive")
    return cuts[0], cuts[-1]
