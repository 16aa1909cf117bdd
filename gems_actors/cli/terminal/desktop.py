"""Opens files and addresses with the programs of this desktop, where there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping


def viewer_for(environment: Mapping[str, str]) -> str | None:
    """Return the command that opens a file or an address on this desktop, or None without a desktop."""
    if sys.platform == "darwin":
        return shutil.which("open")
    has_desktop = bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    return shutil.which("xdg-open", path=environment.get("PATH")) if has_desktop else None


def open_on_desktop(what: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Open a file or an address, and return whether there is a desktop; its program outlives this command."""
    viewer = viewer_for(environment)
    if viewer is None:
        return False
    null = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    os.posix_spawn(viewer, [viewer, what], dict(environment), file_actions=null, setsid=True)
    return True
