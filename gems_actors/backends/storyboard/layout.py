"""Layout of a storyboard: boxes of cards with their tiles, signs, arrows and notes.

Drawing and reading share the measures defined here, like the legend of a map; everything else the reader must find in
the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from gems_actors.backends.storyboard.grid_layout import Component, Grid, Link, place_on_grid
from gems_actors.backends.storyboard.lettering import SIZES_PX, fit_size, line_height, shorten, width_of, wrap
from gems_actors.backends.storyboard.patterns import Box
from gems_actors.backends.storyboard.scene import Scene, Thing
from gems_actors.backends.storyboard.tiles import MIN_SIDE_PX

PAD_PX: Final = 8
"""Space between the edge of a panel and its text."""
SIGN_PAD_PX: Final = 14
BORDER_PX: Final = 2
_CLEAR_PX: Final = 3
"""Minimum distance of a tile's side from the limit at which its kind changes: JPEG can make it look a pixel wider."""
SEPARATOR: Final = " · "
_MAX_WRITTEN_LINES: Final = 4
_OVERLAP: Final = 1.25
"""Height of a card that the card in front hides, as a multiple of the bar's height."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures derived from the size of the picture."""

    width_px: int
    height_px: int

    @property
    def scale(self) -> float:
        """Scale, 1 for a picture whose shorter side is 768 pixels."""
        return min(self.width_px, self.height_px) / 768

    @property
    def margin_px(self) -> int:
        """Width of the blank edge."""
        return max(6, round(26 * self.scale))

    @property
    def gap_px(self) -> int:
        """Space between two cards that do not touch."""
        return max(8, round(22 * self.scale))

    @property
    def title_size_px(self) -> int:
        """Size of the title's text."""
        return self.size_px(20)

    @property
    def title_height_px(self) -> int:
        """The height of that strip."""
        return line_height(self.title_size_px) + 2 * max(PAD_PX, round(10 * self.scale))

    def size_px(self, points: float) -> int:
        """Return the text size for `points` on a picture of 768 pixels, scaled to this one."""
        return max((size for size in SIZES_PX if size <= points * self.scale), default=SIZES_PX[0])


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines of text on a background, from its top left corner."""

    box: Box
    lines: tuple[str, ...]
    size_px: int


@dataclass(frozen=True, slots=True)
class Card:
    """Card of one thing: a bar with its name, a strip for what must be written, and tiles."""

    thing: Thing
    box: Box
    bar: Panel
    strip: Panel | None
    tiles: tuple[Box, ...]
    body: Box


@dataclass(frozen=True, slots=True)
class Arrow:
    """A label between two cards, and an arrow below it."""

    label: Panel
    left_px: int
    right_px: int
    row_px: int
    points_right: bool


@dataclass(slots=True)
class Board:
    """Layout of the whole picture; cards are in drawing order, back to front."""

    measures: Measures
    cards: list[Card] = field(default_factory=list)
    signs: list[Panel] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    notes: list[Panel] = field(default_factory=list)
    groups: list[Box] = field(default_factory=list)
    """Backgrounds of things that are related, where others are not."""
    framed: Box | None = None
    """Where framed pictures are; None without them."""


def lay_out(scene: Scene, width_px: int, height_px: int, *, framed_share: float = 0.0) -> Board:
    """Return the storyboard of a scene; a share of the height at its top is left for framed pictures."""
    measures = Measures(width_px, height_px)
    board = Board(measures)
    grid = place_on_grid(scene)
    margin = measures.margin_px
    area = (margin, measures.title_height_px + margin, width_px - margin, height_px - margin)
    if framed_share:
        top = area[1] + round((area[3] - area[1]) * framed_share)
        board.framed = (area[0], area[1], area[2], top)
        area = (area[0], top + measures.gap_px, area[2], area[3])
    area = _lay_notes(board, [*grid.notes, *scene.notes], area)
    if scene.texts:
        share = 1.0 if not scene.things else min(0.7, 0.2 + 0.03 * len(scene.texts) + sum(map(len, scene.texts)) / 900)
        top = area[3] - round((area[3] - area[1]) * share)
        _lay_signs(board, scene.texts, (area[0], top, area[2], area[3]))
        area = (area[0], area[1], area[2], top - measures.gap_px)
    if scene.things:
        _CardLayout(board, scene, grid).lay(area)
    return board


def _lay_notes(board: Board, notes: list[str], area: Box) -> Box:
    """Place notes along the bottom, and return the remaining area."""
    size = board.measures.size_px(15)
    gap = board.measures.gap_px // 2
    height = line_height(size) + 2 * PAD_PX
    rows: list[list[tuple[str, int]]] = []
    x = area[2]
    for note in notes:
        text = shorten(note, size, area[2] - area[0] - 2 * PAD_PX)
        width = width_of(text, size) + 2 * PAD_PX
        if x + width > area[2]:
            rows.append([])
            x = area[0]
        rows[-1].append((text, x))
        x += width + gap
    rows = rows[: max(1, (area[3] - area[1]) // (3 * height))]
    top = area[3] - len(rows) * (height + gap) + gap
    for index, row in enumerate(rows):
        y = top + index * (height + gap)
        for text, left in row:
            board.notes.append(Panel((left, y, left + width_of(text, size) + 2 * PAD_PX, y + height), (text,), size))
    return (area[0], area[1], area[2], top - board.measures.gap_px) if rows else area


def _lay_signs(board: Board, texts: tuple[str, ...], area: Box) -> None:
    """Divide the area among texts, more for longer ones, each in the largest size that fits."""
    columns = 1 if max(map(len, texts)) > 60 else min(3, len(texts))
    rows = [texts[start : start + columns] for start in range(0, len(texts), columns)]
    weights = [30 + max(map(len, row)) for row in rows]
    gap = board.measures.gap_px
    room = area[3] - area[1] - gap * (len(rows) - 1)
    top = area[1]
    for row, weight in zip(rows, weights, strict=True):
        height = room * weight // sum(weights)
        width = (area[2] - area[0] - gap * (len(row) - 1)) // len(row)
        for index, text in enumerate(row):
            left = area[0] + index * (width + gap)
            board.signs.append(_fit_sign(text, (left, top, left + width, top + height), board.measures))
        top += height + gap


def _fit_sign(text: str, area: Box, measures: Measures) -> Panel:
    width, height = area[2] - area[0] - 2 * SIGN_PAD_PX, area[3] - area[1] - 2 * SIGN_PAD_PX
    size, lines = SIZES_PX[0], [text[:1]]
    for size in reversed([size for size in SIZES_PX if size <= max(SIZES_PX[0], 54 * measures.scale)]):
        lines = wrap(text, size, max(width, size))
        breaks_words = any(width_of(word, size) > width for word in text.split())
        if len(lines) * line_height(size) <= height and not (breaks_words and size > SIZES_PX[2]):
            break
    lines = lines[: max(1, height // line_height(size))]
    wide = max(width_of(line, size) for line in lines) + 2 * SIGN_PAD_PX
    high = len(lines) * line_height(size) + 2 * SIGN_PAD_PX
    left = (area[0] + area[2] - wide) // 2
    top = (area[1] + area[3] - high) // 2
    return Panel((left, top, left + wide, top + high), tuple(lines), size)


class _CardLayout:
    """Places the cards of one board."""

    def __init__(self, board: Board, scene: Scene, grid: Grid) -> None:
        self._board = board
        self._scene = scene
        self._grid = grid
        self._gap = board.measures.gap_px
        self._name_size = SIZES_PX[0]

    def lay(self, area: Box) -> None:
        """Place the cards of each component in its share of the area."""
        regions = list(self._shelve(area))
        boxes = [self._boxes_of(component, region) for component, region in regions]
        widths = [
            (name, box[2] - box[0] - 2 * PAD_PX - self._gap * (name in self._grid.nested.values()))
            for found in boxes
            for name, box in found.items()
        ]
        widest = self._board.measures.size_px(24)
        self._name_size = max(
            min(widest, SIZES_PX[1]), min((fit_size(name, width, widest) for name, width in widths), default=widest)
        )
        for (component, region), found in zip(regions, boxes, strict=True):
            if len(found) > 1 and len(regions) > 1:
                self._board.groups.append(self._around(found))
            self._lay_component(component, region, found)

    def _around(self, boxes: dict[str, Box]) -> Box:
        lefts, tops, rights, bottoms = zip(*boxes.values(), strict=True)
        rim = self._gap * 2 // 5
        return min(lefts) - rim, min(tops) - rim, max(rights) + rim, max(bottoms) + rim

    def _shelve(self, area: Box) -> Iterator[tuple[Component, Box]]:
        """Divide the area into rows of components so that the smallest cell is as large as possible."""
        components = self._grid.components
        best: list[list[Component]] = []
        best_cell = -math.inf
        for columns in range(max(c.size[0] for c in components), sum(c.size[0] for c in components) + 1):
            shelves: list[list[Component]] = [[]]
            for component in components:
                if shelves[-1] and sum(c.size[0] for c in shelves[-1]) + component.size[0] > columns:
                    shelves.append([])
                shelves[-1].append(component)
            rows = sum(max(c.size[1] for c in shelf) for shelf in shelves)
            used = max(sum(c.size[0] for c in shelf) for shelf in shelves)
            cell = min((area[2] - area[0]) / used, (area[3] - area[1]) / rows)
            if cell > best_cell:
                best, best_cell = shelves, cell
        heights = [max(c.size[1] for c in shelf) for shelf in best]
        room_high = area[3] - area[1] - self._gap * (len(best) - 1)
        top = area[1]
        for shelf, height in zip(best, heights, strict=True):
            bottom = top + room_high * height // sum(heights)
            room_wide = area[2] - area[0] - self._gap * (len(shelf) - 1)
            left = area[0]
            for component in shelf:
                right = left + room_wide * component.size[0] // sum(c.size[0] for c in shelf)
                yield component, (left, top, right, bottom)
                left = right + self._gap
            top = bottom + self._gap

    def _boxes_of(self, component: Component, region: Box) -> dict[str, Box]:
        columns, rows = component.size
        link_gap = self._link_gap(component, region)
        wide = max(8, (region[2] - region[0] - link_gap * (columns - 1)) // columns)
        high = max(8, (region[3] - region[1] - self._gap * (rows - 1)) // rows)
        most = max(self._count(name) for name in component.cells)
        wide, high = min(wide, round(high * _spread(most))), min(high, round(wide * _spread(most)))
        spare_wide = region[2] - region[0] - columns * wide - (columns - 1) * link_gap
        spare_high = region[3] - region[1] - rows * high - (rows - 1) * self._gap
        origin = (region[0] + max(0, spare_wide // 2), region[1] + max(0, spare_high // 2))
        boxes = {}
        for name, (column, row) in component.cells.items():
            left, top = origin[0] + column * (wide + link_gap), origin[1] + row * (high + self._gap)
            boxes[name] = (left, top, left + wide, top + high)
        self._touch(component, boxes)
        self._cascade(component, boxes)
        return boxes

    def _count(self, name: str) -> int:
        thing = self._scene.find_thing(name)
        return 1 if thing is None else thing.count

    def _link_gap(self, component: Component, region: Box) -> int:
        if not component.links:
            return self._gap
        size = self._board.measures.size_px(16)
        label = max(width_of(word, size) for link in component.links for word in link.word.split())
        return min(label + 2 * PAD_PX + self._gap, max(self._gap, (region[2] - region[0]) // 3))

    def _touch(self, component: Component, boxes: dict[str, Box]) -> None:
        for upper, lower in component.touching:
            left, top, right, _ = boxes[upper]
            boxes[upper] = (left, top, right, boxes[lower][1])

    def _cascade(self, component: Component, boxes: dict[str, Box]) -> None:
        """Shift overlapping cards so that each covers the bottom of the one behind it, but not its left edge."""
        front_of = dict(component.overlapping)
        fronts = set(front_of.values())
        step = max(6, self._gap)
        for name in [name for name in front_of if name not in fronts]:
            stack = [name]
            while stack[-1] in front_of and front_of[stack[-1]] not in stack:
                stack.append(front_of[stack[-1]])
            for level, member in enumerate(stack):
                left, top, right, bottom = boxes[member]
                boxes[member] = (left + level * step, top, right - (len(stack) - 1 - level) * step, bottom)
            for back, front in pairwise(stack):
                left, top, right, _ = boxes[back]
                boxes[back] = (left, top, right, boxes[front][1] + self._hidden_px())

    def _hidden_px(self) -> int:
        return round(_OVERLAP * (line_height(SIZES_PX[1]) + 2 * PAD_PX) * max(0.6, self._board.measures.scale))

    def _lay_component(self, component: Component, region: Box, boxes: dict[str, Box]) -> None:
        backs = {back for back, _ in component.overlapping}
        for name, _ in sorted(component.cells.items(), key=lambda item: item[1][1]):
            self._lay_card(name, boxes[name], self._hidden_px() if name in backs else 0)
        for link in component.links:
            self._lay_arrow(link, boxes)

    def _lay_card(self, name: str, box: Box, hidden_px: int) -> None:
        thing = self._scene.find_thing(name) or Thing(name)
        left, top, right, bottom = box
        room = right - left - 2 * PAD_PX
        size = self._name_size
        bar_bottom = top + line_height(size) + 2 * PAD_PX
        bar = Panel((left, top, right, bar_bottom), (shorten(name, size, room),), size)
        strip = self._lay_strip(thing, (left, bar_bottom, right, bottom))
        body_top = strip.box[3] if strip else bar_bottom
        pad = BORDER_PX + max(4, round(self._gap * 0.4))
        body = (left + pad, body_top + pad, right - pad, bottom - hidden_px - pad)
        child = next((child for child, parent in self._grid.nested.items() if parent == name), None)
        tiles_box = body
        if child is not None:
            is_wide = body[2] - body[0] > body[3] - body[1]
            middle = (body[0] + body[2]) // 2 if is_wide else (body[1] + body[3] * 2) // 3
            tiles_box = (body[0], body[1], middle, body[3]) if is_wide else (body[0], body[1], body[2], middle)
        tiles = () if thing.values else tuple(_grid(thing.count, tiles_box, self._board.measures))
        self._board.cards.append(Card(thing, box, bar, strip, tiles, tiles_box))
        if child is not None:
            pad = max(4, self._gap // 2)
            inside = (middle + pad, body[1], body[2], body[3]) if is_wide else (body[0], middle + pad, body[2], body[3])
            self._lay_card(child, inside, 0)

    def _lay_strip(self, thing: Thing, area: Box) -> Panel | None:
        if not thing.written:
            return None
        room = area[2] - area[0] - 2 * PAD_PX
        largest = min(self._name_size, self._board.measures.size_px(16))
        size, lines, max_lines = largest, [""], 1
        for size in reversed([size for size in SIZES_PX if size <= largest]):
            max_lines = max(1, ((area[3] - area[1]) // 2 - 2 * PAD_PX) // line_height(size))
            max_lines = min(max_lines, _MAX_WRITTEN_LINES)
            lines = wrap(SEPARATOR.join(thing.written), size, max(room, size))
            if len(lines) <= max_lines:
                break
        if len(lines) > max_lines:
            rest = " ".join(lines[max_lines - 1 :])
            lines = [*lines[: max_lines - 1], shorten(rest, size, room)]
        height = len(lines) * line_height(size) + 2 * PAD_PX
        return Panel((area[0], area[1], area[2], area[1] + height), tuple(lines), size)

    def _lay_arrow(self, link: Link, boxes: dict[str, Box]) -> None:
        subject, target = boxes[link.subject], boxes[link.target]
        points_right = subject[0] < target[0]
        first, second = (subject, target) if points_right else (target, subject)
        size = self._board.measures.size_px(16)
        room = second[0] - first[2] - 2 * PAD_PX - 4
        lines = tuple(shorten(word, size, max(room, 4)) for word in link.word.split())
        width = max(width_of(line, size) for line in lines) + 2 * PAD_PX
        height = len(lines) * line_height(size) + 2 * PAD_PX
        left = (first[2] + second[0] - width) // 2
        row = (max(first[1], second[1]) + min(first[3], second[3])) // 2
        label = Panel((left, row - height - 4, left + width, row - 4), lines, size)
        inset = max(2, round((second[0] - first[2]) * 0.08))
        row += 10 + max(2, round(4 * self._board.measures.scale))
        self._board.arrows.append(Arrow(label, first[2] + inset, second[0] - inset, row, points_right))


def _spread(count: int) -> float:
    """Return the longer side of a card of so many tiles as a multiple of the shorter one: more would be blank."""
    return 0.6 + 0.6 * min(count, 3)


def _grid(count: int, area: Box, measures: Measures) -> Iterator[Box]:
    """Yield `count` equal squares, as large as fit, in rows centred in the area."""
    width, height = area[2] - area[0], area[3] - area[1]
    best, columns = 0.0, 1
    for tried in range(1, count + 1):
        rows = math.ceil(count / tried)
        side = min(width / (tried * 1.12 - 0.12), height / (rows * 1.12 - 0.12))
        if side > best:
            best, columns = side, tried
    side_px = min(int(best), round(330 * measures.scale))
    gap = max(3, int(side_px * 0.1))
    side_px = min(side_px, (width - gap * (columns - 1)) // columns)
    if side_px < 6:
        return
    if abs(side_px - MIN_SIDE_PX) <= _CLEAR_PX:
        side_px = MIN_SIDE_PX - _CLEAR_PX
    rows = math.ceil(count / columns)
    top = area[1] + (height - rows * side_px - (rows - 1) * gap) // 2
    for row in range(rows):
        in_row = min(columns, count - row * columns)
        left = area[0] + (width - in_row * side_px - (in_row - 1) * gap) // 2
        for column in range(in_row):
            x, y = left + column * (side_px + gap), top + row * (side_px + gap)
            yield x, y, x + side_px, y + side_px
