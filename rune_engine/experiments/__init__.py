"""S21, the Phase 1 gate of 001: does distilled memory help, on projects that no model has seen?

`gate.py` runs it and `report.py` says what came out. Trainers and models run in processes of their
own; nothing here imports torch.
"""
