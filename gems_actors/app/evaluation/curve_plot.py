"""A curve as SVG: figures against images and calls a task, one line a strategy. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, floor, log10
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

from gems_actors.app.evaluation.compare import CurvePoint
from gems_actors.app.evaluation.figure_files import SVG_MARK

_PANEL_PX, _HEIGHT_PX = 400, 260
_LEFT_PX, _TOP_PX, _GAP_PX, _BELOW_PX = 58, 34, 64, 46
_LEGEND_ROW_PX, _CHAR_PX = 20, 7
_DOT_PX, _LAST_DOT_PX = 2.5, 4.5
_STYLE: Final = """\
text{font:12px sans-serif;fill:#222}.head{font-weight:bold}.paper{fill:#fff}.grid{stroke:#ddd}.axis{stroke:#888}
@media(prefers-color-scheme:dark){text{fill:#ddd}.paper{fill:#161616}.grid{stroke:#333}.axis{stroke:#777}}"""
_COLOURS: Final = ("#777777", "#ee7733", "#009988", "#0077bb", "#cc3311", "#aa4499", "#999933", "#33a1de")
"""Paul Tol's vibrant scheme and its neighbours, which colour-blind people can tell apart, on white and on black."""
_DASHES: Final = ("none", "7 3")
"""Every other line is dashed, so that one below another can be seen."""


class _Axis(NamedTuple):
    """A scale from the values `low` to `high` to `length` pixels."""

    low: float
    high: float
    length: float

    def px(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low) * self.length

    def ticks(self) -> list[float]:
        step = _nice_step((self.high - self.low) / 5)
        return [number * step for number in range(ceil(self.low / step), floor(self.high / step + 1e-9) + 1)]


def curve_svg_of(points: Sequence[CurvePoint]) -> str:
    """Return points as SVG, with one row of panels for each figure: against images, and against calls if known."""
    figures = [*dict.fromkeys(point.figure for point in points)]
    names = [*dict.fromkeys(point.strategy for point in points)]
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    costs: list[tuple[str, Callable[[CurvePoint], float | None]]] = [("images a task", lambda point: point.images)]
    if any(point.calls is not None for point in points):
        costs.append(("calls of chat models a task", lambda point: point.calls))
    row_px = _TOP_PX + _HEIGHT_PX + _BELOW_PX
    width = _LEFT_PX + len(costs) * (_PANEL_PX + _GAP_PX)
    legend = [*_legend(names, colours, width, len(figures) * row_px)]
    height = len(figures) * row_px + len(legend) * _LEGEND_ROW_PX + 12
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        SVG_MARK,
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" class="paper"/>',
    ]
    for row, figure in enumerate(figures):
        for column, (label, cost) in enumerate(costs):
            found = [(point, x) for point in points if point.figure == figure and (x := cost(point)) is not None]
            lines.append(
                f'<g transform="translate({_LEFT_PX + column * (_PANEL_PX + _GAP_PX)},{row * row_px + _TOP_PX})">'
            )
            lines += _panel(found, figure, label, colours)
            lines.append("</g>")
    return "\n".join([*lines, *legend, "</svg>\n"])


def _panel(
    found: Sequence[tuple[CurvePoint, float]], figure: str, label: str, colours: dict[str, str]
) -> Iterator[str]:
    """Yield one panel with its origin at the upper left corner of the plot."""
    ends = [end for point, _ in found for end in (point.estimate.low, point.estimate.high, point.estimate.mean)]
    values = [end for end in ends if end is not None]
    step = _nice_step((max(values) - min(values)) / 5 or 1.0)
    bottom = floor(min(values) / step) * step
    up = _Axis(bottom, max(ceil(max(values) / step) * step, bottom + step), _HEIGHT_PX)
    along = _Axis(0.0, max(x for _, x in found) * 1.04, _PANEL_PX)
    yield f'<text x="0" y="-14" class="head">{escape(figure)}</text>'
    for tick in up.ticks():
        y = _HEIGHT_PX - up.px(tick)
        yield f'<path d="M0 {y:.1f}H{_PANEL_PX}" class="grid"/>'
        yield f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for tick in along.ticks():
        x = along.px(tick)
        yield f'<path d="M{x:.1f} {_HEIGHT_PX}v5" class="axis"/>'
        yield f'<text x="{x:.1f}" y="{_HEIGHT_PX + 19}" text-anchor="middle">{tick:g}</text>'
    yield f'<path d="M0 0V{_HEIGHT_PX}H{_PANEL_PX}" class="axis" fill="none"/>'
    yield f'<text x="{_PANEL_PX}" y="{_HEIGHT_PX + 36}" text-anchor="end">{escape(label)}</text>'
    numbered = enumerate(colours.items())
    for number, (name, colour) in sorted(numbered, key=lambda item: item[0] % len(_DASHES)):  # dashes on top
        own = [(point, x) for point, x in found if point.strategy == name]
        places = [(along.px(x), _HEIGHT_PX - up.px(point.estimate.mean)) for point, x in own]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        dash = _DASHES[number % len(_DASHES)]
        yield f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}"/>'
        for (point, _), (x, y) in zip(own, places, strict=True):
            low, high = point.estimate.low, point.estimate.high
            if low is not None and high is not None:
                bar = f"M{x:.1f} {_HEIGHT_PX - up.px(low):.1f}V{_HEIGHT_PX - up.px(high):.1f}"
                yield f'<path d="{bar}" stroke="{colour}" stroke-opacity=".35"/>'
            size = _LAST_DOT_PX if (x, y) == places[-1] else _DOT_PX
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" fill="{colour}"/>'


def _legend(names: Sequence[str], colours: dict[str, str], width: float, top: float) -> Iterator[str]:
    """Yield the rows of a legend, as many names in each as fit."""
    column = max(map(len, names)) * _CHAR_PX + 60
    per_row = max(1, int((width - _LEFT_PX) // column))
    for first in range(0, len(names), per_row):
        y = top + first // per_row * _LEGEND_ROW_PX + 8
        parts = []
        for number, name in enumerate(names[first : first + per_row]):
            x, dash = _LEFT_PX + number * column, _DASHES[(first + number) % len(_DASHES)]
            line = f'stroke="{colours[name]}" stroke-width="2.5" stroke-dasharray="{dash}"'
            parts.append(f'<path d="M{x} {y - 4}h22" {line}/>')
            parts.append(f'<text x="{x + 28}" y="{y}">{escape(name)}</text>')
        yield "".join(parts)


def _nice_step(length: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least `length`."""
    power: float = 10.0 ** floor(log10(length))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= length * (1 - 1e-9))
