"""A comparison as a table, Markdown, LaTeX, CSV, JSON or a bar chart. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from xml.sax.saxutils import escape

from gems_actors import __version__
from gems_actors.app.evaluation.compare import Comparison, CurvePoint, Estimate
from gems_actors.app.evaluation.figure_files import CURVE_HEADING, SVG_MARK
from gems_actors.app.picture_files import encode_json

_ROW_PX, _BAR_PX, _CHAR_PX, _MARGIN_PX = 26, 460, 8, 10


def estimate_text(item: Estimate, sign: str = "") -> str:
    """Return a figure with its interval, such as `62.0 [58.1, 65.7]`; `+` as the sign is for differences."""
    text = f"{item.mean:{sign}.1f}"
    return text if item.low is None or item.high is None else f"{text} [{item.low:{sign}.1f}, {item.high:{sign}.1f}]"


def comparison_rows(compared: Comparison) -> list[tuple[str, ...]]:
    """Return the rows of a table: the heading, one row per strategy, and one per difference from the first."""
    rows: list[tuple[str, ...]] = [("", "repeats", *compared.figures)]
    for name, row in compared.rows.items():
        cells = (estimate_text(row.figures[figure]) if figure in row.figures else "-" for figure in compared.figures)
        rows.append((name, str(row.repeats), *cells))
    first = next(iter(compared.rows))
    for name, row in compared.rows.items():
        if row.differences:
            found = row.differences
            cells = (estimate_text(found[figure], "+") if figure in found else "-" for figure in compared.figures)
            rows.append((f"{name} less {first}", "", *cells))
    return rows


def provenance_of(compared: Comparison) -> dict[str, Any]:
    """Return how the intervals were made, and what each run was made with."""
    return {
        "version": __version__,
        "prompts": compared.prompts,
        "of_prompts": compared.of_prompts,
        "prompts_sha256": compared.prompts_sha256,
        "interval": f"95 %, percentiles of {compared.resamples} bootstrap resamples, paired by prompt",
        "runs": [
            {"folder": run.folder, "name": run.strategy, "prompts": run.prompts, **run.made_with}
            for run in compared.runs
        ],
    }


def provenance_lines(compared: Comparison) -> Iterator[str]:
    """Yield the provenance as lines of text."""
    covered = "" if compared.prompts == compared.of_prompts else f" of {compared.of_prompts}, those that all runs have"
    yield f"compared on {compared.prompts} prompts{covered} (SHA-256 {compared.prompts_sha256})"
    yield f"[low, high]: 95 % interval, {compared.resamples:,} bootstrap resamples, paired by prompt"
    yield f"compared by gems-actors {__version__}"
    for run in compared.runs:
        made_with = ", ".join(f"{name} {value}" for name, value in run.made_with.items())
        yield f"{run.folder}: {run.prompts} prompts, {made_with}"


def markdown_of(compared: Comparison) -> str:
    """Return a Markdown table, with the provenance as a list below it."""
    head, *rows = [[cell.replace("|", r"\|") for cell in row] for row in comparison_rows(compared)]
    ruler = [":--", *["--:"] * (len(head) - 1)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, ruler, *rows)]
    return "\n".join([*lines, "", *(f"- {line}" for line in provenance_lines(compared))])


_LATEX_SPECIAL: Final = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}  # fmt: skip


def latex_of(compared: Comparison) -> str:
    """Return a LaTeX table for the package booktabs, below the provenance as comments."""
    head, *rows = [[_latex_text(cell) for cell in row] for row in comparison_rows(compared)]
    lines = [f"% {line}" for line in provenance_lines(compared)]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    for number, row in enumerate(rows):
        if number == len(compared.rows):
            lines.append(r"\midrule")
        lines.append(" & ".join(row) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _latex_text(text: str) -> str:
    escaped = "".join(_LATEX_SPECIAL.get(char, char) for char in text)
    return re.sub(r"(?<![\w.])([+-])(?=\d)", r"$\1$", escaped)


def csv_of(compared: Comparison) -> str:
    """Return CSV with one row per strategy and figure; numbers are not rounded."""
    first = next(iter(compared.rows))
    made_with = {name: _joined(compared, name) for name in ("version", "models", "judge", "seed", "prompt file")}
    fixed = ("compared_by", "prompts_sha256", *(name.replace(" ", "_") for name in made_with))
    head = (
        "strategy", "figure", "mean", "low", "high", "repeats", "prompts",
        "baseline", "difference", "difference_low", "difference_high", *fixed,
    )  # fmt: skip
    rows = []
    for name, row in compared.rows.items():
        for figure, item in row.figures.items():
            less = row.differences.get(figure)
            change = (first, less.mean, less.low, less.high) if less is not None else ("", "", "", "")
            by = (
                f"gems-actors {__version__}",
                compared.prompts_sha256,
                *(values[name] for values in made_with.values()),
            )
            rows.append((name, figure, item.mean, item.low, item.high, row.repeats, compared.prompts, *change, *by))
    return _csv(head, rows)


def _joined(compared: Comparison, what: str) -> dict[str, str]:
    """Return by strategy what its runs were made with."""
    found: dict[str, dict[str, None]] = {}
    for run in compared.runs:
        found.setdefault(run.strategy, {}).update(dict.fromkeys([run.made_with[what]] if what in run.made_with else []))
    return {strategy: "; ".join(values) for strategy, values in found.items()}


def curve_csv_of(points: Sequence[CurvePoint]) -> str:
    """Return the points of a curve as CSV: figures against rounds, images and calls."""
    return _csv(
        CURVE_HEADING,
        [
            (
                point.strategy, point.repeats, point.rounds, point.images, point.calls,
                point.figure, point.estimate.mean, point.estimate.low, point.estimate.high,
            )
            for point in points
        ],
    )  # fmt: skip


def _csv(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")


def json_of(compared: Comparison) -> str:
    """Return one line of JSON."""
    strategies = {
        name: {
            "repeats": row.repeats,
            "figures": {figure: asdict(item) for figure, item in row.figures.items()},
            "differences": {figure: asdict(item) for figure, item in row.differences.items()},
        }
        for name, row in compared.rows.items()
    }
    return encode_json({"strategies": strategies, "provenance": provenance_of(compared)})


FORMATS: Final[Mapping[str, Callable[[Comparison], str]]] = {
    "markdown": markdown_of, "csv": csv_of, "latex": latex_of, "json": json_of
}  # fmt: skip
"""Formats of a comparison besides the table on a terminal."""


def plot_of(compared: Comparison, figure: str) -> str:
    """Return an SVG bar chart of one figure over all strategies, with intervals, on the scale of the figure."""
    shown = {name: row.figures[figure] for name, row in compared.rows.items() if figure in row.figures}
    largest = compared.largest.get(figure) or max((item.high or item.mean for item in shown.values()), default=0) or 1.0
    scale, label_px = _BAR_PX / largest, 2 * _MARGIN_PX + _CHAR_PX * max([len(figure), *map(len, shown)])
    width_px = (
        label_px
        + _BAR_PX
        + _MARGIN_PX
        + _CHAR_PX * max((len(estimate_text(item)) for item in shown.values()), default=0)
    )
    size = f'width="{width_px}" height="{_ROW_PX * (len(shown) + 1) + 10}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">',
        SVG_MARK,
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN_PX}" y="18" font-weight="bold">{escape(figure)}</text>',
    ]
    for index, (name, item) in enumerate(shown.items(), 1):
        top, end = index * _ROW_PX, label_px + item.mean * scale
        lines.append(f'<text x="{_MARGIN_PX}" y="{top + 17}">{escape(name)}</text>')
        lines.append(f'<rect x="{label_px}" y="{top + 5}" width="{item.mean * scale:.1f}" height="16" fill="#4477aa"/>')
        if item.low is not None and item.high is not None:
            low, end = label_px + item.low * scale, label_px + item.high * scale
            whiskers = f"M{low:.1f} {top + 13}H{end:.1f}M{low:.1f} {top + 8}v10M{end:.1f} {top + 8}v10"
            lines.append(f'<path d="{whiskers}" stroke="black"/>')
        lines.append(f'<text x="{end + 8:.1f}" y="{top + 17}">{escape(estimate_text(item))}</text>')
    return "\n".join([*lines, "</svg>\n"])
