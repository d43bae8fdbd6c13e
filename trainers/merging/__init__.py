"""Several adapters become one, or are compared, without a whole weight matrix being made.

`core` is the space that all parents share, `methods` what is done in it, `merge` and `compare`
carry jobs out, `joint` distills all that the parents learnt from instead.
"""
