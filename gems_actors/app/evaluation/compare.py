"""Compares strategies on the same prompts: means over repeated runs with confidence intervals. Pure.

A repeat is a folder that was drawn with another seed. The interval is Student's t interval of the mean; it needs at
least two repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Final
from xml.sax.saxutils import escape

_T_975: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
)  # fmt: skip
"""Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1; more than 20 use the normal quantile."""
_NORMAL_975: Final = 1.960

_ROW_PX, _LABEL_PX, _BAR_PX = 26, 260, 460


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over repeats."""

    mean: float
    half_width: float | None
    """Half the width of the 95 % confidence interval; None for a single repeat."""
    repeats: int

    def __str__(self) -> str:
        """Return mean and half width as a table shows them."""
        return f"{self.mean:.1f}" + ("" if self.half_width is None else f" ± {self.half_width:.1f}")


def estimate(values: Sequence[float]) -> Estimate:
    """Return the mean of one or more repeats and its confidence interval."""
    count = len(values)
    if count < 2:
        return Estimate(values[0], None, count)
    quantile = _T_975[count - 2] if count - 2 < len(_T_975) else _NORMAL_975
    return Estimate(fmean(values), quantile * stdev(values) / sqrt(count), count)


def compare(runs: Sequence[tuple[str, Mapping[str, float]]]) -> dict[str, dict[str, Estimate]]:
    """Return the figures by strategy, from the strategy and the figures of each run."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, figures in runs:
        for figure, value in figures.items():
            found.setdefault(name, {}).setdefault(figure, []).append(value)
    return {name: {figure: estimate(values) for figure, values in figures.items()} for name, figures in found.items()}


def comparison_rows(compared: Mapping[str, Mapping[str, Estimate]]) -> list[tuple[str, ...]]:
    """Return the rows of a table: the heading, then one row per strategy."""
    figures = list(dict.fromkeys(figure for row in compared.values() for figure in row))
    rows: list[tuple[str, ...]] = [("", "repeats", *figures)]
    for name, row in compared.items():
        repeats = max(item.repeats for item in row.values())
        rows.append((name, str(repeats), *(str(row[figure]) if figure in row else "-" for figure in figures)))
    return rows


def plot_of(compared: Mapping[str, Mapping[str, Estimate]], figure: str) -> str:
    """Return an SVG bar chart of one figure over all strategies, with confidence intervals."""
    shown = {name: row[figure] for name, row in compared.items() if figure in row}
    largest = max((item.mean + (item.half_width or 0.0) for item in shown.values()), default=1.0) or 1.0
    scale = _BAR_PX / largest
    size = f'width="{_LABEL_PX + _BAR_PX + 120}" height="{_ROW_PX * (len(shown) + 1) + 10}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="18" font-weight="bold">{escape(figure)}</text>',
    ]
    for index, (name, item) in enumerate(shown.items(), 1):
        top, length = index * _ROW_PX, item.mean * scale
        end, reach = _LABEL_PX + length, (item.half_width or 0.0) * scale
        lines.append(f'<text x="10" y="{top + 17}">{escape(name)}</text>')
        lines.append(f'<rect x="{_LABEL_PX}" y="{top + 5}" width="{length:.1f}" height="16" fill="#4477aa"/>')
        if item.half_width is not None:
            lines.append(
                f'<path d="M{end - reach:.1f} {top + 13}H{end + reach:.1f}M{end - reach:.1f} {top + 8}v10'
                f'M{end + reach:.1f} {top + 8}v10" stroke="black"/>'
            )
        lines.append(f'<text x="{end + reach + 8:.1f}" y="{top + 17}">{escape(str(item))}</text>')
    return "\n".join([*lines, "</svg>\n"])
