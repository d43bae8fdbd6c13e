"""What runs around and inside an isolated process: standard library only, nothing of the engine.

zygote.py           the interpreter that waits, and of which every run is a fork
linux_launcher.py   namespaces around it, around every run, and a root of its own
plain_launcher.py   the same place in the row where there are no namespaces
macos_launcher.py   the same on macOS
warden.py           a run's first process: starts its children one by one, reports each
mounts.py           the small read-only root that the child sees
project.py          what is added to it for a whole repository
confinement.py      resource limits
handles.py          the handles that are kept, and folders that are reached through one
memory.py           what a project's processes hold together
landlock.py         file access rules, beneath the mounts
seccomp.py          the system calls that are refused
runner.py           what one child runs, and its report
pytest_start.py     a child as an interpreter of its own, for pytest
pytest_boot.py      runs pytest there
pytest_reporter.py  tells what it collected and how each test ended
calls.py            one call of tests that were compiled to data
beside.py           the tests here, the candidate in a sister process
loading.py          the candidate as a module, and what it raised in words
values.py           plain values as bytes
"""
