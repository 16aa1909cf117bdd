"""Draw many prompts into one dataset: `run` with `BulkOptions`. No printing and no parsing of flags here.

Names are loaded when they are first used: most modules that look into a bulk's folder need no mesh.
"""

# ruff: noqa: I001 -- one import statement per module, with `as` for type checkers

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gems_actors.app.bulk.run_spec import RunSpec as RunSpec, spec_of as spec_of
    from gems_actors.app.bulk.interface import BulkOptions as BulkOptions, BulkResult as BulkResult
    from gems_actors.app.bulk.interface import BulkView as BulkView
    from gems_actors.app.bulk.runner import run as run
    from gems_actors.app.bulk.tasks import Part as Part

_HOMES: Final = {
    "RunSpec": "run_spec", "spec_of": "run_spec", "Part": "tasks",
    "BulkOptions": "interface", "BulkResult": "interface", "BulkView": "interface", "run": "runner",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
