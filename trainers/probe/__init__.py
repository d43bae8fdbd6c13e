"""Phase 0 (001): what of training and serving works on this machine, each line tried for real.

    python -m trainers.probe JOB.json

Reads a `ProbeJob` and tries its lines in order. For each it says on stdout
`{"event": "begin", "line"}`, then `{"event": "check", ...}` with the fields of a `Check`, one JSON
object a line. Native code that dies takes this process along: who started it knows by the last
`begin` which line it was. Ends when its stdin closes.
"""
