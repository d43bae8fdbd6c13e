"""A database on a network file system is refused before anything is made there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from rune_engine import file_systems
from rune_engine.config import RuneConfig, load_config
from rune_engine.database import open_database
from rune_engine.errors import NetworkFileSystemError

LINE = "36 35 98:0 / {point} rw,noatime shared:1 - {kind} source rw,errors=continue\n"
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's mount table")


def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **mounts: str) -> None:
    """The machine's mount table, with more mounts in it."""
    file = tmp_path / "mountinfo"
    lines = [LINE.format(point=point, kind=kind) for kind, point in mounts.items()]
    file.write_text(LINE.format(point="/", kind="ext4") + "".join(lines))
    monkeypatch.setattr(file_systems, "MOUNT_TABLE", file)


@linux_only
@pytest.mark.parametrize(
    "kind", ["nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "ceph", "davfs", "drvfs"]
)
def test_a_home_on_a_network_file_system_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / "share"
    table(tmp_path, monkeypatch, **{kind: str(share)})
    with pytest.raises(NetworkFileSystemError, match=kind) as caught:
        open_database(load_config(home=share / "below" / "home"))
    assert "RUNE_HOME" in caught.value.next_step
    assert not share.exists()
    open_database(load_config(home=tmp_path / "share-not" / "home")).close()


@linux_only
@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "btrfs", "fuse.ntfs-3g", "zfs", "fuseblk"])
def test_a_home_on_a_local_one_is_not(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table(tmp_path, monkeypatch, **{kind: str(tmp_path)})
    assert file_systems.file_system_of(tmp_path / "home") == kind
    open_database(load_config(home=tmp_path / "home")).close()


@linux_only
def test_the_innermost_mount_counts_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a home"
    odd.mkdir()
    (tmp_path / "link").symlink_to(odd)
    escaped = str(odd).replace(" ", "\\040")
    table(tmp_path, monkeypatch, nfs=str(tmp_path), xfs=escaped)
    assert file_systems.file_system_of(odd / "x") == "xfs"
    assert file_systems.file_system_of(tmp_path / "link" / "x") == "xfs"
    assert file_systems.file_system_of(tmp_path / "x") == "nfs"


def test_this_machine_is_understood(config: RuneConfig) -> None:
    found = file_systems.file_system_of(config.home)
    assert found in {partition.fstype for partition in psutil.disk_partitions(all=True)}


@linux_only
def test_a_file_system_in_memory_is_told_from_the_one_below(tmp_path: Path) -> None:
    inside = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*inside, "true"], check=False, capture_output=True).returncode:
        pytest.skip("private mount namespaces are not permitted here")
    ask = "import sys; from pathlib import Path; from rune_engine import file_systems as f;"
    ask += "print(f.file_system_of(Path(sys.argv[1])))"
    script = 'mount -t tmpfs none "$1"; "$2" -c "$3" "$1/home"'
    done = subprocess.run(
        [*inside, "sh", "-ec", script, "sh", str(tmp_path), sys.executable, ask],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "tmpfs\n"
