"""S10: a git history becomes trajectories. Changes that a small code model can learn, each with the
message or issue that asked for it, the version before and the version that was committed.

`repository` reads git's objects, `history` decides what of a commit is worth having, `evidence`
runs tests in the sandbox. Knows no database and no job.
"""
