"""Mount a file system that the kernel reports as a network one, and serve it as an empty folder.

Run it in its own mount namespace: `python -m tests.faults.foreign_mount FOLDER TYPE COMMAND...`.
Source: the kernel's FUSE protocol 7.31, include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import subprocess
import sys
import threading

_LOOKUP, _FORGET, _GETATTR, _INIT = 1, 2, 3, 26
_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<6Q10I")


def serve(device: int) -> None:
    """Answer that the folder exists and is empty, until it is unmounted."""
    while True:
        try:
            request = os.read(device, 1 << 20)
        except OSError:
            return
        _, opcode, unique, *_ = _IN.unpack_from(request)
        if opcode == _FORGET:
            continue
        error, body = 0, b""
        if opcode == _INIT:
            body = struct.pack("<IIIIHHIIHHI7I", 7, 31, 65536, 0, 12, 9, 65536, 1, 1, 0, 0, *[0] * 7)
        elif opcode == _GETATTR:
            attributes = _ATTRIBUTES.pack(1, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
            body = struct.pack("<QII", 1, 0, 0) + attributes
        else:
            error = -2 if opcode == _LOOKUP else -38
        os.write(device, _OUT.pack(_OUT.size + len(body), error, unique) + body)


def main(folder: str, kind: str, command: list[str]) -> int:
    """Mount, run a command, and return its exit code."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"host:/share", folder.encode(), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"mount of {kind} on {folder}")
    threading.Thread(target=serve, args=(device,), daemon=True).start()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
