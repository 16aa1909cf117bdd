"""The page of a run: results, failures and trajectories with unmet requirements first, costs and settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from gems_actors import __version__
from gems_actors.app.bulk.folder_files import FolderState
from gems_actors.app.bulk.report.article import Pictures, story_of_rounds, story_of_row
from gems_actors.app.bulk.rows import Row, lines_of
from gems_actors.app.bulk.run_spec import RunSpec
from gems_actors.app.bulk.totals import Tally, format_duration
from gems_actors.app.page_frame import page_head
from gems_actors.app.picture_files import BLIND_VERIFIER
from gems_actors.blobs import BlobFolder
from protocol.messages import TrajectoryState

Stories = Mapping[tuple[int, int], TrajectoryState]
"""Trajectories in memory, by index and sample."""
Failures = Sequence[Mapping[str, Any]]
"""Lines of failed.jsonl."""


@dataclass(slots=True)
class Survey:
    """What one pass over the rows of a dataset finds."""

    limit: int
    """Maximum number of trajectories on the page."""
    tally: Tally = field(default_factory=Tally)
    kinds: dict[str, Counter[str]] = field(default_factory=dict)
    """Number of verdicts by answer, for each kind of requirement."""
    models: dict[str, str] = field(default_factory=dict)
    _unmet: list[Row] = field(default_factory=list)
    _met: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Count a row, and keep it if the page may show it."""
        self.tally.add(row)
        self.models = self.models or row.models
        for item in row.requirements:
            self.kinds.setdefault(item.kind, Counter())[item.answer or "unsure"] += 1
        kept = self._met if row.all_met else self._unmet
        if len(kept) < self.limit:
            kept.append(row)

    @property
    def shown(self) -> list[Row]:
        """The rows of the page: those with unmet requirements first, each kind in the order of the input."""
        return [*self._unmet, *self._met][: self.limit]


def read_failures(folder: Path, limit: int) -> Failures:
    """Return the first failures of a run, as far as their lines can be read."""
    lines = (line for line in lines_of(folder / "failed.jsonl", dict) if line is not None)
    return [*islice(lines, limit)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPage:
    """The page of a run."""

    spec: RunSpec
    state: FolderState
    folder: Path
    blobs: BlobFolder | None
    """Pictures of the mesh that drew; without them only those of the dataset are shown."""
    survey: Survey
    stories: Stories
    failures: Failures

    def pieces(self) -> Iterator[str]:
        """Yield the page piece by piece."""
        tally = self.survey.tally
        tally.failures, tally.spent = self.state.failures, self.state.spent
        name = Path(self.spec.source).name
        title = escape(name)
        yield page_head(name, "report")
        shown = self.survey.shown
        sections = {
            "results": ("Results", f"<h2 class=spoken>Results</h2>{_figures_of(tally, self.state)}"),
            "failed": ("Failed", "".join(_failures_of(self.failures, tally, self.spec.prompt_column))),
            "rates": ("Requirements met", "".join(_rates_of(tally, self.survey.kinds))),
            "pictures": ("Pictures", "".join(self._pictures(shown, tally.pictures))),
            "cost": ("Cost", "".join(_costs_of(tally))),
            "settings": ("Settings", "".join(_settings_of(self.spec, self.survey.models))),
        }
        present = {id_: section for id_, section in sections.items() if section[1]}
        links = "".join(f'<li><a href="#{id_}">{name}</a>' for id_, (name, _) in present.items())
        yield f"<header><h1>{title}</h1><p class=quiet>{self._origin()}</p>"
        yield f"<nav aria-label=Sections><ul>{links}</ul></nav></header><main>"
        for id_, (_, content) in present.items():
            yield f"<section id={id_}>{content}</section>"
        yield f"</main><footer>Written by gems-actors {__version__}. This file loads nothing and runs no script; "
        yield "pictures link to their files next to it.</footer></body></html>\n"

    def _origin(self) -> str:
        """Return where the run came from, and when it last wrote: that time moves with the folder."""
        parts = [f"Report of {escape(self.spec.source)}", f"strategy {escape(self.spec.strategy)}"]
        parts += [f"{escape(role)} {escape(name)}" for role, name in self.survey.models.items()]
        rows = self.folder / "dataset" / "metadata.jsonl"
        if rows.exists():
            written = datetime.fromtimestamp(rows.stat().st_mtime, UTC)
            parts.append(f"last picture <time datetime='{written:%Y-%m-%dT%H:%MZ}'>{written:%Y-%m-%d %H:%M} UTC</time>")
        return " · ".join(parts)

    def _pictures(self, rows: Sequence[Row], total: int) -> Iterator[str]:
        if rows:
            many = f"{len(rows):,} of {total:,}" if len(rows) < total else f"{total:,}"
            yield f"<h2>Pictures: {many}{', those with unmet requirements first' if len(rows) > 1 else ''}</h2>"
            yield from map(self._story_of, rows)

    def _story_of(self, row: Row) -> str:
        picture = self.folder / "dataset" / row.file_name

        def path_of(digest: str) -> Path | None:
            if digest == row.digest:
                return picture
            path = self.blobs.path_of(digest) if self.blobs is not None else None
            return path if path is not None and path.exists() else None

        pictures = Pictures(self.folder, path_of, frozenset({row.digest}) if self.spec.keep_attempts != "all" else None)
        if (state := self.stories.get((row.index, row.sample))) is not None:
            return story_of_rounds(row, state, pictures)
        return story_of_row(row, pictures)


def _figures_of(tally: Tally, state: FolderState) -> str:
    """Return the results at a glance, and what a reader must know to trust them."""
    figures = {
        "Pictures": (f"{tally.pictures:,}", f"{tally.failed:,} failed"),
        "All requirements met": (
            f"{tally.all_met:,} of {tally.pictures:,}",
            _percent(_ratio(tally.all_met, tally.pictures)),
        ),
        "Requirements met": (_percent(tally.chosen.rate), f"{tally.chosen.met:,} of {tally.chosen.total:,}"),
        "Images for each picture": (
            f"{tally.images_per_picture:.2f}" if tally.images_per_picture else "–",
            f"{tally.images:,} drawn" + (f" of {state.plan.in_words}" if state.plan.number else ""),
        ),
    }
    if state.timed_pictures:
        figures["Drawing time"] = (
            format_duration(state.timed_s),
            f"{state.timed_pictures / state.timed_s:.2f} pictures/s" if state.timed_s else "",
        )
    if tally.chats.tokens:
        figures["Tokens of chat models"] = (
            f"{tally.chats.tokens:,}",
            f"cost {tally.chats.cost:,.4f}" if tally.chats.cost else "",
        )
    blind = f"Judged blind: {tally.judged_blind:,} of {tally.pictures:,}; {BLIND_VERIFIER}."
    notices = {
        "running": f"The run is not finished: {state.running} fills the folder." if state.running else "",
        "blind": blind if tally.judged_blind else "",
        "early": f"Ended early: {tally.ended_early}." if tally.ended_early else "",
        "checkable": (
            f"Everything that could be checked is met: {tally.checkable_met:,} of {tally.pictures:,}; other words of "
            "these prompts were not understood."
        ) if tally.checkable_met else "",
    }  # fmt: skip
    tiles = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{note}</small>' if note else ''}</dd></div>"
        for name, (value, note) in figures.items()
    )
    lines = "".join(
        f"<p class='notice{' failed' if kind == 'blind' else ''}'>{escape(text)}</p>"
        for kind, text in notices.items()
        if text
    )
    return f"<dl class=figures>{tiles}</dl>{lines}"


def _failures_of(failures: Failures, tally: Tally, prompt_column: str) -> Iterator[str]:
    if not failures:
        return
    total = tally.failed
    classes = ", ".join(f"{found.count:,} {escape(class_)}" for class_, found in sorted(tally.failures.items()))
    yield f"<h2>Failed: {total:,} ({classes})</h2><div class=panel><p class=quiet>"
    yield f"The first {len(failures):,} of them. " if len(failures) < total else ""
    yield "<a href='./failed.jsonl'>failed.jsonl</a> has all of them; "
    yield "<code>gems bulk retry</code> draws them again.</p>"
    yield "<div class=scroll tabindex=0 role=region aria-label='Failed tasks'><table>"
    yield _head_of("Record", "Class", "Reason", "Prompt", numbers=0)
    for line in failures:
        where, class_, reason = (str(line.get(name, "")) for name in ("where", "class", "reason"))
        prompt = str(line.get(prompt_column, line.get("line", "")))
        yield f"<tr><th scope=row>{escape(where)}<td><span class='badge unmet'>✗ {escape(class_)}</span>"
        yield f"<td>{escape(reason)}<td>{escape(prompt)}"
    yield "</tbody></table></div></div>"


def _rates_of(tally: Tally, kinds: Mapping[str, Counter[str]]) -> Iterator[str]:
    """Yield the share of requirements met by round and by kind, as bars with their numbers."""
    if not tally.last_round or not tally.chosen.total:
        return
    yield "<div class=columns><div class=panel><h2>Requirements met by round</h2><table>"
    yield _head_of("Best after", "", "All prompts", "That round alone", "Drawn for", numbers=3)
    for index in range(tally.last_round):
        after, within = tally.after_round[index], tally.in_round[index]
        yield f"<tr><th scope=row>round {index + 1}{_bar(after.rate)}<td class=number>{_percent(after.rate)}"
        yield f"<td class=number>{_percent(within.rate)}<td class=number>{within.pictures:,}"
    yield "</tbody></table></div><div class=panel><h2>Requirements met by kind</h2><table>"
    yield _head_of("Kind", "", "Met", "Of", numbers=2)
    for kind, answers in sorted(kinds.items(), key=lambda item: _ratio(item[1]["met"], item[1].total()) or 0.0):
        rate = _ratio(answers["met"], answers.total())
        yield f"<tr><th scope=row>{escape(kind)}{_bar(rate)}<td class=number>{_percent(rate)}"
        yield f"<td class=number>{answers.total():,}"
    yield "</tbody></table></div></div>"


def _costs_of(tally: Tally) -> Iterator[str]:
    if not tally.spent:
        return
    yield "<h2>Cost</h2><div class='panel scroll' tabindex=0 role=region aria-label=Cost><table>"
    yield _head_of(
        "Role", "Calls", "Prompt tokens", "Of them cached", "Completion tokens", "Seconds", "Cost", numbers=6
    )
    chats = tally.chats
    for role, spent in [*sorted(tally.spent.items()), ("all chat models", chats)]:
        counts = (spent.calls, spent.prompt_tokens, spent.cached_tokens, spent.completion_tokens)
        figures = (*(f"{count:,}" for count in counts), f"{spent.seconds:,.1f}", f"{spent.cost:,.4f}")
        yield f"<tr{' class=total' if spent is chats else ''}><th scope=row>{escape(role)}"
        yield "".join(f"<td class=number>{figure}" for figure in figures)
    yield "</tbody></table></div>"


def _head_of(*columns: str, numbers: int) -> str:
    """Return the head of a table whose last columns are numbers; the column without a name has the bars."""
    cells = []
    for index, name in enumerate(columns):
        kind = " class=number" if index >= len(columns) - numbers else ""
        cells.append(f"<th scope=col{kind}>{name}" if name else "<td class=wide>")
    return f"<thead><tr>{''.join(cells)}</thead><tbody>"


def _settings_of(spec: RunSpec, models: Mapping[str, str]) -> Iterator[str]:
    """Yield what the pictures follow from; `--set` is left out, because it may hold what is no reader's business."""
    recipe = spec.recipes[-1] if spec.recipes else None
    used = msgspec.to_builtins(recipe.settings) if recipe else spec.settings
    shown = {
        "input": spec.source,
        "strategy": spec.strategy,
        "seed": spec.seed,
        "samples per prompt": spec.samples,
        **{f"{role} model": name for role, name in (recipe.models if recipe else models).items()},
        **{name.replace("_", " "): value for name, value in used.items()},
        "skills": ", ".join(sorted(recipe.skills)) if recipe else "",
    }
    yield "<h2>Settings</h2><dl class='panel settings'>"
    for name, value in shown.items():
        if value not in (None, ""):
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
            yield f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
    yield "</dl>"


def _bar(rate: float | None) -> str:
    """Return a cell with a share as a bar; the number stands next to it."""
    share = "" if not rate else f"<rect class=share width='{100 * rate:.1f}' height=8 />"
    return (
        "<td class=wide><svg class=bar viewBox='0 0 100 8' preserveAspectRatio=none aria-hidden=true>"
        f"<rect class=track width=100 height=8 />{share}</svg>"
    )


def _ratio(count: int, total: int) -> float | None:
    return count / total if total else None


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"
