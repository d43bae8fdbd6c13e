"""S11, which adapters stay in use, become wider, become one, or go: by what was measured alone.

One module an operation, each pure functions over plain data (`evidence`): no clock, no database,
no adapter's files. What they decide is carried out by jobs.
"""
