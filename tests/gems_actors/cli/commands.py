"""Runs `gems` as a user does: as a process, with its exit code and what it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

COMMAND = (sys.executable, "-P", "-m", "gems_actors.cli")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which everything that `gems` makes by itself is below a folder of the test's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GEMS_", "XDG_", "NO_COLOR"))}
    return {**kept, "XDG_RUNTIME_DIR": str(folder), "XDG_STATE_HOME": str(folder / "state"), **more}


def run_gems(
    folder: Path, *arguments: str | bytes, stdin: bytes = b"", more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end in a folder."""
    command: Sequence[str | bytes] = (*COMMAND, *arguments)
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder, **(more or {})),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return subprocess.CompletedProcess(
        command, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
