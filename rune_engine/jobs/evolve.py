"""The `evolve` job: what was measured of a new adapter decides which adapters stay in use.

The decision is an event before it is done, so that an engine that dies in between does what was
decided, and decides nothing twice. Knows nothing of how adapters are measured.
"""
