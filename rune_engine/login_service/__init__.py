"""Makes the system start the engine at login: systemd's user units, launchd's agents.

`service` is the interface and chooses, `systemd` and `launchd` write what theirs reads. Knows
nothing of what the engine does.
"""
