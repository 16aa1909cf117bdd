"""The report of a run: one self-contained HTML page with thumbnails inside.

The rounds of the first trajectories are shown side by side if the run's folder or a running mesh has their memory;
otherwise the page shows what the dataset has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from gems_actors.app.bulk.folder import MESH_FOLDER, FolderState, inspect_folder, run_of
from gems_actors.app.bulk.report_article import story_of_rounds, story_of_row
from gems_actors.app.bulk.rows import Row, rows_of
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.bulk.totals import Share, Tally
from gems_actors.app.memory.access import MemoryLocation, open_memory
from gems_actors.app.picture_files import BLIND_VERIFIER, write_whole
from gems_actors.blobs import BlobFolder, blob_folder
from gems_actors.config import MeshConfig
from gems_actors.errors import ConfigError
from gems_actors.terminal_text import printable_lines
from protocol.identity import trajectory_id
from protocol.messages import ListRuns, ReadTrajectory, TrajectoryState

_CHART_PX: Final = (420, 200)
_MARGIN_PX: Final = 40

Stories = Mapping[tuple[int, int], TrajectoryState]
"""Trajectories in memory, by index and sample."""

_STYLE: Final = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 14%, transparent);
  --blue: #2f74b5; --good: #1e7a32; --bad: #c2362b; --vague: #946800 }
@media (prefers-color-scheme: dark) { :root { --blue: #6cb0f0; --good: #5cc876; --bad: #ff8379; --vague: #e0b040 } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
h3 { font-size: 1rem; margin: 0 }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
th { font-weight: normal } .number { text-align: right; font-variant-numeric: tabular-nums }
.bar { background: var(--soft); width: 18rem; height: .8rem; border-radius: .2rem; margin-top: .3rem }
.bar i { display: block; height: 100%; background: var(--blue); border-radius: .2rem }
svg { max-width: 100%; overflow: visible } svg text { fill: currentColor; font-size: 12px }
article { border-top: 1px solid var(--soft); padding: 1.2rem 0 } article img { display: block; border-radius: .3rem }
.rounds { overflow-x: auto; margin-top: .6rem } .rounds td { min-width: 160px; max-width: 20rem }
.rounds tr > :first-child { min-width: 12rem; max-width: 22rem }
.rounds tr:nth-child(n+3) > * { border-top: 1px solid var(--soft) }
.chosen, .sum { font-weight: 600 } .sum th { font-weight: 600 } .words td { font-size: .85rem; opacity: .85 }
ins { color: var(--good); text-decoration: none } del { color: var(--bad) }
.one { display: grid; grid-template-columns: 224px 1fr; gap: 1.2rem; margin-top: .6rem }
.one img { max-width: 100%; height: auto } ul { list-style: none; padding: 0; margin: 0 0 .5rem }
.met { color: var(--good) } .unmet { color: var(--bad) } .unsure { color: var(--vague) }
.quiet { opacity: .75; font-size: .88rem; margin: .2rem 0 } .others { display: flex; gap: .3rem; flex-wrap: wrap }
.others { margin-top: .3rem }
@media (max-width: 640px) { .one { grid-template-columns: 1fr } .bar { width: 9rem } }
"""


async def write_report(folder: Path, spec: RunSpec, shown: int, router: str | None) -> Path:
    """Write `report.html` into the folder of a run, which may be running, and return its path.

    The page shows the first `shown` trajectories. If the folder has no memory, they are read from the mesh at `router`,
    or from the log in the run's data_dir.

    Raises:
        OutputError: the folder cannot be read or written.
        ConfigError: the memory log is damaged.
        RequestError: the mesh does not answer.
    """
    path = folder / "report.html"
    try:
        config = spec.read_config()
    except ConfigError:  # the configuration file of a run from another host may be missing
        config = MeshConfig()
    location = MemoryLocation(msgspec.structs.replace(config, data_dir=str((folder / MESH_FOLDER).absolute())), None)
    if not location.folders:
        location = MemoryLocation(config, router)
    state = inspect_folder(folder, lambda row: None)
    stories = await _read_stories(location, run_of(folder), islice(rows_of(folder), shown))
    page = ReportPage(spec, state, folder, blob_folder(location.config), stories, shown)
    write_whole(path, printable_lines("".join(page.pieces(rows_of(folder)))).encode())
    return path


async def _read_stories(location: MemoryLocation, run: str, rows: Iterable[Row]) -> Stories:
    """Return the trajectories of rows, as far as memory has them."""
    if location.router is None and not location.folders:
        return {}
    async with open_memory(location) as memory:
        runs = [run]
        if location.router is None:  # the name of a run comes from the folder's first path; the folder may have moved
            runs += [found.run for found in (await memory.ask(ListRuns())).runs if found.run != run]
        stories = {}
        for row in rows:
            ids = [trajectory_id(run_, row.index, row.sample, row.key) for run_ in runs]
            for id_ in [row.trajectory] if row.trajectory else ids:
                if (state := await memory.ask(ReadTrajectory(trajectory=id_))).attempts:
                    stories[row.index, row.sample] = state
                    break
        return stories


@dataclass(frozen=True, slots=True)
class ReportPage:
    """The page of a run."""

    spec: RunSpec
    state: FolderState
    folder: Path
    blobs: BlobFolder | None
    """Pictures of the mesh that drew; without them only those of the dataset are shown."""
    stories: Stories
    shown: int
    """Maximum number of trajectories on the page."""

    def pieces(self, rows: Iterable[Row]) -> Iterator[str]:
        """Yield the page piece by piece, for the rows of the dataset in their order."""
        tally, kinds, articles = Tally(), dict[str, Counter[str]](), list[str]()
        models: dict[str, str] = {}
        for row in rows:
            tally.add(row)
            models = models or row.models
            for item in row.requirements:
                kinds.setdefault(item.kind, Counter())[item.answer or "unsure"] += 1
            if len(articles) < self.shown:
                articles.append(self._story_of(row))
        tally.failed, tally.spent = sum(self.state.failed.values()), self.state.spent
        source, title = self.spec.source, escape(Path(self.spec.source).name)
        yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        yield f"<h1>{title}</h1><p class=quiet>{escape(source)} · strategy {escape(self.spec.strategy)}"
        yield f" · {escape(', '.join(f'{role} {name}' for role, name in models.items()))}</p>"
        yield from _figures_of(tally, self.state)
        yield from _rounds_of(tally)
        yield from _kinds_of(kinds)
        yield from _costs_of(tally)
        if articles:
            first = f"the first {len(articles)} of " if len(articles) < tally.pictures else ""
            yield f"<h2>Pictures: {first}{tally.pictures}</h2>"
            yield from articles
        yield "</body></html>\n"

    def _story_of(self, row: Row) -> str:
        picture = self.folder / "dataset" / row.file_name

        def path_of(digest: str) -> Path | None:
            if digest == row.digest:
                return picture
            path = self.blobs.path_of(digest) if self.blobs is not None else None
            return path if path is not None and path.exists() else None

        if (state := self.stories.get((row.index, row.sample))) is not None:
            return story_of_rounds(row, state, path_of)
        return story_of_row(row, picture, path_of)


def _figures_of(tally: Tally, state: FolderState) -> Iterator[str]:
    failed = ", ".join(f"{count} {class_}" for class_, count in sorted(state.failed.items()))
    lines = {
        "pictures": f"{tally.pictures:,}",
        "failed": f"{tally.failed:,}" + (f" ({failed})" if failed else ""),
        "images drawn for each": f"{tally.images_per_picture:.2f}" if tally.images_per_picture else "-",
        "all met": f"{tally.all_met:,} of {tally.pictures:,}",
        "requirements met": _percent(tally.chosen.rate),
    }
    if tally.checkable_met:
        lines["checkable met"] = (
            f"{tally.checkable_met:,} of {tally.pictures:,}; other words of these prompts were not understood"
        )
    if tally.ended_early:
        lines["ended early"] = tally.ended_early
    if tally.judged_blind:
        lines["judged blind"] = f"{tally.judged_blind:,} of {tally.pictures:,}; {BLIND_VERIFIER}"
    if state.running:
        lines["running"] = state.running
    yield f"<table>{''.join(f'<tr><th>{name}<td>{escape(value)}' for name, value in lines.items())}</table>"


def _rounds_of(tally: Tally) -> Iterator[str]:
    if tally.last_round and tally.chosen.total:
        yield "<h2>Requirements met by round</h2>"
        yield _chart_of(tally)
        yield "<table><tr><th><th class=number>best so far"
        yield "<th class=number>pictures of that round<th class=number>drawn for"
        for index in range(tally.last_round):
            after, within = tally.after_round[index], tally.in_round[index]
            yield f"<tr><th>after round {index + 1}<td class=number>{_percent(after.rate)}"
            yield f"<td class=number>{_percent(within.rate)}<td class=number>{within.pictures:,}"
        yield "</table>"


def _chart_of(tally: Tally) -> str:
    """Return a chart of the score by round: a line for the best so far, points for the pictures of each round."""
    width_px, height_px = _CHART_PX

    def points_of(shares: Iterable[Share]) -> list[tuple[float, float]]:
        step_px = width_px / max(1, tally.last_round - 1)
        return [
            (_MARGIN_PX + index * step_px, 10 + height_px * (1 - share.rate))
            for index, share in enumerate(shares)
            if share.rate is not None
        ]

    best, within = (points_of(shares[: tally.last_round]) for shares in (tally.after_round, tally.in_round))
    parts = [
        f'<svg width="{width_px + 2 * _MARGIN_PX}" height="{height_px + 60}" role="img" aria-label="score by round">'
    ]
    for percent in (0, 25, 50, 75, 100):
        y = 10 + height_px * (1 - percent / 100)
        parts.append(f'<path d="M{_MARGIN_PX} {y:.1f}h{width_px}" stroke="currentColor" opacity=".15"/>')
        parts.append(f'<text x="{_MARGIN_PX - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for number, (x, _) in enumerate(best, 1):
        parts.append(f'<text x="{x:.1f}" y="{height_px + 28}" text-anchor="middle">{number}</text>')
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in best)
    parts.append(f'<polyline points="{line}" fill="none" stroke="var(--blue)" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--blue)"/>' for x, y in best]
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="currentColor"/>' for x, y in within]
    legend_px = height_px + 50
    parts.append(f'<circle cx="{_MARGIN_PX + 4}" cy="{legend_px - 4}" r="4" fill="var(--blue)"/>')
    parts.append(f'<text x="{_MARGIN_PX + 14}" y="{legend_px}">best so far, all prompts, %</text>')
    parts.append(f'<circle cx="{_MARGIN_PX + 204}" cy="{legend_px - 4}" r="4" fill="none" stroke="currentColor"/>')
    parts.append(f'<text x="{_MARGIN_PX + 214}" y="{legend_px}">pictures of that round, %</text>')
    return "".join([*parts, "</svg>"])


def _kinds_of(kinds: Mapping[str, Counter[str]]) -> Iterator[str]:
    if kinds:
        yield "<h2>Requirements met by kind</h2><table>"
        for kind, answers in sorted(kinds.items(), key=lambda item: -item[1].total()):
            rate = answers["met"] / answers.total()
            bar = f'<div class=bar><i style="width:{100 * rate:.1f}%"></i></div>'
            yield f"<tr><th>{escape(kind)} ({answers.total():,})<td>{bar}<td class=number>{_percent(rate)}"
        yield "</table>"


def _costs_of(tally: Tally) -> Iterator[str]:
    if not tally.spent:
        return
    lines = [*sorted(tally.spent.items()), ("all chat models", tally.chats)]
    names = ("calls", "prompt tokens", "of them cached", "completion tokens", "seconds", "cost")
    yield f"<h2>Cost</h2><table><tr><th>{''.join(f'<th class=number>{name}' for name in names)}"
    for role, spent in lines:
        counts = (spent.calls, spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens)
        figures = (*(f"{count:,}" for count in counts), f"{spent.seconds:,.1f}", f"{spent.cost:,.4f}")
        yield f"<tr><th>{escape(role)}{''.join(f'<td class=number>{figure}' for figure in figures)}"
    yield "</table>"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"
