"""What runs around and inside an isolated process: standard library only, nothing of the engine.

linux_launcher.py   new namespaces, a first process that watches, a child that is confined
mounts.py           the small read-only root that the child sees
confinement.py      resource limits and the loss of every privilege
landlock.py         file access rules, beneath the mounts
seccomp.py          the system calls that are refused
macos_launcher.py   the same place in the row on macOS
runner.py           the candidate, then its tests, then the report
"""
