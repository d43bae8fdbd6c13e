"""S25: coding agents' own session files become trajectories.

`importers` reads each agent's format into the same few steps, `tasks` turns steps into
trajectories, `capturing` stores them with their provenance, `follower` does so while agents work.
`hook` is a program of its own: it imports nothing of ours. Importing this package loads nothing.
"""
