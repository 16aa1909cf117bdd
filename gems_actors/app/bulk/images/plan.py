"""What a folder remembers of how a run spends its images: the budget, and what the pools before have drawn and learned.

Decisions themselves are in memory, each with the trajectory that it concerns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from gems_actors.app.picture_files import OutputError, write_whole
from gems_actors.files import reason_of

_NAME: Final = "images.json"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run, and how far it is; another budget makes another plan."""

    number: int = 0
    images: int | None = None
    """Images of the whole run; `mean` is a mean over its tasks instead."""
    mean: float | None = None
    closed: int = 0
    """Tasks of the pools that are closed: they get no more images by this plan."""
    used: int = 0
    """Images of these tasks."""
    sums: dict[str, tuple[int, int]] = {}
    """The table of gains: observations and requirements gained, by cell."""

    @property
    def in_words(self) -> str:
        """The budget as a number of images."""
        return f"{self.images:,}" if self.images is not None else f"{self.mean or 0:g} a task"

    def __str__(self) -> str:
        """Return the budget as a part of a strategy's name; empty without one."""
        if self.images is not None:
            return f" run images {self.images}"
        return "" if self.mean is None else f" mean images {self.mean:g}"


def read_plan(folder: Path) -> Plan:
    """Return the plan that a mesh folder remembers, or plan 0 without one.

    Raises:
        OutputError: the file cannot be read.
    """
    path = folder / _NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except FileNotFoundError:
        return Plan()
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise OutputError(f"{path}: expected the plan of a run's images, got: {reason_of(error)}") from error


def write_plan(folder: Path, plan: Plan) -> None:
    """Remember a plan.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(folder / _NAME, msgspec.json.format(msgspec.json.encode(plan), indent=1) + b"\n", is_only_writer=True)
