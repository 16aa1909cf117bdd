"""Draw many prompts into one dataset: `run` with `BulkOptions`. No printing and no parsing of flags here.

Names are loaded when they are first used: most modules that look into a bulk's folder need no mesh.
"""

# ruff: noqa: I001 -- one import statement per module, with `as` for type checkers

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gems_actors.app.bulk.run_spec import RunSpec as RunSpec, spec_of as spec_of
    from gems_actors.app.bulk.runner import BulkOptions as BulkOptions, BulkResult as BulkResult
    from gems_actors.app.bulk.runner import BulkView as BulkView, run as run
    from gems_actors.app.bulk.tasks import Part as Part

_HOMES: Final = {"RunSpec": "run_spec", "spec_of": "run_spec", "Part": "tasks"}


def __getattr__(name: str) -> Any:
    if name in ("BulkOptions", "BulkResult", "BulkView", "run", *_HOMES):
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'runner')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
