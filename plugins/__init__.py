"""What editors install, generated from one source: `python -m plugins.generate`.

`facts` is what is said in many places, `templates/` the files, laid out as they lie in the
repository. Not part of the wheel.
"""
