"""How `rune-nano` is made, from an empty file to the folder that ships.

python -m trainers.base_model.train --out runs/nano --compile   # resumes where it stopped
python -m trainers.base_model.export runs/nano base_models/rune-nano
python -m benchmarks.memory                                     # does memory work on it?
"""
