"""Draw many prompts into one dataset: `run` with `BulkOptions`. No printing and no parsing of flags here.

Names are loaded when they are first used: most modules that look into a bulk's folder need no mesh.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from gems_actors.app.bulk.folder import RunSpec as RunSpec
    from gems_actors.app.bulk.folder import spec_of as spec_of
    from gems_actors.app.bulk.runner import BulkOptions as BulkOptions
    from gems_actors.app.bulk.runner import BulkResult as BulkResult
    from gems_actors.app.bulk.runner import BulkView as BulkView
    from gems_actors.app.bulk.runner import run as run
    from gems_actors.app.bulk.source import Part as Part

_HOMES: Final = {
    **dict.fromkeys(("RunSpec", "spec_of"), "folder"),
    **dict.fromkeys(("BulkOptions", "BulkResult", "BulkView", "run"), "runner"),
    "Part": "source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
