"""Folders for one use: gone afterwards, found again where their maker was killed, never stolen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rune_engine.sandbox.folders import folder_in, sweep

MAKE = """
import sys
from pathlib import Path
from rune_engine.sandbox.folders import folder_in
with folder_in(Path(sys.argv[1]), "kind-") as folder:
    (folder / "inner").mkdir()
    (folder / "inner").chmod(0)
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_gone_afterwards_whatever_was_put_there(tmp_path: Path) -> None:
    with folder_in(tmp_path, "kind-") as folder:
        deep = folder / "/".join(["d"] * 200)
        deep.mkdir(parents=True)
        (deep / "file").touch()
        (folder / "link").symlink_to(tmp_path)
        (folder / "d").chmod(0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_swept_only_when_its_maker_was_killed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "kind-link").symlink_to(tmp_path / "other")
    maker = subprocess.Popen(
        [sys.executable, "-c", MAKE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert maker.stdin and maker.stdout
    try:
        folder = Path(maker.stdout.readline().strip())
        sweep(tmp_path, "kind-")
        assert folder.is_dir()
    finally:
        maker.kill()
        maker.communicate(timeout=10)
    assert folder.is_dir()
    sweep(tmp_path, "kind-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kind-link", "other"]
