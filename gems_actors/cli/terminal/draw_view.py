"""The live view of one draw: how its state looks on a terminal, and the task that repaints it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TextIO

import trio
from rich.cells import cell_len
from rich.console import Group
from rich.text import Text

from gems_actors.app import draw_progress
from gems_actors.app.draw import DrawResult, DrawView
from gems_actors.app.draw_progress import Progress
from gems_actors.cli.terminal.painter import Painter
from gems_actors.cli.terminal.views import print_draw_result
from gems_actors.client import Mesh
from gems_actors.errors import GemsError
from gems_actors.roles import BUILT_IN_ROLES, is_user_role
from gems_actors.shards import MEMORY_ROLE, shard_of_role
from gems_actors.terminal_text import printable
from protocol.messages import Answer, DrawPicture, Event, ReadStatus, RoleStatus

_COLUMN_CELLS = 3
"""Width of a round in the list of requirements."""
_MAX_DOTS = 6
_MIN_TABLE_LINES = 5
"""Lines of the list of requirements below which the change of the prompt is left out instead."""
_MAX_PROMPT_LINES, _MAX_CHANGE_LINES, _MAX_NOTE_LINES = 2, 3, 2
_FRAME_S, _STATUS_S = 0.1, 0.2
"""Time between two frames, and between two requests for the status of the roles."""
_ALL_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The symbols of a view."""

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

_STYLES: dict[Answer | None, str] = {"met": "green", "unmet": "bold red", "unsure": "yellow", None: "dim"}


@dataclass(frozen=True, slots=True)
class DrawState:
    """Everything that the view shows."""

    progress: Progress
    seed: int
    roles: tuple[RoleStatus, ...] = ()
    is_connected: bool = False
    """Whether the mesh takes requests."""
    elapsed_s: float = 0.0
    note: str = ""
    """Note for the user on what happens next; may be empty."""


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return the glyphs that a terminal with an encoding can show."""
    return UNICODE if (encoding or "").lower().replace("-", "").replace("_", "") == "utf8" else ASCII


def render(state: DrawState, columns: int, rows: int, glyphs: Glyphs) -> Group:
    """Return the view as lines of at most `columns`; with too few `rows`, requirements are left out."""
    head = [*_title(state, columns, glyphs), _status(state, columns, glyphs)]
    change = [] if state.progress.ending else list(_change(state.progress, columns, glyphs))
    tail = list(_activity(state.roles, columns, glyphs))
    if state.note:
        tail += wrap(Text(printable(state.note), "bold yellow"), columns, _MAX_NOTE_LINES, glyphs)
    room = rows - len(head) - len(tail) - 1
    if room - len(change) >= _MIN_TABLE_LINES:
        room -= len(change)
        tail = change + tail
    table = list(requirement_lines(state.progress, columns, room, glyphs))
    return Group(*head, *table, *tail)


def _title(state: DrawState, columns: int, glyphs: Glyphs) -> Iterator[Text]:
    elapsed = f"{state.elapsed_s:.1f} s"
    name = Text("gems draw", "bold")
    yield Text.assemble(name, " " * max(1, columns - name.cell_len - len(elapsed)), (elapsed, "dim"))
    yield from wrap(Text(printable(state.progress.prompt), "italic"), columns, _MAX_PROMPT_LINES, glyphs)
    if line := draw_progress.references_line(state.progress.references):
        yield _cut(Text(line, "dim"), columns, glyphs)


def _status(state: DrawState, columns: int, glyphs: Glyphs) -> Text:
    progress = state.progress
    parts = [draw_progress.step_of(progress) if state.is_connected else "starting the mesh"]
    if progress.prompts:
        skill = printable(progress.skill or "none")
        parts = [f"round {progress.round} of {progress.max_rounds}", *parts, f"skill {skill}"]
    return _cut(Text(glyphs.between.join([*parts, f"seed {state.seed}"]), "cyan"), columns, glyphs)


def requirement_lines(progress: Progress, columns: int, room: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the requirements with one tick per round: the last rounds if not all fit, and unmet requirements first."""
    if not progress.requirements or room < _MIN_TABLE_LINES:
        return
    shown = min(progress.max_rounds, max(1, columns // 2 // _COLUMN_CELLS))
    first = max(1, min(progress.round, progress.max_rounds) - shown + 1)
    chosen = progress.ending.best_round if progress.ending else first
    first = min(first, chosen)  # the chosen round is always shown
    rounds = range(first, first + shown)
    answers = {round_: draw_progress.answers_of_round(progress, round_) for round_ in rounds}
    judged = [round_ for round_ in rounds if answers[round_]]
    latest = answers[judged[-1]] if judged else {}
    shown_requirements = list(progress.requirements)
    left_out = 0
    if len(shown_requirements) > room - 3:  # blank line, rounds, sum
        order: dict[Answer | None, int] = {"unmet": 0, "unsure": 1, None: 2, "met": 3}
        kept = sorted(shown_requirements, key=lambda requirement: order[latest.get(requirement.id)])[: room - 4]
        left_out = len(shown_requirements) - len(kept)
        shown_requirements = kept
    questions = [printable(requirement.question) for requirement in shown_requirements]
    total = f"met, of {len(progress.requirements)}"
    widest = max(map(cell_len, ["requirement", *questions, total]))
    width = max(8, min(widest, columns - shown * _COLUMN_CELLS))
    yield Text()
    heads = [(str(round_), "bold cyan" if progress.ending and round_ == chosen else "dim") for round_ in rounds]
    yield _row(Text("requirement", "dim"), heads, width, glyphs)
    for requirement, question in zip(shown_requirements, questions, strict=True):
        ticks = [answers[round_].get(requirement.id) for round_ in rounds]
        cells = [(getattr(glyphs, tick or "none"), _STYLES[tick]) for tick in ticks]
        yield _row(Text(question), cells, width, glyphs)
    if left_out:
        yield _cut(Text(f"{glyphs.more} and {left_out} more", "dim"), columns, glyphs)
    met = [str(sum(answer == "met" for answer in found.values())) if found else "" for found in answers.values()]
    yield _row(Text(total, "dim"), [(count, "bold") for count in met], width, glyphs)


def _row(label: Text, cells: Sequence[tuple[str, str]], width: int, glyphs: Glyphs) -> Text:
    line = _cut(label, width, glyphs)
    line.pad_right(width - line.cell_len)
    for text, style in cells:
        line.append(f"{text:>{_COLUMN_CELLS}}", style)
    return line


def _change(progress: Progress, columns: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield how the current prompt differs from the one before it, or from the user's prompt in the first round."""
    round_ = progress.round
    if not round_:
        return
    text, edited = Text().append(f"prompt {round_}: ", "dim"), progress.edited.get(round_)
    if edited is not None:
        text.append(draw_progress.edit_text(edited, progress.prompts[round_]))
        yield Text()
        yield from wrap(text, columns, _MAX_CHANGE_LINES, glyphs)
        return
    drawn = [known for known in progress.prompts if known < round_ and known not in progress.edited]
    before = progress.prompts[max(drawn)] if drawn else progress.prompt
    styles = {"kept": "dim", "added": "green", "removed": "red strike"}
    for change, passage in draw_progress.compare_words(printable(before), printable(progress.prompts[round_])):
        text.append((passage if glyphs is UNICODE else passage.replace("…", glyphs.more)) + " ", styles[change])
    text.rstrip()
    yield Text()
    yield from wrap(text, columns, _MAX_CHANGE_LINES, glyphs)


def _activity(roles: Sequence[RoleStatus], columns: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield each role with a dot per actor, filled while it is busy, and its queued requests; shards are one role."""
    shards = [status for status in roles if shard_of_role(status.role) is not None]
    by_name = {status.role: status for status in roles}
    if len(shards) > 1:
        by_name[MEMORY_ROLE] = RoleStatus(
            role=MEMORY_ROLE,
            queued=sum(status.queued for status in shards),
            oldest_s=max(status.oldest_s for status in shards),
            actors=tuple(actor for status in shards for actor in status.actors),
        )
    own = sorted(name for name in by_name if is_user_role(name))
    items = [_role(by_name[name], glyphs) for name in (*BUILT_IN_ROLES, *own) if name in by_name]
    if items:
        yield Text()
        for line in _filled(items, "  ", columns):
            yield _cut(line, columns, glyphs)


def _filled(items: Iterable[Text], between: str, columns: int) -> list[Text]:
    """Return items in lines of at most `columns`, unless an item is longer."""
    lines: list[Text] = []
    for item in items:
        if lines and lines[-1].cell_len + len(between) + item.cell_len <= columns:
            lines[-1] = Text.assemble(lines[-1], between, item)
        else:
            lines.append(item)
    return lines


def _role(status: RoleStatus, glyphs: Glyphs) -> Text:
    busy = sum(actor.busy > 0 for actor in status.actors)
    text = Text(f"{printable(status.role)} ", "" if busy else "dim")
    if not status.actors:
        text.append("away", "red")
    elif len(status.actors) > _MAX_DOTS:
        text.append(f"{busy}/{len(status.actors)}", "green" if busy else "dim")
    else:
        text.append(glyphs.busy * busy, "green").append(glyphs.idle * (len(status.actors) - busy), "dim")
    if status.queued:
        text.append(f" +{status.queued}", "yellow")
    return text


def wrap(text: Text, columns: int, max_lines: int, glyphs: Glyphs) -> list[Text]:
    """Break a text between words into at most `max_lines` lines of at most `columns`."""
    lines = _filled(text.split(" "), " ", columns)
    shown = lines[:max_lines]
    if len(lines) > max_lines:
        shown[-1].append(f" {glyphs.more}")
    return [_cut(line, columns, glyphs) for line in shown]


def _cut(text: Text, columns: int, glyphs: Glyphs) -> Text:
    if text.cell_len > columns:
        text = text.copy()
        text.truncate(max(0, columns - cell_len(glyphs.more)))
        text.append(glyphs.more, "dim")
    return text


class PaintedDraw(DrawView):
    """Repaints the last lines of a terminal as events arrive and time passes."""

    _state: DrawState

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._painter, self._glyphs = Painter(stream), glyphs_for(stream.encoding)
        self._is_closed = False

    def warn(self, text: str) -> None:
        print(f"gems: {text}", file=self._stream)

    def start(self, request: DrawPicture) -> None:
        self._began = trio.current_time()
        self._state = DrawState(draw_progress.progress_of(request), request.seed)
        self._paint()

    def take(self, event: Event) -> None:
        self._state = replace(self._state, progress=draw_progress.advance(self._state.progress, event))

    def note(self, text: str) -> None:
        self._state = replace(self._state, note=text)
        self._paint()

    def finish(self, result: DrawResult) -> None:
        """Paint the outcome in full, without the roles, and leave it there."""
        progress = draw_progress.finish(self._state.progress, result.picture)
        self._state = replace(self._state, progress=progress, roles=(), note="")
        self._paint(is_last=True)
        self.close()
        print_draw_result(result, as_json=False)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._painter.close()

    async def run(self, mesh: Mesh) -> None:
        self._state = replace(self._state, is_connected=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow_roles, mesh)
            while True:
                self._paint()
                await trio.sleep(_FRAME_S)

    async def _follow_roles(self, mesh: Mesh) -> None:
        while True:
            roles: tuple[RoleStatus, ...] = ()
            with trio.move_on_after(5 * _STATUS_S), suppress(GemsError):  # no answer: the router is restarting
                roles = (await mesh.ask(ReadStatus())).roles
            self._state = replace(self._state, roles=roles)
            await trio.sleep(_STATUS_S)

    def _paint(self, *, is_last: bool = False) -> None:
        if not self._is_closed:
            self._state = replace(self._state, elapsed_s=trio.current_time() - self._began)
            columns, rows = self._painter.size
            frame = render(self._state, columns, _ALL_ROWS if is_last else rows, self._glyphs)
            self._painter.paint(frame, is_last=is_last)
