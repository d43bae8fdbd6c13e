"""What a command does is told from its words; what a run of tests says, from code and output."""

from __future__ import annotations

import pytest

from rune_engine.capture import verdicts
from rune_engine.capture.shell import patch_edits, read_command
from rune_engine.capture.steps import Command, Edit, Prompt, Session
from rune_engine.capture.tasks import Task, tasks_of


@pytest.mark.parametrize(
    "command",
    [
        "pytest -q", "python -m pytest tests/", "python3.12 -W error -m unittest discover",
        "cd /work && pytest", "FOO=1 timeout 60 uv run --frozen pytest -x", "poetry run pytest",
        "npm test", "npm run test:unit", "npx --yes vitest run", "go test ./...", "cargo test",
        "make check", "./gradlew :app:test", "bundle exec rspec", "python manage.py test shop",
        ".venv/bin/pytest", "bash -c 'true'; pytest",
    ],
)  # fmt: skip
def test_a_run_of_tests_is_known_and_its_exit_code_is_that_of_the_line(command: str) -> None:
    found = read_command(command)
    assert (found.kind, found.decisive) == ("test", True)


@pytest.mark.parametrize(
    "command",
    ["pytest | tail -5", "pytest || true", "pytest; echo done", "pytest && git commit -m x",
     "pytest > log 2>&1 &", "pytest\ngit push", "make build || make test"],
)  # fmt: skip
def test_the_exit_code_of_a_line_is_not_always_that_of_its_tests(command: str) -> None:
    found = read_command(command)
    assert (found.kind, found.decisive) == ("test", False)


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("ls -la && cat tests/test_a.py", "look"), ("grep -rn pytest .", "look"),
        ("git diff HEAD", "look"), ("pip install pytest", "run"), ("echo 'pytest passed'", "look"),
        ("git commit -m 'pytest passes'", "run"), ("pytest --collect-only", "run"),
        ("python reproduce.py", "run"), ("git checkout -- .", "change"), ("mv a b", "change"),
        ("unbalanced 'quote", "run"), ("", "look"), ("pytest --version", "run"),
        ("go build ./...", "run"), ("npm run build", "run"),
    ],
)  # fmt: skip
def test_other_commands_are_no_run_of_tests(command: str, kind: str) -> None:
    assert read_command(command).kind == kind


def test_what_a_command_writes_is_an_edit() -> None:
    heredoc = "cat > app.py <<'EOF'\nprint(1)\npytest\nEOF\npytest -q"
    assert read_command(heredoc).edits == (Edit("app.py", "print(1)\npytest\n", whole=True),)
    assert read_command(heredoc).kind == "test"
    assert read_command("cat <<EOF >> a.txt\nmore\nEOF").edits == (Edit("a.txt", "more\n"),)
    assert read_command("printf 'a' > b.txt").edits == (Edit("b.txt", "a\n", whole=True),)
    (edit,) = read_command("sed -i 's/a/b/' src/x.py && pytest").edits
    assert (edit.path, edit.new) == ("src/x.py", "sed -i s/a/b/ src/x.py")
    assert read_command("rm -rf build old.py").removed == ("build", "old.py")
    assert read_command("python x.py > out.txt").edits == ()


def test_a_patch_is_its_files_and_hunks() -> None:
    patch = (
        "*** Begin Patch\n*** Add File: a.py\n+one\n+two\n*** Update File: b.py\n@@ def f\n"
        " keep\n-old\n+new\n@@\n-x\n+y\n*** Delete File: c.py\n*** End Patch"
    )
    assert list(patch_edits(patch)) == [
        Edit("a.py", "one\ntwo\n", whole=True),
        Edit("b.py", "keep\nnew\n", old="keep\nold\n"),
        Edit("b.py", "y\n", old="x\n"),
    ]


@pytest.mark.parametrize(
    ("output", "code", "decisive", "verdict"),
    [
        ("3 passed in 0.1s", 0, True, True),
        ("", 0, True, True),
        ("", 1, True, False),
        ("1 failed, 2 passed", 1, True, False),
        ("2 passed", None, False, True),
        ("1 failed, 2 passed", 0, False, False),
        ("", 0, False, None),
        ("", None, True, None),
        ("1 failed", 0, True, None),
        ("no tests ran in 0.0s", 5, True, None),
        ("no tests ran in 0.0s", 0, True, None),
        ("bash: pytest: command not found", 127, True, None),
        ("No module named pytest", 1, True, None),
        ("5 passed", 137, True, None),
        ("", 124, True, None),
        ("3 passed, coverage too low", 1, True, False),
        ("2 xfailed, 1 passed", 0, True, True),
        ("Ran 3 tests in 0.001s\n\nOK\n", None, True, True),
        ("Ran 0 tests in 0s\n\nOK", 0, True, None),
        ("Ran 2 tests in 0s\n\nFAILED (failures=1)", None, True, False),
        ("ok  \texample.org/a\t0.01s", None, True, True),
        ("--- FAIL: TestA", None, True, False),
        ("test result: ok. 3 passed; 0 failed", None, True, True),
        ("test result: FAILED. 0 passed; 1 failed", None, True, False),
        ("Tests:       1 failed, 2 passed, 3 total", 1, True, False),
        ("Tests:       3 passed, 3 total", None, True, True),
        ("\x1b[32m2 passed\x1b[0m in 0.2s", None, False, True),
    ],
)
def test_a_verdict_needs_evidence_and_no_contradiction(
    output: str, code: int | None, decisive: bool, verdict: bool | None
) -> None:
    run = Command("pytest", output, "", code)
    assert verdicts.tests_passed(run, decisive=decisive) is verdict


def task_of(*steps: Prompt | Edit | Command) -> Task:
    (task,) = tasks_of(Session("any", "s", (Prompt("Do it."), *steps)))
    return task


GREEN, RED = Command("pytest", "1 passed in 0.1s", "", 0), Command("pytest", "1 failed", "", 1)
FIX = Edit("a.py", "x = 1\n", whole=True)


def test_an_edit_or_a_checkout_after_the_tests_leaves_the_outcome_unknown() -> None:
    assert task_of(FIX, GREEN).outcome == "success"
    assert task_of(FIX, GREEN, Edit("a.py", "x = 2\n", whole=True)).outcome == "unknown"
    reverted = task_of(FIX, GREEN, Command("git checkout -- a.py", "", "", 0))
    assert (reverted.outcome, reverted.attempts[-1].tests_passed) == ("unknown", None)
    assert task_of(FIX, RED, GREEN).outcome == "success"
    assert task_of(FIX, GREEN, RED).outcome == "exhausted"
    assert task_of(FIX, GREEN, Command("pytest", "", "", 137)).outcome == "unknown"


def test_tests_that_ran_before_the_edit_say_nothing_of_it() -> None:
    assert task_of(GREEN, FIX).outcome == "unknown"
    task = task_of(RED, FIX, Command("git commit -am x", "[main 1]", "", 0))
    assert [(a.exit_code, a.tests_passed) for a in task.attempts] == [(0, None)]


def test_a_turn_that_only_runs_tests_belongs_to_the_task_before_it() -> None:
    steps = (Prompt("Do it."), FIX, Prompt("Run the tests."), RED)
    (task,) = tasks_of(Session("any", "s", steps))
    assert (task.description, task.outcome, task.closed) == ("Do it.", "exhausted", False)
    again = (*steps, Prompt("Do more."), RED, Edit("b.py", "y = 1\n", whole=True), GREEN)
    first, second = tasks_of(Session("any", "s", again))
    assert (first.outcome, first.closed) == ("exhausted", True)
    assert (second.description, second.outcome) == ("Do more.", "success")


def test_a_task_begins_with_all_that_was_said_before_the_first_edit() -> None:
    steps = (Prompt("Look at the parser."), Command("cat a.py", "x"), Prompt("Go on."), FIX)
    (task,) = tasks_of(Session("any", "s", steps))
    assert task.description == "Look at the parser.\n\nGo on."


def test_texts_are_bounded_and_can_be_stored() -> None:
    long = Command("pytest", "x" * 500_000 + "\0\ud800 1 passed", "", 0)
    task = task_of(Edit("a.py", "x = '\0'\n", whole=True), long)
    assert len(task.attempts[0].stdout) < 40_000
    assert "characters left out" in task.attempts[0].stdout
    assert "\0" not in task.attempts[0].stdout + task.attempts[0].generated_code
    assert tasks_of(Session("any", "s", (Prompt("Do."), Edit("a", "x" * 300_000)))) == []
