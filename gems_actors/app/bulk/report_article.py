"""One trajectory in a report, as HTML: its rounds side by side, or its picture alone if memory does not have it.

A round is a column: its picture, a tick per requirement, the changes of the prompt, the experience of the round.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image

from gems_actors.app.bulk.rows import Row
from gems_actors.app.draw_progress import compare_words, count_met, leading_attempt, unchecked_line
from protocol.messages import Attempt, Requirement, TrajectoryState

_PICTURE_PX: Final = 224
_ROUND_PX: Final = 160
_CANDIDATE_PX: Final = 72
"""Width of the pictures of a round that are not its best."""
_QUALITY: Final = 80
_MARKS: Final = {"met": ("✓", "met"), "unmet": ("✗", "unmet"), "unsure": ("?", "unsure")}
_CHANGES: Final = {"kept": "{}", "added": "<ins>{}</ins>", "removed": "<del>{}</del>"}

PathOf = Callable[[str], Path | None]
"""Returns the path of the picture with a digest, or None if it is not on this host."""


def story_of_rounds(row: Row, state: TrajectoryState, path_of: PathOf) -> str:
    """Return the rounds of a trajectory in memory side by side; `row` is that of the chosen picture."""
    by_round = {
        round_: [attempt for attempt in state.attempts if attempt.round == round_]
        for round_ in sorted({attempt.round for attempt in state.attempts})
    }
    chosen = state.ending.best_round if state.ending else 0
    leading = {round_: _leading(row, attempts) for round_, attempts in by_round.items()}
    heads = "".join(
        f"<th class=chosen>round {round_}, chosen" if round_ == chosen else f"<th>round {round_}" for round_ in by_round
    )
    pictures = "".join(f"<td>{_pictures(leading[round_], by_round[round_], path_of)}" for round_ in by_round)
    changes = "".join(f"<td>{change}" for change in _changes(row.prompt, state, by_round))
    lines = [f"<tr><th>{heads}", f"<tr><th>{pictures}"]
    lines += [_ticks(item, list(leading.values())) for item in state.requirements or ()]
    if state.requirements:
        met = "".join(f"<td>{count_met(attempt)} of {len(attempt.verdicts)}" for attempt in leading.values())
        lines.append(f"<tr class=sum><th>met{met}")
    lines.append(f"<tr class=words><th>prompt{changes}")
    lessons = {item.round: item.text for item in state.experiences}
    if lessons:
        kept = "".join(f"<td>{escape(lessons.get(round_, ''))}" for round_ in by_round)
        lines.append(f"<tr class=words><th>experience kept{kept}")
    return f"<article>{_head_of(row)}<div class=rounds><table>{''.join(lines)}</table></div></article>"


def story_of_row(row: Row, picture: Path, path_of: PathOf) -> str:
    """Return the picture of a row and its verdicts, and the other images of its trajectory."""
    marks = []
    for requirement in row.requirements:
        score = "" if requirement.score is None else f" <span class=quiet>{requirement.score:.2f}</span>"
        marks.append(f"<li>{_mark(requirement.answer)} {escape(requirement.question)}{score}")
    final = "" if row.final_prompt == row.prompt else f"<p class=quiet>drawn from: {escape(row.final_prompt)}</p>"
    others = "".join(_thumbnail(path_of(digest), _CANDIDATE_PX) for digest in row.digests if digest != row.digest)
    return (
        f"<article>{_head_of(row)}<div class=one><div>{_thumbnail(picture, _PICTURE_PX)}</div>"
        f"<div>{final}<ul>{''.join(marks)}</ul><div class=others>{others}</div></div></div></article>"
    )


def _head_of(row: Row) -> str:
    position = f"record {row.index + 1}" + (f", sample {row.sample}" if row.sample else "")
    drawn = f"{row.rounds} round{'s' * (row.rounds > 1)}, {row.images} image{'s' * (row.images > 1)}"
    line = f"{position} · {drawn} · seed {row.seed} · skill {row.skill or 'none'} · chosen: {row.decided_by}"
    line += f" · {row.outcome.replace('_', ' ')}: {row.failure}" if row.failure else ""
    unchecked = unchecked_line(row.not_understood, len(row.requirements))
    line += f" · {unchecked}" if unchecked else ""
    return f"<h3>{escape(row.prompt)}</h3><p class=quiet>{escape(line)}</p>"


def _leading(row: Row, attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt that represents its round: the chosen picture if it is among them, otherwise the best."""
    chosen = next((attempt for attempt in attempts if attempt.image.digest == row.digest), None)
    return chosen or leading_attempt(attempts) or attempts[0]


def _pictures(leading: Attempt, attempts: Sequence[Attempt], path_of: PathOf) -> str:
    digests = [attempt.image.digest for attempt in attempts if attempt is not leading]
    others = "".join(_thumbnail(path_of(digest), _CANDIDATE_PX) for digest in digests)
    small = f"<div class=others>{others}</div>" if others else ""
    return _thumbnail(path_of(leading.image.digest), _ROUND_PX) + small


def _ticks(requirement: Requirement, attempts: Sequence[Attempt]) -> str:
    cells = []
    for attempt in attempts:
        verdict = next((item for item in attempt.verdicts if item.requirement == requirement.id), None)
        reason = f' title="{escape(verdict.reason)}"' if verdict and verdict.reason else ""
        score = f" <span class=quiet>{verdict.score:.2f}</span>" if verdict and verdict.score is not None else ""
        cells.append(f"<td{reason}>{_mark(verdict.answer if verdict else None)}{score}")
    return f"<tr><th>{escape(requirement.question)}{''.join(cells)}"


def _changes(prompt: str, state: TrajectoryState, rounds: Iterable[int]) -> Iterator[str]:
    """Yield the changes of the prompt in each round; the first round is compared with the user's prompt."""
    before = prompt
    for round_ in rounds:
        after = state.prompt_of(round_) or before
        yield " ".join(_CHANGES[change].format(escape(passage)) for change, passage in compare_words(before, after))
        before = after


def _mark(answer: str | None) -> str:
    mark, class_ = _MARKS.get(answer or "", ("·", "unsure"))
    return f"<b class={class_}>{mark}</b>"


def _thumbnail(path: Path | None, side_px: int) -> str:
    """Return an inline thumbnail, or an empty text if the picture cannot be read."""
    if path is None:
        return ""
    try:
        with Image.open(path) as picture:
            thumbnail = picture.convert("RGB")
            thumbnail.thumbnail((2 * side_px, 2 * side_px), reducing_gap=2.0)  # sharp on dense screens too
            file = io.BytesIO()
            thumbnail.save(file, "WEBP", quality=_QUALITY, method=2)
    except OSError:
        return ""
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="" loading="lazy" width="{side_px}" src="data:image/webp;base64,{data}">'
