"""Why a file cannot be used, in the words of its user, and reading files that a user names."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}
_PIPES_OF_SHELL: Final = (Path("/dev/fd"), Path("/proc/self/fd"))
"""Where a shell puts the pipe of `<(command)`."""
_FEW_INODES: Final = 16
_SOME_BYTES: Final = 1024 * 1024
_ADVICE: Final = {
    errno.EACCES: "check owner and mode of it and its folders",
    errno.EDQUOT: "remove files, or ask for a larger quota",
    errno.EIO: "the disk may be failing; see dmesg",
    errno.EMFILE: "raise the limit with `ulimit -n`",
    errno.ENFILE: "the host has no more open files",
    errno.ENOSPC: "make room on its disk",
    errno.EROFS: "mount its disk writable, or choose another folder",
}


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; what is not a file, such as a named pipe, would block or never end.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    kind = stat.S_IFMT(path.stat().st_mode)
    is_pipe_of_shell = kind == stat.S_IFIFO and path.parent in _PIPES_OF_SHELL
    if kind != stat.S_IFREG and not is_pipe_of_shell:
        code = errno.EISDIR if kind == stat.S_IFDIR else errno.EINVAL
        raise OSError(code, f"{_KINDS.get(kind, 'something else')}, not a file", str(path))
    return path.open("rb")


def read_regular(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path) as file:
        return file.read()


def os_reason(error: OSError, path: Path | None = None) -> str:
    """Return why a file cannot be used, and what helps; `path` is for errors that name no file."""
    reason = error.strerror or str(error)
    if error.errno == errno.ENOSPC and _has_no_inodes(path or error.filename):
        return "its disk has room but no inodes left: it holds as many files as it can; remove some (see `df -i`)"
    advice = _ADVICE.get(error.errno or 0)
    return f"{reason}; {advice}" if advice else reason


def reason_of(error: Exception) -> str:
    """Return why a file cannot be read: what the system says about it, or else what its parser says."""
    return os_reason(error) if isinstance(error, OSError) else str(error)


def _has_no_inodes(path: object) -> bool:
    if not isinstance(path, str | bytes | os.PathLike):
        return False
    folder = Path(os.fsdecode(path))
    for existing in (folder, *folder.parents):
        try:
            disk = os.statvfs(existing)
        except OSError:
            continue
        # other processes free and take inodes all the time, and blocks are left over when inodes run out
        return disk.f_files > 0 and disk.f_ffree < _FEW_INODES and disk.f_bavail * disk.f_frsize > _SOME_BYTES
    return False
