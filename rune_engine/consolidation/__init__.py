"""S26, the consolidation schedule: what the engine distills by itself, when, and what follows.

`policy` decides what is due, `quiet` whether now is the time, `facts` reads what both judge from
the database, `consolidator` acts: every action is a job or a lifecycle event.
"""
