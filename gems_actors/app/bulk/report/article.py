"""One trajectory in a report, as HTML: its rounds side by side, or its picture alone if memory does not have it.

A round is a card: its picture, a line per requirement, the changes of the prompt, the experience of the round.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from os.path import relpath
from pathlib import Path
from typing import Final
from urllib.parse import quote

from gems_actors.app.bulk.rows import Row
from gems_actors.app.draw_progress import action_text, compare_words, count_met, leading_attempt, unchecked_line
from gems_actors.app.picture_files import PictureError, thumbnail_of
from protocol.messages import Answer, Attempt, Requirement, TrajectoryState

_ROUND_PX: Final = 256
_CANDIDATE_PX: Final = 72
"""Width of the pictures of a round that are not its best."""
_MARKS: Final[dict[str, str]] = {"met": "✓", "unmet": "✗", "unsure": "?"}
_CHANGES: Final = {"kept": "{}", "added": "<ins>{}</ins>", "removed": "<del>{}</del>"}
_ALT_CHARS: Final = 120
"""Characters of a prompt that the text in place of its picture repeats."""

PathOf = Callable[[str], Path | None]
"""Returns the path of the picture with a digest, or None if it is not on this host."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures that a page may show."""

    folder: Path
    """Folder of the page; links to pictures are relative to it, so that both can be moved together."""
    path_of: PathOf
    lasting: frozenset[str] | None
    """Digests of pictures that stay when the run is pruned, and so can be linked to; None if all stay."""

    def show(self, digest: str, side_px: int, what: str) -> str:
        """Return a thumbnail that links to its picture, `what` in words; a line of text if it cannot be read."""
        path = self.path_of(digest)
        data = None if path is None else _thumbnail(path, side_px)
        if path is None or data is None:
            return f"<p class=quiet>{escape(what)} The picture is not on this host.</p>"
        image = f'<img alt="{escape(what)}" width="{side_px}" src="data:image/webp;base64,{data}">'
        if self.lasting is not None and digest not in self.lasting:
            return image
        # `./` keeps a name with a colon from being read as the scheme of an address
        return f'<a href="./{quote(relpath(path.absolute(), self.folder.absolute()))}">{image}</a>'


def story_of_rounds(row: Row, state: TrajectoryState, pictures: Pictures) -> str:
    """Return the rounds of a trajectory in memory side by side; `row` is that of the chosen picture."""
    by_round = {
        round_: [attempt for attempt in state.attempts if attempt.round == round_]
        for round_ in sorted({attempt.round for attempt in state.attempts})
    }
    changes = dict(zip(by_round, _changes(row.prompt, state, by_round), strict=True))
    lessons = {item.round: item.text for item in state.experiences}
    cards: list[str] = []
    for round_, attempts in by_round.items():
        leading = _leading(row, attempts)
        is_chosen = state.ending is not None and state.ending.best_round == round_
        badge = "<span class='badge chosen'>Chosen</span>" if is_chosen else ""
        name = f"Round {round_}{', chosen' if is_chosen else ''}"
        total = len(leading.verdicts)
        score = f"{count_met(leading)} of {total} met" if total else "nothing to check"
        others = "".join(
            pictures.show(item.image.digest, _CANDIDATE_PX, f"{name}, candidate {item.candidate}: {_score_of(item)}.")
            for item in attempts
            if item is not leading
        )
        lesson = f"<h5>Experience kept</h5><p class=words>{escape(lessons[round_])}</p>" if round_ in lessons else ""
        cards.append(
            f"<li{' class=chosen' if is_chosen else ''}><h4>Round {round_} {badge}</h4>"
            f"{pictures.show(leading.image.digest, _ROUND_PX, f'{name}, for “{_shortened(row.prompt)}”: {score}.')}"
            f"{f'<div class=others>{others}</div>' if others else ''}"
            f"<p class=score>{score}</p>{_checks_of(state.requirements or (), leading)}"
            f"<h5>{_heading_of(round_, state)}</h5>"
            f"<p class=words>{changes[round_]}</p>{lesson}</li>"
        )
    given = _given(row, state, pictures)
    return f"<article class='panel trajectory'>{_head_of(row)}<ol class=rounds>{given}{''.join(cards)}</ol></article>"


def story_of_row(row: Row, pictures: Pictures) -> str:
    """Return the picture of a row and its verdicts, and the other images of its trajectory."""
    checks = "".join(_check(item.question, item.answer, item.score, "") for item in row.requirements)
    final = "" if row.final_prompt == row.prompt else f"<p class=words>Drawn from: {escape(row.final_prompt)}</p>"
    met = f"{row.met} of {len(row.requirements)} met" if row.requirements else "nothing to check"
    paths = {digest: pictures.path_of(digest) for digest in row.digests if digest != row.digest}
    others = "".join(
        pictures.show(digest, _CANDIDATE_PX, f"Image {number} of {row.images} drawn for this prompt, not chosen.")
        for number, digest in enumerate(row.digests, 1)
        if paths.get(digest) is not None
    )
    shown = pictures.show(row.digest, _ROUND_PX, f"Picture of “{_shortened(row.prompt)}”: {met}.")
    return (
        f"<article class='panel trajectory'>{_head_of(row)}<div class=single><div>{shown}</div>"
        f"<div>{final}<p class=score>{met}</p><ul class=checks>{checks}</ul>"
        f"{f'<div class=others>{others}</div>' if others else ''}</div></div></article>"
    )


def _given(row: Row, state: TrajectoryState, pictures: Pictures) -> str:
    """Return the pictures that the user gave as cards; nothing without any."""
    references = () if state.task is None else state.task.references
    names = row.references if len(row.references) == len(references) else [""] * len(references)
    return "".join(
        f"<li><h4>Given</h4>{pictures.show(image.digest, _ROUND_PX, f'Given picture {number} {name}'.rstrip() + '.')}"
        f"<p class=words>{escape(name)}</p></li>"
        for number, (image, name) in enumerate(zip(references, names, strict=True), 1)
    )


def _head_of(row: Row) -> str:
    position = f"record {row.index + 1}" + (f", sample {row.sample}" if row.sample else "")
    drawn = f"{row.rounds} round{'s' * (row.rounds > 1)}, {row.images} image{'s' * (row.images > 1)}"
    line = f"{position} · {drawn} · seed {row.seed} · skill {row.skill or 'none'} · chosen: {row.decided_by}"
    line += f" · drawn from {', '.join(row.references)}" if row.references else ""
    line += f" · {row.outcome.replace('_', ' ')}: {row.failure}" if row.failure else ""
    unchecked = unchecked_line(row.not_understood, len(row.requirements))
    line += f" · {unchecked}" if unchecked else ""
    return f"<header><h3>{escape(row.prompt)}</h3>{_badge_of(row)}</header><p class=quiet>{escape(line)}</p>"


def _badge_of(row: Row) -> str:
    unmet, total = len(row.requirements) - row.met, len(row.requirements)
    if not total:
        return "<span class='badge unsure'>? nothing to check</span>"
    if row.all_met:
        return f"<span class='badge met'>✓ all {total} met</span>"
    return f"<span class='badge unmet'>✗ {unmet} of {total} not met</span>"


def _leading(row: Row, attempts: Sequence[Attempt]) -> Attempt:
    """Return the attempt that represents its round: the chosen picture if it is among them, otherwise the best."""
    chosen = next((attempt for attempt in attempts if attempt.image.digest == row.digest), None)
    return chosen or leading_attempt(attempts) or attempts[0]


def _score_of(attempt: Attempt) -> str:
    return f"{count_met(attempt)} of {len(attempt.verdicts)} met"


def _checks_of(requirements: Iterable[Requirement], attempt: Attempt) -> str:
    verdicts = {verdict.requirement: verdict for verdict in attempt.verdicts}
    lines = []
    for item in requirements:
        verdict = verdicts.get(item.id)
        answer, score, reason = (verdict.answer, verdict.score, verdict.reason) if verdict else (None, None, "")
        lines.append(_check(item.question, answer, score, reason))
    return f"<ul class=checks>{''.join(lines)}</ul>"


def _check(question: str, answer: Answer | str | None, score: float | None, reason: str) -> str:
    word = answer if answer in _MARKS else "not judged"
    shown = "" if score is None else f"<span class=number>{score:.2f}</span>"
    why = f"<span class=reason>{escape(reason)}</span>" if reason else ""
    return (
        f"<li><b class={answer if answer in _MARKS else 'unsure'} title='{word}'><span aria-hidden=true>"
        f"{_MARKS.get(answer or '', '·')}</span><span class=spoken>{word}: </span></b>"
        f"<span>{escape(question)}{why}</span>{shown}</li>"
    )


def _changes(prompt: str, state: TrajectoryState, rounds: Iterable[int]) -> Iterator[str]:
    """Yield the changes of the prompt in each round; the first round is compared with the user's prompt."""
    before = prompt
    for round_ in rounds:
        after, refinement = state.prompt_of(round_) or before, state.refinement_of(round_)
        if refinement is not None and refinement.action != "rewrite":
            yield escape(action_text(refinement))
            continue
        yield " ".join(_CHANGES[change].format(escape(passage)) for change, passage in compare_words(before, after))
        before = after


def _heading_of(round_: int, state: TrajectoryState) -> str:
    """Return what stands above the prompt of a round."""
    refinement = state.refinement_of(round_)
    if refinement is not None and refinement.edited is not None:
        return "Instruction"
    return "Prompt, compared with yours" if round_ == 1 else "Prompt, compared with the round before"


def _shortened(prompt: str) -> str:
    return prompt if len(prompt) <= _ALT_CHARS else f"{prompt[:_ALT_CHARS].rstrip()} …"


def _thumbnail(path: Path, side_px: int) -> str | None:
    """Return a thumbnail in Base64, or None if the picture cannot be read."""
    try:
        return base64.b64encode(thumbnail_of(path.read_bytes(), side_px)).decode()
    except (OSError, PictureError):
        return None
