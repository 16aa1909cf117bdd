"""Files that a user names, and why they cannot be used."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from gems_actors.files import open_regular, os_reason


def make(folder: Path, kind: str) -> Path:
    """Return a path of a kind that is not a file, or that cannot be opened."""
    path = folder / kind.replace(" ", "-")
    match kind:
        case "folder":
            path.mkdir()
        case "named pipe":
            os.mkfifo(path)
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(str(path))
        case "device":
            return Path("/dev/zero")
        case "long name":
            return folder / ("x" * 300)
        case "file as folder":
            path.touch()
            return path / "inner"
    return path


KINDS = {
    "folder": "a folder, not a file",
    "named pipe": "a named pipe, not a file",
    "socket": "a socket, not a file",
    "device": "a device, not a file",
    "long name": "File name too long",
    "file as folder": "Not a directory",
    "missing": "No such file or directory",
}


@pytest.mark.parametrize(("kind", "reason"), KINDS.items())
def test_what_is_not_a_file_is_refused_at_once_and_named(tmp_path: Path, kind: str, reason: str) -> None:
    with pytest.raises(OSError) as caught, open_regular(make(tmp_path, kind)):
        pass
    assert os_reason(caught.value) == reason


def test_the_pipe_of_a_shell_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"text")
    os.close(writer)
    with open_regular(Path(f"/dev/fd/{reader}")) as file:
        assert file.read() == b"text"
    os.close(reader)


def test_a_reason_says_what_helps() -> None:
    error = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    assert os_reason(error) == "Too many open files; raise the limit with `ulimit -n`"
