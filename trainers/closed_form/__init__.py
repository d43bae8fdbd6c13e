"""Distillation without training: one forward pass over the trajectories, and a ridge solve.

`distill` carries a job out; `evidence` and `output` are the two ends of a base model, `statistics`
the sums and the solve, `known` what must stay, `kept` and `files` what is on disk, `choosing` the
settings.
"""
