"""Everything long: durable jobs, who runs them, and what they run.

`store` is where they are asked for and `claims` how they are held, `runner` drives them, `steps`
keeps what a job has done already; `run_task`, `distill`, `evaluate` and `import_file` are the kinds
of work, and `submission` refuses what could never succeed before a row exists.
"""
