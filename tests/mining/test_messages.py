"""What a commit's message asks for, and which messages ask for nothing."""

from __future__ import annotations

import pytest

from rune_engine.mining import messages
from rune_engine.mining.messages import Message, read


def clean(message: str, *known: int) -> Message:
    found = read(message, known_issues=frozenset(known))
    assert isinstance(found, Message), found
    return found


def test_the_subject_and_the_body_are_the_task() -> None:
    found = clean("Count the cart's items\n\nIt counted the bags, too.\nNobody buys those.\n")
    assert found.task == ("Count the cart's items\n\nIt counted the bags, too.\nNobody buys those.")


def test_people_are_left_out() -> None:
    found = clean(
        "Count the items (#12)\n\nBecause bags were counted.\nThanks to Eve <eve@mail.example>!\n\n"
        "Signed-off-by: Ada <ada@mail.example>\nCo-authored-by: Bob <bob@mail.example>\n"
        "Change-Id: I123456\n(cherry picked from commit 0123456789abcdef)\n"
        "-----BEGIN PGP SIGNATURE-----\nabc\n-----END PGP SIGNATURE-----\n"
    )
    assert found.task == "Count the items\n\nBecause bags were counted."
    assert found.issues == (12,)


def test_a_trailer_of_any_name_goes_with_its_paragraph() -> None:
    assert clean("Count the items\n\nWhy.\n\nX-Team-Lead: Ada\nReview-Url: http://x").body == "Why."


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Merge branch 'main' into other", messages.MERGE),
        ("Merged in feature/cart (pull request #3)", messages.MERGE),
        ('Revert "Count the items of the cart"', messages.REVERT),
        ("Count bags again\n\nThis reverts commit 0123456789.", messages.REVERT),
        ("revert: count the items of the cart", messages.REVERT),
        ("fixup! Count the items of the cart", messages.PART),
        ("WIP count the items of the cart", messages.PART),
        ("Bump requests from 2.1 to 2.2", messages.RELEASE),
        ("chore(release): release 1.2.3 to everyone", messages.RELEASE),
        ("v1.2.3 with many new things in it", messages.RELEASE),
        ("Update dependencies of everything here", messages.RELEASE),
        ("[pre-commit.ci] pre-commit autoupdate of hooks", messages.BY_TOOL),
        ("fix", messages.SAYS_NOTHING),
        ("more of that", messages.SAYS_NOTHING),
        ("...", messages.SAYS_NOTHING),
        ("", messages.SAYS_NOTHING),
        ("\n\n \n", messages.SAYS_NOTHING),
        ("Signed-off-by: Ada Confidential <ada@mail.example>", messages.SAYS_NOTHING),
    ],
)
def test_what_asks_for_nothing_is_skipped_with_its_reason(message: str, reason: str) -> None:
    assert read(message) == reason


@pytest.mark.parametrize(
    "message",
    [
        "Merging two carts keeps both of their items",
        "Releases of a lock wake those who wait",
        "Undoable commands are kept in a list",
        "Versions are compared as numbers",
    ],
)
def test_words_that_only_begin_alike_are_no_reason(message: str) -> None:
    assert clean(message).subject == message


def test_a_terse_message_will_do_where_its_issue_is_known() -> None:
    assert read("fix #7") == messages.SAYS_NOTHING
    assert clean("fix #7", 7).issues == (7,)
    assert clean(
        "Count them right, as in GH-8 and a/b#9 and https://x.example/issues/10"
    ).issues == (
        8,
        10,
    )


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("fix(cart)!: count each item once", "bug-fix"),
        ("Fix the count of the items", "bug-fix"),
        ("feat: fix prices at their old level", "feature-impl"),
        ("perf: count without a copy of it", "refactor"),
        ("Count items by their weight", "feature-impl"),
    ],
)
def test_the_kind_of_task_is_told_by_the_message(message: str, kind: str) -> None:
    found = clean(message)
    assert found.task_type == kind
    assert "(cart)" not in found.subject


def test_a_huge_message_is_cut_and_read_in_time() -> None:
    found = clean("Count the items of it\n\n" + "a.b-" * 200_000 + "\n" + "line\n" * 50_000)
    assert len(found.task) <= 4_000


def test_reverts_name_what_they_undo() -> None:
    told = 'Revert "x"\n\nThis reverts commit 0123456789ABCDEF.\nand reverts commit fedcba98.'
    assert messages.undone_by(told) == ("0123456789abcdef", "fedcba98")
