"""The file with the images that callers have drawn today, so that a gateway that is replaced goes on counting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog
import trio

from gems_actors.app.picture_files import OutputError, check_writable, write_whole
from gems_actors.errors import ConfigError
from gems_actors.gateway.allowances import Allowances

_PERIOD_S = 1.0

_log = structlog.get_logger()


class _Counts(msgspec.Struct, forbid_unknown_fields=True):
    day: int
    images: dict[str, int]


def read_counts(path: Path) -> Allowances:
    """Return the counts of a file; a missing or damaged one counts nothing."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Counts)
    except FileNotFoundError:
        return Allowances()
    except (OSError, msgspec.MsgspecError) as error:
        _log.warning("image_counts_unusable", path=str(path), reason=str(error))
        return Allowances()
    return Allowances(found.day, found.images)


def write_counts(path: Path, allowances: Allowances) -> None:
    """Write the counts.

    Raises:
        OutputError: the file cannot be written.
    """
    write_whole(path, msgspec.json.encode(_Counts(allowances.day, allowances.images)))


async def keep_counts(path: Path, allowances: Allowances) -> None:
    """Write the counts whenever they have changed, at most once a second, until cancelled; then for the last time.

    Raises:
        ConfigError: the folder cannot be written to.
    """
    try:
        check_writable(path.parent)
    except OutputError as error:
        raise ConfigError(f"data_dir: {error}") from error
    written = (allowances.day, dict(allowances.images))
    try:
        while True:
            await trio.sleep(_PERIOD_S)
            if (found := (allowances.day, dict(allowances.images))) != written:
                await trio.to_thread.run_sync(write_counts, path, allowances)
                written = found
    finally:
        if (allowances.day, allowances.images) != written:
            write_counts(path, allowances)
