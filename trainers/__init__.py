"""What changes weights: distillation into adapters, and how the shipped base model is made.

Trainers run as subprocesses (`python -m trainers JOB.json`); the engine never imports them.
"""
