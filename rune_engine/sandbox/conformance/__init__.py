"""Attacks the sandbox, on the machine it will run on, and says what held.

manifest.py    every attack that the sandbox must withstand, by id, and how it is checked
attack.py      what an attack is: a real program, and the effect it is after
network.py, files.py, resources.py, processes.py, secrets.py, outputs.py
               the attacks on what is outside, by family
forgeries.py, inventions.py (false_answers.py, false_ground.py)
               wrong candidates that try to be judged as right, forms.py their task and its tests
scene.py       the targets of one attack, and a look at them afterwards
witnesses.py   the small looks of which that is made
machine.py     a look at processes and memory from outside while an attack runs
bare.py        the same attack without walls, to see that it is one
driver.py      all of it on one tier, and report.py what came of it

It uses the sandbox only through its door and never believes what an attack says about itself.
"""
