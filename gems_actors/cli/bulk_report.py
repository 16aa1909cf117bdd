"""A run on one page: HTML that needs nothing beside itself, for whoever was not there.

What it shows of pictures are thumbnails within the page. Pictures of earlier rounds are shown where the run's own mesh
still has them.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image

from gems_actors.blobs import BlobFolder
from gems_actors.cli.bulk_folder import FolderState, Row, RunFile
from gems_actors.cli.output import cost_in_words
from gems_actors.cli.tally import Tally

_THUMBNAIL_PX: Final = 224
_EARLIER_PX: Final = 96
_MARKS: Final = {"met": ("✓", "met"), "unmet": ("✗", "unmet"), "unsure": ("?", "unsure")}

_STYLE: Final = """
:root { color-scheme: light dark; --soft: color-mix(in srgb, currentColor 12%, transparent) }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.bar { background: var(--soft); width: 18rem; height: .8rem; border-radius: .2rem }
.bar i { display: block; height: 100%; background: #3b82c4; border-radius: .2rem }
article { display: grid; grid-template-columns: 224px 1fr; gap: 1.2rem; padding: 1.2rem 0 }
article { border-top: 1px solid var(--soft) }
article img { max-width: 100%; border-radius: .3rem } ul { list-style: none; padding: 0; margin: .5rem 0 }
.met { color: #2a8a3e } .unmet { color: #c2362b } .unsure { color: #a87900 } .quiet { opacity: .7; font-size: .88rem }
.earlier { display: flex; gap: .4rem; flex-wrap: wrap; margin-top: .4rem } .earlier img { height: 72px; width: auto }
@media (max-width: 640px) { article { grid-template-columns: 1fr } }
"""


def report_of(
    told: RunFile, state: FolderState, rows: Iterable[Row], folder: Path, blobs: BlobFolder | None, shown: int
) -> Iterator[str]:
    """Give the page, piece by piece.

    Args:
        told: what the run was told.
        state: how far it is.
        rows: of its dataset, in their order.
        folder: that was filled.
        blobs: where its own mesh keeps pictures, by digest; None: in no folder, so that earlier ones are not shown.
        shown: how many of the first pictures are shown.
    """
    tally, kinds, articles = Tally(), dict[str, Counter[str]](), list[str]()
    models: dict[str, str] = {}
    for row in rows:
        tally.add(row)
        models = models or row.models
        for requirement in row.requirements:
            kinds.setdefault(requirement.kind, Counter())[requirement.answer or "unsure"] += 1
        if len(articles) < shown:
            articles.append(_article_of(row, folder / "dataset", blobs))
    tally.failed, tally.spent = sum(state.failed.values()), state.spent
    title = escape(Path(told.source).name)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
    yield f"<h1>{title}</h1><p class=quiet>{escape(told.source)} · strategy {escape(told.strategy)}"
    yield f" · {escape(', '.join(f'{role} {name}' for role, name in models.items()))}</p>"
    yield from _figures_of(tally, state)
    yield from _rounds_of(tally)
    yield from _kinds_of(kinds)
    yield from _costs_of(tally)
    if articles:
        first = f"the first {len(articles)} of " if len(articles) < tally.pictures else ""
        yield f"<h2>Pictures: {first}{tally.pictures}</h2>"
        yield from articles
    yield "</body></html>\n"


def _figures_of(tally: Tally, state: FolderState) -> Iterator[str]:
    failed = ", ".join(f"{count} {class_}" for class_, count in sorted(state.failed.items()))
    lines = {
        "pictures": f"{tally.pictures:,}",
        "failed": f"{tally.failed:,}" + (f" ({failed})" if failed else ""),
        "images drawn for each": f"{tally.images_per_picture:.2f}" if tally.images_per_picture else "-",
        "all met": f"{tally.all_met:,} of {tally.pictures:,}",
        "requirements met": _percent(tally.chosen.rate),
    }
    if state.running:
        lines["running"] = state.running
    rows = "".join(f"<tr><th>{name}<td>{escape(value)}" for name, value in lines.items())
    yield f"<table>{rows}</table>"


def _rounds_of(tally: Tally) -> Iterator[str]:
    if tally.last_round:
        yield "<h2>Requirements met by round</h2><table>"
        for place in range(tally.last_round):
            yield _bar(f"after round {place + 1}", tally.after_round[place].rate)
        yield "</table>"


def _kinds_of(kinds: Mapping[str, Counter[str]]) -> Iterator[str]:
    if kinds:
        yield "<h2>Requirements met by kind</h2><table>"
        for kind, answers in sorted(kinds.items(), key=lambda item: -item[1].total()):
            yield _bar(f"{kind} ({answers.total():,})", answers["met"] / answers.total())
        yield "</table>"


def _costs_of(tally: Tally) -> Iterator[str]:
    lines = [(role, words) for role, cost in sorted(tally.spent.items()) if (words := cost_in_words(cost))]
    if lines:
        yield "<h2>Cost</h2><table>"
        for role, words in [*lines, ("all chat models", cost_in_words(tally.chats))]:
            yield f"<tr><th>{escape(role)}<td>{escape(words)}"
        yield "</table>"


def _bar(name: str, rate: float | None) -> str:
    width = 100 * (rate or 0.0)
    bar = f'<div class=bar><i style="width:{width:.1f}%"></i></div>'
    return f"<tr><th>{escape(name)}<td>{bar}<td class=number>{_percent(rate)}"


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


def _article_of(row: Row, dataset: Path, blobs: BlobFolder | None) -> str:
    marks = []
    for requirement in row.requirements:
        mark, class_ = _MARKS.get(requirement.answer or "", ("·", "unsure"))
        score = "" if requirement.score is None else f" <span class=quiet>{requirement.score:.2f}</span>"
        marks.append(f"<li><b class={class_}>{mark}</b> {escape(requirement.question)}{score}")
    place = f"record {row.index}" + (f", sample {row.sample}" if row.sample else "")
    drawn = f"{row.rounds} round{'s' * (row.rounds > 1)}, {row.images} image{'s' * (row.images > 1)}"
    counts = f"{place} · {drawn} · seed {row.seed} · skill {row.skill or 'none'}"
    final = "" if row.final_prompt == row.prompt else f"<p class=quiet>drawn from: {escape(row.final_prompt)}</p>"
    others = [] if blobs is None else [blobs.path_of(digest) for digest in row.digests if digest != row.digest]
    earlier = "".join(_image(path, _EARLIER_PX) for path in others)
    return (
        f"<article><div>{_image(dataset / row.file_name, _THUMBNAIL_PX)}</div><div><b>{escape(row.prompt)}</b>"
        f"<p class=quiet>{escape(counts)}</p>{final}<ul>{''.join(marks)}</ul>"
        f"<p class=quiet>chosen: {escape(row.decided_by)}</p><div class=earlier>{earlier}</div></div></article>"
    )


def _image(path: Path, side_px: int) -> str:
    """Return a picture as a thumbnail within the page; nothing where it is gone."""
    try:
        with Image.open(path) as picture:
            thumbnail = picture.convert("RGB")
            thumbnail.thumbnail((2 * side_px, 2 * side_px))  # sharp on dense screens too
            file = io.BytesIO()
            thumbnail.save(file, "WEBP", quality=80)
    except OSError:
        return ""
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="" loading="lazy" width="{side_px}" src="data:image/webp;base64,{data}">'
