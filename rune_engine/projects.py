"""Which project a folder belongs to: its repository, not its name.

Two clones, a worktree and a subfolder of one repository are one project; two folders that are both
called `app` are not. `git` is asked, in bounded time and with everything off by which a hostile
repository could run a program: it only reads its own configuration and commits. Knows no database,
and imports next to nothing until it is asked: the MCP server uses it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from rune_engine.errors import InvalidInputError

GIT_SECONDS = 5.0
"""Longest wait for one call of git; a repository that takes longer counts as a plain folder."""
LONGEST_ID = 200

_SAFE_OPTIONS = (
    "--no-pager",
    "--no-replace-objects",
    "-c", "safe.directory=*",  # nothing is run, so another owner's repository may be read
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
)  # fmt: skip
_SAFE_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks, by its own command
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^/]*@)?(?P<host>\[[^]]*\]|[^/:]+)"
                  r"(?::(?P<port>\d*))?(?P<path>/.*)", re.I | re.S)  # fmt: skip
_SCP = re.compile(r"(?:[^/:]*@)?(?P<host>\[[^]]*\]|[^/:]+):(?P<path>(?!//).+)", re.S)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_SAME_HOSTS = {"ssh.github.com": "github.com", "altssh.gitlab.com": "gitlab.com"}
_HASH_CHARS = 12


@dataclass(frozen=True, slots=True)
class ProjectIdentity:
    """A project: `id` is what the engine knows it by, `root` the top folder of this checkout.

    `remote` is the normalised address of its repository, or None.
    """

    id: str
    root: Path
    remote: str | None


def identify(folder: Path | str) -> ProjectIdentity:
    """The project that a folder belongs to.

    Its id is the repository's remote (`github.com/owner/repo`) where there is one, else its name
    and first commit, else the folder's name and a hash of its path.

    Raises:
        InvalidInputError: there is no such folder.
    """
    path = _existing(folder)
    repository = _git(path, "rev-parse", "--git-common-dir")
    if not repository:
        return ProjectIdentity(_named(path.name, _hash(path)), path, None)
    common = (path / repository).resolve()
    top = _git(path, "rev-parse", "--show-toplevel")
    root = Path(top).resolve() if top else common
    for url in _remotes(path):
        if (remote := normalise(url)) is not None:
            return ProjectIdentity(_bounded(remote), root, remote)
    main = common.parent if common.name == ".git" else common
    digest = _first_commit(path) or _hash(main)
    return ProjectIdentity(_named(main.name.removesuffix(".git"), digest), root, None)


def identify_absent(folder: Path | str) -> str:
    """The id of a folder that is not on this machine, or no more: its name, and its path's hash."""
    path = PurePath(folder)
    return _named(path.name, _hash(path))


def safe_git(folder: Path, *arguments: str) -> str:
    """What git says of a repository, by commands that only read; nothing when it fails."""
    return _git(folder, *arguments)


def normalise(url: str) -> str | None:
    """A remote's address as `host/owner/repo`; None for a folder of this machine.

    Scheme, credentials, the port of ssh and `.git` go, and the host is in lower case: the same
    repository has one address however it was cloned.
    """
    url = url.strip()
    found = _URL.fullmatch(url)
    scheme = found.group("scheme").lower() if found else "ssh"
    if scheme == "file" or not (found := found or _SCP.fullmatch(url)):
        return None
    host = _clean(found.group("host").lower())
    host = _SAME_HOSTS.get(host, host)
    port = found.groupdict().get("port")
    if port and scheme in _DEFAULT_PORTS and port != _DEFAULT_PORTS[scheme]:
        host = f"{host}:{port}"
    path = found.group("path").split("?")[0].split("#")[0]
    parts = [_clean(part) for part in path.split("/") if part not in ("", ".", "..")]
    if not host or not parts:
        return None
    return "/".join((host, *parts)).removesuffix(".git")


def is_path(text: str) -> bool:
    """Whether a project was given as a folder rather than by its id."""
    return text in (".", "..") or text.startswith(("/", "~", "./", "../"))


def resolve(project: str) -> str:
    """The id of a project that is given by its id or by a folder; see `is_path`.

    Raises:
        InvalidInputError: there is no such folder.
    """
    return identify(project).id if is_path(project) else project


def _existing(folder: Path | str) -> Path:
    try:
        path = Path(folder).expanduser().resolve()
        if path.is_dir():
            return path
    except (OSError, RuntimeError, ValueError):
        pass
    raise InvalidInputError(
        f"There is no folder {str(folder)[:300]!r}.",
        next_step="Give a project's folder, or its id as `rune project` shows it.",
    )


def _remotes(path: Path) -> Iterator[str]:
    """The addresses of its remotes, `origin` first, else in the order of its configuration."""
    listed = _git(path, "config", "--local", "--no-includes", "--null", "--get-regexp",
                  r"^remote\..*\.url$")  # fmt: skip
    found = [entry.partition("\n") for entry in listed.split("\0") if "\n" in entry]
    found.sort(key=lambda entry: entry[0] != "remote.origin.url")
    yield from (url for _, _, url in found)


def _first_commit(path: Path) -> str:
    """The oldest commit without parents: branches without history come later."""
    listed = _git(path, "rev-list", "--max-parents=0", "--all", "--timestamp").splitlines()
    commits = [(int(time), commit) for time, _, commit in (line.partition(" ") for line in listed)]
    return min(commits)[1][:_HASH_CHARS] if commits else ""


def _git(path: Path, *arguments: str) -> str:
    """What git says; nothing when it fails, is not there or takes too long."""
    import subprocess

    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *_SAFE_OPTIONS, "-C", str(path), *arguments],
            env={**kept, **_SAFE_ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace").rstrip("\n") if done.returncode == 0 else ""


def _named(name: str, digest: str) -> str:
    return f"{_clean(name)[: LONGEST_ID - _HASH_CHARS - 1] or 'project'}-{digest}"


def _bounded(remote: str) -> str:
    if len(remote) <= LONGEST_ID:
        return remote
    return f"{remote[: LONGEST_ID - _HASH_CHARS - 1]}-{_hash(remote)}"


def _hash(text: PurePath | str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:_HASH_CHARS]


def _clean(part: str) -> str:
    """A part of an id with only what `models.Name` allows, beginning with a letter or digit."""
    return re.sub(r"[^A-Za-z0-9_.@+-]+", "-", part).lstrip(".-@+ ")
