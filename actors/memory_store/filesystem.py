"""Detects network file systems, on which a log must not be kept. Linux lists mounts in /proc/self/mountinfo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from gems_actors.errors import ConfigError

MOUNT_TABLE: Final = Path("/proc/self/mountinfo")
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


def check_local(folder: Path, mount_table: Path = MOUNT_TABLE) -> None:
    """Check that a folder is on a local disk, because locks and `fsync` are unreliable on network file systems.

    Raises:
        ConfigError: the folder is on a network file system.
    """
    try:
        mounts = mount_table.read_text(errors="replace")
    except OSError:
        return  # unknown, for example on macOS: assume a local disk
    kind = kind_of_mount(os.path.realpath(folder), mounts)
    if is_network(kind):
        raise ConfigError(f"{folder}: expected a folder on a local disk for memory, got one on {kind}; set data_dir")


def is_network(kind: str) -> bool:
    """Return whether a type of file system is a network file system."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind.removeprefix("fuse.") in _NETWORK_FUSE)


def kind_of_mount(path: str, mounts: str) -> str:
    """Return the type of the file system that a path is on, or an empty text if the mount table does not say.

    Source: proc(5), /proc/pid/mountinfo: mount point in field 5, type in the first field after ` - `.
    """
    longest, kind = -1, ""
    for line in mounts.splitlines():
        head, dash, tail = line.partition(" - ")
        fields = head.split()
        if not dash or len(fields) < 5 or not tail.split():
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        is_above = path == point or path.startswith(point.rstrip("/") + "/")
        if is_above and len(point) >= longest:  # of several mounts on one point, the last hides the others
            longest, kind = len(point), tail.split()[0]
    return kind
