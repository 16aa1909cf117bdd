"""A mesh.toml, which another user or a shared folder may hold."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from gems_actors.config import load_config
from gems_actors.errors import ConfigError

_FOLDER = Path(__file__).parents[2]


def seeds() -> list[bytes]:
    """Return the mesh files of this repository, and tables of odd shapes."""
    files = [*sorted((_FOLDER / "deploy").rglob("mesh.toml")), *sorted((_FOLDER / "tests").rglob("mesh.toml"))]
    odd = [
        b"[roles.x]\nactor = 'a:B'\nrequests = [1]",
        b"router = 1\n[chat]\n",
        b"data_dir = '\\u0000'",
        b"heartbeat_s = 1e-300",
    ]
    return [path.read_bytes() for path in files] + odd


def check(data: bytes) -> None:
    """Load settings from a file."""
    with NamedTemporaryFile(suffix=".toml") as file:
        file.write(data)
        file.flush()
        with suppress(ConfigError):
            load_config(Path(file.name), environment={})
