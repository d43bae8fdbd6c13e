"""Everything long: durable jobs, who runs them, and what they run.

`store` keeps the rows, `runner` drives them, `run_task` and `distill` are the two kinds of work,
`submission` refuses what could never succeed before a row exists.
"""
