"""What a program may do with a mesh: draw, bulk, evaluation, memory, Slurm. No click, no printing, no terminal.

The submodules that a program calls are loaded when they are first used: `app.draw.run`, `app.bulk.run`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gems_actors.app import bulk as bulk
    from gems_actors.app import draw as draw
    from gems_actors.app import evaluation as evaluation
    from gems_actors.app.options import DrawOptions as DrawOptions


def __getattr__(name: str) -> Any:
    if name == "DrawOptions":
        return import_module(f"{__name__}.options").DrawOptions
    if name in ("bulk", "draw", "evaluation"):
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
