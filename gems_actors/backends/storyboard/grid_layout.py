"""Places things on a grid of columns and rows so that the relations of a scene hold.

Related things share a component. A relation that cannot be placed becomes a note, so that none is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gems_actors.backends.storyboard.scene import Relation, Scene

Cell = tuple[int, int]
"""Column and row."""

_MAX_SPAN: Final = 4
_LOOSE: Final[dict[str, Cell]] = {
    "left of": (-1, 0),
    "right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
    "under": (0, 1),
}
"""Relations that hold at any distance, with their direction."""
_TIGHT: Final[dict[str, Cell]] = {"on top of": (0, -1), "in front of": (0, 1), "behind": (0, -1)}
"""Relations whose things must touch or overlap, with their direction."""


@dataclass(frozen=True, slots=True)
class Link:
    """A labelled arrow between neighbours in a row, from subject to target."""

    subject: str
    word: str
    target: str


@dataclass(slots=True)
class Component:
    """Things that are placed relative to one another."""

    cells: dict[str, Cell] = field(default_factory=dict)
    touching: set[tuple[str, str]] = field(default_factory=set)
    """Pairs (upper, lower), where the upper stands on the lower."""
    overlapping: set[tuple[str, str]] = field(default_factory=set)
    """Pairs (back, front)."""
    links: list[Link] = field(default_factory=list)

    @property
    def size(self) -> Cell:
        """Number of columns and rows, once the cells start at (0, 0)."""
        return max(c for c, _ in self.cells.values()) + 1, max(r for _, r in self.cells.values()) + 1


@dataclass(slots=True)
class Grid:
    """Placement of all things."""

    components: list[Component] = field(default_factory=list)
    nested: dict[str, str] = field(default_factory=dict)
    """Container of each thing that is drawn inside another."""
    notes: list[str] = field(default_factory=list)
    """Relations that are written as notes."""


def place_on_grid(scene: Scene) -> Grid:
    """Return the placement of every thing of a scene."""
    grid = Grid()
    singles = [
        (relation, name)
        for relation in scene.relations
        for name in relation.objects
        if scene.find_thing(relation.subject) and scene.find_thing(name)
    ]
    related: dict[str, int] = {}
    for relation, name in singles:
        for end in (relation.subject, name):
            related[end] = related.get(end, 0) + 1
    pairs: list[tuple[str, str, str]] = []
    for relation, name in singles:
        can_nest = relation.word == "inside" and related[relation.subject] == 1 and name not in grid.nested
        if can_nest and name not in grid.nested.values():
            grid.nested[relation.subject] = name
        else:
            pairs.extend(_pairs_of(relation, name))
    component_of = {thing.name: Component({thing.name: (0, 0)}) for thing in scene.things}
    for pair in sorted(pairs, key=lambda pair: pair[1] in _LOOSE):
        _relate(pair, component_of, grid)
    for thing in scene.things:
        component = component_of[thing.name]
        if thing.name not in grid.nested and not any(component is known for known in grid.components):
            _normalise(component)
            grid.components.append(component)
    return grid


def _pairs_of(relation: Relation, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield a relation as (subject, word, object); `between` becomes right of the first and left of the last."""
    word = relation.word
    if word == "between" and len(relation.objects) == 2:
        word = "right of" if name == relation.objects[0] else "left of"
    yield relation.subject, word, name


def _relate(pair: tuple[str, str, str], component_of: dict[str, Component], grid: Grid) -> None:
    subject, word, target = pair
    here, there = component_of[subject], component_of[target]
    if here is not there and not _join(pair, here, there):
        grid.notes.append(f"{subject} {word} {target}")
        return
    for name in there.cells:
        component_of[name] = here
    if here is not there:
        here.touching |= there.touching
        here.overlapping |= there.overlapping
        here.links += there.links
    is_linked = any({link.subject, link.target} == {subject, target} for link in here.links)
    needs_link = word not in _TIGHT and word not in _LOOSE
    if not _holds(word, here.cells[subject], here.cells[target]) or (is_linked and needs_link):
        grid.notes.append(f"{subject} {word} {target}")
    elif word == "on top of":
        here.touching.add((subject, target))
    elif word in _TIGHT:
        here.overlapping.add((subject, target) if word == "behind" else (target, subject))
    elif word not in _LOOSE:
        here.links.append(Link(subject, word, target))


def _join(pair: tuple[str, str, str], here: Component, there: Component) -> bool:
    """Move the cells of `there` into `here` so that the pair holds; return whether there was room."""
    subject, word, target = pair
    column, row = here.cells[subject]
    for step_column, step_row in _steps(word):
        shift_column = column - step_column - there.cells[target][0]
        shift_row = row - step_row - there.cells[target][1]
        moved = {name: (c + shift_column, r + shift_row) for name, (c, r) in there.cells.items()}
        if _fits([*moved.values(), *here.cells.values()]):
            here.cells.update(moved)
            return True
    return False


def _fits(cells: list[Cell]) -> bool:
    """Return whether no cell is used twice and the grid is small enough to be readable."""
    columns, rows = {column for column, _ in cells}, {row for _, row in cells}
    return len(set(cells)) == len(cells) and len(columns) <= _MAX_SPAN and len(rows) <= _MAX_SPAN


def _steps(word: str) -> list[Cell]:
    """Return the possible offsets of the subject from the object, best first."""
    if word in _TIGHT:
        return [_TIGHT[word]]
    if word not in _LOOSE:
        return [(-1, 0), (1, 0)]
    column, row = _LOOSE[word]
    aside = (row, column)
    return [
        (column * far + aside[0] * side, row * far + aside[1] * side)
        for far, side in ((1, 0), (2, 0), (1, 1), (1, -1), (3, 0), (1, 2), (1, -2), (2, 1), (2, -1))
    ]


def _holds(word: str, subject: Cell, target: Cell) -> bool:
    column, row = subject[0] - target[0], subject[1] - target[1]
    if word in _TIGHT:
        return (column, row) == _TIGHT[word]
    if word not in _LOOSE:
        return row == 0 and abs(column) == 1
    step_column, step_row = _LOOSE[word]
    return column * step_column + row * step_row > 0


def _normalise(component: Component) -> None:
    """Renumber columns and rows from 0 without gaps."""
    columns = sorted({c for c, _ in component.cells.values()})
    rows = sorted({r for _, r in component.cells.values()})
    component.cells = {name: (columns.index(c), rows.index(r)) for name, (c, r) in component.cells.items()}
