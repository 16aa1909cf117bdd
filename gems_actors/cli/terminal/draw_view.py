"""The live view of one draw: what a state looks like on a terminal of some size. It neither writes nor waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from gems_actors.app.draw_progress import Progress, answers_of_round, compare_words, printable, step_of
from gems_actors.roles import BUILT_IN_ROLES
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from protocol.messages import Answer, RoleStatus

_ROLE_ORDER = tuple(BUILT_IN_ROLES)
_COLUMN_CELLS = 3
"""One round in the list of requirements."""
_MAX_DOTS = 6
_MIN_TABLE_LINES = 5
"""Of the list of requirements; on a low terminal it goes before the change of the prompt."""
_MAX_PROMPT_LINES = 2
_MAX_CHANGE_LINES = 3
_MAX_NOTE_LINES = 2


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The signs of the view."""

    met: str
    unmet: str
    unsure: str
    none: str
    busy: str
    idle: str
    more: str
    between: str


UNICODE: Final = Glyphs(met="✓", unmet="✗", unsure="?", none="·", busy="●", idle="○", more="…", between=" · ")
ASCII: Final = Glyphs(met="+", unmet="x", unsure="?", none=".", busy="*", idle="o", more="...", between=", ")
"""For terminals that are not UTF-8."""

_STYLES: dict[Answer, str] = {"met": "green", "unmet": "bold red", "unsure": "yellow"}


@dataclass(frozen=True, slots=True)
class View:
    """All that the view shows."""

    progress: Progress
    seed: int
    roles: tuple[RoleStatus, ...] = ()
    is_connected: bool = False
    """There is a mesh that can be asked."""
    elapsed_s: float = 0.0
    note: str = ""
    """What the user should know about what comes next; empty where there is nothing."""


def marks_for(encoding: str | None) -> Glyphs:
    """Return the signs that a terminal of an encoding can show."""
    return UNICODE if (encoding or "").lower().replace("-", "").replace("_", "") == "utf8" else ASCII


def render(view: View, columns: int, rows: int, marks: Glyphs) -> Group:
    """Return the view as lines, none wider than `columns`; requirements give way where there are too few `rows`."""
    head = [*_title(view, columns, marks), _status(view, columns, marks)]
    change = [] if view.progress.ending else list(_change(view.progress, columns, marks))
    tail = list(_activity(view.roles, columns, marks))
    if view.note:
        tail += wrap(Text(view.note, "bold yellow"), columns, _MAX_NOTE_LINES, marks)
    room = rows - len(head) - len(tail) - 1
    if room - len(change) >= _MIN_TABLE_LINES:
        room -= len(change)
        tail = change + tail
    table = list(requirement_lines(view.progress, columns, room, marks))
    return Group(*head, *table, *tail)


def _title(view: View, columns: int, marks: Glyphs) -> Iterator[Text]:
    elapsed = f"{view.elapsed_s:.1f} s"
    name = Text("gems draw", "bold")
    yield Text.assemble(name, " " * max(1, columns - name.cell_len - len(elapsed)), (elapsed, "dim"))
    yield from wrap(Text(printable(view.progress.prompt), "italic"), columns, _MAX_PROMPT_LINES, marks)


def _status(view: View, columns: int, marks: Glyphs) -> Text:
    progress = view.progress
    parts = [step_of(progress) if view.is_connected else "starting the mesh"]
    if progress.prompts:
        parts = [f"round {progress.round} of {progress.max_rounds}", *parts, f"skill {progress.skill or 'none'}"]
    text = Text(marks.between.join([*parts, f"seed {view.seed}"]), "cyan")
    return _cut(text, columns, marks)


def requirement_lines(progress: Progress, columns: int, room: int, marks: Glyphs) -> Iterator[Text]:
    """The questions with one tick a round; the last rounds where not all fit, the unmet where not all questions do."""
    if not progress.requirements or room < _MIN_TABLE_LINES:
        return
    shown = min(progress.max_rounds, max(1, columns // 2 // _COLUMN_CELLS))
    first = max(1, min(progress.round, progress.max_rounds) - shown + 1)
    chosen = progress.ending.best_round if progress.ending else first
    first = min(first, chosen)  # the round that was chosen is always among those shown
    rounds = range(first, first + shown)
    answers = {round_: answers_of_round(progress, round_) for round_ in rounds}
    judged = [round_ for round_ in rounds if answers[round_]]
    latest = answers[judged[-1]] if judged else {}
    wanted = list(progress.requirements)
    left_out = 0
    if len(wanted) > room - 3:  # blank line, rounds, sum
        kept = sorted(wanted, key=lambda requirement: latest.get(requirement.id) == "met")[: room - 4]
        left_out = len(wanted) - len(kept)
        wanted = [requirement for requirement in wanted if requirement in kept]
    questions = [printable(requirement.question) for requirement in wanted]
    total = f"met, of {len(progress.requirements)}"
    widest = max(map(cell_len, ["requirement", *questions, total]))
    width = max(8, min(widest, columns - shown * _COLUMN_CELLS))
    yield Text()
    is_chosen = progress.ending is not None
    heads = [(str(round_), "bold cyan" if is_chosen and round_ == chosen else "dim") for round_ in rounds]
    yield _row(Text("requirement", "dim"), heads, width, marks)
    for requirement, question in zip(wanted, questions, strict=True):
        cells = [_tick(answers[round_].get(requirement.id), marks) for round_ in rounds]
        yield _row(Text(question), cells, width, marks)
    if left_out:
        yield _cut(Text(f"{marks.more} and {left_out} more", "dim"), columns, marks)
    met = [str(sum(answer == "met" for answer in found.values())) if found else "" for found in answers.values()]
    yield _row(Text(total, "dim"), [(count, "bold") for count in met], width, marks)


def _row(label: Text, cells: Sequence[tuple[str, str]], width: int, marks: Glyphs) -> Text:
    line = _cut(label, width, marks)
    line.pad_right(width - line.cell_len)
    for mark, style in cells:
        line.append(f"{mark:>{_COLUMN_CELLS}}", style)
    return line


def _tick(answer: Answer | None, marks: Glyphs) -> tuple[str, str]:
    if answer is None:
        return marks.none, "dim"
    return getattr(marks, answer), _STYLES[answer]


def _change(progress: Progress, columns: int, marks: Glyphs) -> Iterator[Text]:
    """How the prompt of the round in hand differs from the one before it, the first from the user's own words."""
    round_ = progress.round
    if not round_:
        return
    before = progress.prompts.get(round_ - 1, progress.prompt)
    text = Text()
    text.append(f"prompt {round_}: ", "dim")
    styles = {"kept": "dim", "added": "green", "removed": "red strike"}
    for change, words in compare_words(printable(before), printable(progress.prompts[round_])):
        text.append((words if marks is UNICODE else words.replace("…", marks.more)) + " ", styles[change])
    text.rstrip()
    yield Text()
    yield from wrap(text, columns, _MAX_CHANGE_LINES, marks)


def _activity(roles: Sequence[RoleStatus], columns: int, marks: Glyphs) -> Iterator[Text]:
    """Each role with a dot an actor, filled while it works, and how many requests wait for it; memory as one role."""
    shards = [status for status in roles if shard_of_role(status.role) is not None]
    by_name = {status.role: status for status in roles}
    if len(shards) > 1:
        by_name[MEMORY_ROLE] = RoleStatus(
            role=MEMORY_ROLE,
            queued=sum(status.queued for status in shards),
            oldest_s=max(status.oldest_s for status in shards),
            actors=tuple(actor for status in shards for actor in status.actors),
        )
    items = [_role(by_name[name], marks) for name in _ROLE_ORDER if name in by_name]
    if not items:
        return
    yield Text()
    line = Text()
    for item in items:
        if line and line.cell_len + 2 + item.cell_len > columns:
            yield _cut(line, columns, marks)
            line = Text()
        line = Text.assemble(line, "  ", item) if line else item
    yield _cut(line, columns, marks)


def _role(status: RoleStatus, marks: Glyphs) -> Text:
    busy = sum(actor.busy > 0 for actor in status.actors)
    text = Text(f"{status.role} ", "" if busy else "dim")
    if not status.actors:
        text.append("away", "red")
    elif len(status.actors) > _MAX_DOTS:
        text.append(f"{busy}/{len(status.actors)}", "green" if busy else "dim")
    else:
        text.append(marks.busy * busy, "green").append(marks.idle * (len(status.actors) - busy), "dim")
    if status.queued:
        text.append(f" +{status.queued}", "yellow")
    return text


def wrap(text: Text, columns: int, max_lines: int, marks: Glyphs) -> list[Text]:
    """Break a text at words into at most `max_lines` lines, none wider than `columns`."""
    lines: list[Text] = [Text()]
    for word in text.split(" "):
        if lines[-1] and lines[-1].cell_len + 1 + word.cell_len > columns:
            lines.append(Text())
        lines[-1] = Text.assemble(lines[-1], " ", word) if lines[-1] else word
    shown = lines[:max_lines]
    if len(lines) > max_lines:
        shown[-1].append(f" {marks.more}")
    return [_cut(line, columns, marks) for line in shown]


def _cut(text: Text, columns: int, marks: Glyphs) -> Text:
    if text.cell_len > columns:
        text = text.copy()
        text.truncate(max(0, columns - cell_len(marks.more)))
        text.append(marks.more, "dim")
    return text
