"""Which kind of file system a folder is on, and whether a database may be there.

SQLite's write-ahead log needs memory that every process shares and locks that hold; a network file
system has neither, and loses or mixes up what was written. Knows nothing of what is stored.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rune_engine.errors import NetworkFileSystemError

MOUNT_TABLE = Path("/proc/self/mountinfo")
_NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "afpfs", "afs"),
        *("9p", "drvfs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs", "orangefs", "coda"),
        *("webdav", "davfs", "davfs2", "vboxsf", "vmhgfs", "prl_fs", "osxfs", "macfuse", "osxfuse"),
    }
)
_FUSE = frozenset(
    {
        *("sshfs", "rclone", "s3fs", "gcsfuse", "goofys", "mount-s3", "blobfuse", "blobfuse2"),
        *("davfs2", "davfs", "curlftpfs", "glusterfs", "ceph", "ceph-fuse", "juicefs", "seaweedfs"),
        *(
            "vmhgfs-fuse",
            "grpcfuse",
            "smbnetfs",
            "gvfsd-fuse",
            "onedriver",
            "google-drive-ocamlfuse",
        ),
    }
)
"""File systems in user space that are somewhere else; others, such as ntfs-3g, are local."""


def require_local(folder: Path) -> None:
    """Refuse a folder that cannot hold a database; it need not exist yet.

    Raises:
        NetworkFileSystemError: it is on a network file system.
    """
    kind = file_system_of(folder)
    if is_network(kind):
        raise NetworkFileSystemError(
            f"{folder} is on a network file system ({kind}), where a database that several "
            "processes use is damaged sooner or later.",
            next_step="Point RUNE_HOME at a folder on a local disk"
            + (" of Linux, such as ~/.rune in WSL's own file system." if kind == "9p" else "."),
        )


def is_network(kind: str) -> bool:
    """Whether file systems of this kind are reached over a network, or shared between machines."""
    return kind in _NETWORK or kind.removeprefix("fuse.") in _FUSE


def file_system_of(folder: Path) -> str:
    """The kind of file system that holds `folder`, or would; empty where it cannot be found out."""
    real = Path(os.path.realpath(folder))
    mounts = _linux_mounts() if sys.platform == "linux" else _other_mounts()
    found, kind_found = Path(), ""
    for point, kind in mounts:
        # Of two on one folder the later one hides the earlier.
        if real.is_relative_to(point) and len(point.parts) >= len(found.parts):
            found, kind_found = point, kind
    return kind_found


def _linux_mounts() -> list[tuple[Path, str]]:
    try:
        lines = MOUNT_TABLE.read_bytes().splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        before, _, after = line.partition(b" - ")
        point = before.split(b" ")[4].decode("unicode_escape").encode("latin-1")
        mounts.append((Path(os.fsdecode(point)), os.fsdecode(after.split(b" ")[0])))
    return mounts


def _other_mounts() -> list[tuple[Path, str]]:
    import psutil

    return [(Path(each.mountpoint), each.fstype) for each in psutil.disk_partitions(all=True)]
