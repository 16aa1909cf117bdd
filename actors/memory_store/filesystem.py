"""On which kind of file system a folder is, as far as a log must know. Linux tells in /proc/self/mountinfo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from gems_actors.errors import ConfigError

_NETWORK: Final = frozenset(
    (
        "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs", "wekafs",
    )
)  # fmt: skip
_NETWORK_FUSE: Final = frozenset(
    (
        "beegfs", "blobfuse", "blobfuse2", "ceph", "curlftpfs", "davfs", "gcsfuse", "glusterfs", "goofys", "juicefs",
        "mountpoint-s3", "moosefs", "rclone", "s3fs", "seaweedfs", "sshfs",
    )
)  # fmt: skip


def check_local(folder: Path) -> None:
    """See that a folder is on a disk of this host: on others neither locks nor `fsync` are to be relied upon.

    Raises:
        ConfigError: it is on a network file system.
    """
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
    except OSError:
        return  # a system that does not tell is given the benefit of the doubt
    kind = kind_of_mount(os.path.realpath(folder), mounts)
    if is_network(kind):
        raise ConfigError(f"{folder}: expected a folder on a local disk for memory, got one on {kind}; set data_dir")


def is_network(kind: str) -> bool:
    """Whether a type of file system is one of other hosts."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in _NETWORK_FUSE)


def kind_of_mount(path: str, mounts: str) -> str:
    """Return the type of the file system on which a path is, empty where the table of mounts does not tell.

    Source: proc(5), /proc/pid/mountinfo: mount point in field 5, type in the first field behind ` - `.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        head, dash, tail = line.partition(" - ")
        fields = head.split()
        if not dash or len(fields) < 5 or not tail.split():
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= longest:  # of several mounts on one point the last hides the others
            longest, kind = len(point), tail.split()[0]
    return kind
