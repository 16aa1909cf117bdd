"""The log of memory, after whatever a disk has done to it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from actors.memory_store.log import Identity, pack_commit, pack_header
from actors.memory_store.log_folder import LOG_NAME
from actors.memory_store.maintenance.check import check_log
from actors.memory_store.maintenance.repair import repair_log
from gems_actors.errors import ConfigError, LogError
from protocol.codec import encode_body
from protocol.messages import RunBegun


def seeds() -> list[bytes]:
    """Return logs of a few records."""
    bodies = [encode_body(RunBegun(run=f"run-{number}", total=number)) for number in range(4)]
    head = pack_header(Identity(bytes(range(16)), 1))
    return [
        head + b"".join(pack_commit(bodies[:1], [1], 1.0)),
        head + b"".join(pack_commit(bodies[:2], [1, 2], 1.0) + pack_commit(bodies[2:], [3, 4], 2.0)),
    ]


def check(data: bytes) -> None:
    """Check a log, repair it, and check it again."""
    with TemporaryDirectory(dir=_shared_memory()) as name:
        folder = Path(name) / "memory"
        folder.mkdir()
        (folder / LOG_NAME).write_bytes(data)
        with suppress(ConfigError, LogError):
            check_log(folder)
            repair_log(folder, is_dry_run=True)
            repair_log(folder, is_dry_run=False)
            check_log(folder)
        shutil.rmtree(folder)


@cache
def _shared_memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
