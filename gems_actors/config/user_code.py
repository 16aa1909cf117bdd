"""Imports the code that settings name; the only place where a text becomes code, and that text is the operator's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any

from gems_actors.errors import ConfigError


def load_code(setting: str, name: str, import_path: Iterable[str]) -> Any:
    """Return what `module:name` names, with the folders of `import_path` in front of Python's own.

    Raises:
        ConfigError: the module cannot be imported, or has no such name.
    """
    sys.path[:0] = [folder for folder in import_path if folder not in sys.path]
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:  # code of the user runs here, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{setting}: expected {name} to be importable, got {reason}") from error
