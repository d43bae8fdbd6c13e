"""From a commit's message to what was asked for: cleaned text, or a reason why it asks nothing.

Names and addresses of people go: trailers, signatures and every line that has an address in it.
Pure: knows no git.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

RELEASE = "a release or a change of versions"
REVERT = "a revert"
MERGE = "a merge"
PART = "a fixup of another commit"
BY_TOOL = "made by a tool"
SAYS_NOTHING = "its message says too little"

_MOST_CHARS = 20_000
_MOST_LINE = 1_000
_MOST_TASK = 4_000
_FEWEST_WORDS, _FEWEST_LETTERS = 3, 12

_TRAILER = re.compile(
    r"(?:[a-z]+(?:-[a-z]+)*-by|change-id|cc|git-svn-id|cherry-picked-from|cr-commit-position"
    r"|bug|issue|refs?|closes?|fix(?:es)?|resolves?|see[ -]also|link|pr|reviewed-on|pull-request"
    r"|differential revision|test plan|tags|reviewers|subscribers|auto-submit|commit-queue"
    r"|claude-session|generated-by)\s*:\s.*",
    re.I,
)
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)+: \S.*")
_ADDRESS = re.compile(r"<?[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}>?")
_PICKED = re.compile(r"\(cherry picked from commit [0-9a-f]{7,64}\)")
_UNDONE = re.compile(r"\breverts? (?:the )?commit ([0-9a-f]{7,64})\b", re.I)
_ISSUE = re.compile(r"(?:(?<![\w/])#|\bGH-|/(?:issues|pull|merge_requests)/)(\d{1,7})\b")
_ISSUE_SUFFIX = re.compile(r"\s*\((?:#|GH-)\d{1,7}\)\s*$")
_KIND = re.compile(
    r"(feat|feature|fix|bugfix|hotfix|refactor|perf|docs?|style|chore|build|ci|tests?|revert)"
    r"(?:\([^()]{0,60}\))?!?:\s*",
    re.I,
)
_SIGNATURE = "-----BEGIN PGP SIGNATURE-----"
_MERGES = re.compile(
    r"merge(?:d|s)?\b(?: (?:branch|pull request|remote|tag|commit|into|in)|$)", re.I
)
_REVERTS = re.compile(r"(?:revert|reapply|back out|undo)\b", re.I)
_PARTS = re.compile(r"(?:fixup|squash|amend)!|\[?wip\b", re.I)
_RELEASES = re.compile(
    r"(?:bump\b|releas(?:e|ing)(?:$|:| v?\d| notes| candidate)|v?\d+\.\d+|version\b"
    r"|prepare (?:for )?(?:release|v?\d)"
    r"|(?:update|new|increment|set|up) (?:the )?version|back to dev|start (?:of )?v?\d+\.\d"
    r"|update (?:the )?change ?log|(?:update|upgrade|pin) dependenc)",
    re.I,
)
_TOOLS = re.compile(r".*(?:\[bot\]|pre-commit(?:\.ci)? auto|auto-?generated|autofix)", re.I)
_SKIPPED = (
    *((MERGE, _MERGES), (REVERT, _REVERTS), (PART, _PARTS), (RELEASE, _RELEASES)),
    (BY_TOOL, _TOOLS),
)
_TYPES = {
    **dict.fromkeys(("fix", "bugfix", "hotfix"), "bug-fix"),
    **dict.fromkeys(("refactor", "perf", "style"), "refactor"),
}
_MENDS = re.compile(r"(?:fix(?:es|ed)?|repair|mend|correct|bug)\b", re.I)


@dataclass(frozen=True, slots=True)
class Message:
    """What was asked for. `subject` and `body` are clean; `issues` are named by their numbers."""

    subject: str
    body: str
    issues: tuple[int, ...]
    task_type: str

    @property
    def task(self) -> str:
        return shortened(f"{self.subject}\n\n{self.body}" if self.body else self.subject)


def undone_by(message: str) -> tuple[str, ...]:
    """The commits that this one says it reverts; ids, perhaps shortened."""
    return tuple(found.lower() for found in _UNDONE.findall(message[:_MOST_CHARS]))


def read(message: str, *, known_issues: frozenset[int] = frozenset()) -> Message | str:
    """The clean message, or why the commit asks for nothing that can be learned.

    Args:
        known_issues: numbers of issues whose text is there; one that is named may stand for a
            message that says too little.
    """
    text = message[:_MOST_CHARS].replace("\r\n", "\n").split(_SIGNATURE)[0]
    lines = [line.rstrip()[:_MOST_LINE] for line in text.split("\n")]
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        return SAYS_NOTHING
    first, *rest = lines
    kind = _KIND.match(first)
    subject = _subject(first[kind.end() :] if kind else first)
    reason = next((why for why, known in _SKIPPED if known.match(subject or first)), None)
    if reason is None and (undone_by(text) or (kind and kind[1].lower() == "revert")):
        reason = REVERT
    if reason is not None:
        return reason
    issues = tuple(dict.fromkeys(int(number) for number in _ISSUE.findall(text)))
    if _TRAILER.fullmatch(first.strip()):
        return SAYS_NOTHING
    if not _says_enough(subject) and not known_issues.intersection(issues):
        return SAYS_NOTHING
    return Message(subject, _body(rest), issues, _type(kind[1] if kind else "", subject))


def shortened(text: str) -> str:
    """At most `_MOST_TASK` characters, cut at the end of a line where there is one."""
    if len(text) <= _MOST_TASK:
        return text
    cut = text[:_MOST_TASK]
    return cut[: cut.rfind("\n")].rstrip() if "\n" in cut else cut


def without_people(text: str) -> str:
    """A text without trailers, and without lines that hold somebody's address."""
    lines = [line.rstrip()[:_MOST_LINE] for line in text[:_MOST_CHARS].split("\n")]
    kept = [line for line in lines if not _is_about_people(line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip()


def _subject(line: str) -> str:
    return _ADDRESS.sub("", _ISSUE_SUFFIX.sub("", line.strip())).strip()


def _body(lines: list[str]) -> str:
    paragraphs = "\n".join(lines).strip().split("\n\n")
    if all(_TOKEN.fullmatch(line) or _is_about_people(line) for line in paragraphs[-1].split("\n")):
        del paragraphs[-1]
    return without_people("\n\n".join(paragraphs))


def _is_about_people(line: str) -> bool:
    line = line.strip()
    return bool(_TRAILER.fullmatch(line) or _PICKED.search(line) or _ADDRESS.search(line))


def _says_enough(subject: str) -> bool:
    letters = sum(character.isalpha() for character in subject)
    return len(subject.split()) >= _FEWEST_WORDS and letters >= _FEWEST_LETTERS


def _type(kind: str, subject: str) -> str:
    if kind.lower() in _TYPES:
        return _TYPES[kind.lower()]
    return "bug-fix" if not kind and _MENDS.match(subject) else "feature-impl"
