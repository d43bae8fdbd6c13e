"""Secrets are found and replaced before anything is written.

`redact` takes a text, `redact_json` any JSON-ready value, `redact_name` an identifier. What was a
secret becomes `[secret:KIND]`; the text around it stays, so that code remains code. The fixed forms
of tokens come from `detect-secrets` and from `forms.py`; the rest is found by the name a value is
given (`assignments.py`) or by how random it looks (`randomness.py`). A glance (`glance.py`) spares
most texts all that.

Knows nothing of trajectories, jobs or databases. Importing it is light: `detect-secrets` is loaded
by the first text.
"""

from rune_engine.privacy.glance import is_plain_name, is_plainly_clean
from rune_engine.privacy.logs import RedactingFormatter
from rune_engine.privacy.redaction import Redacted, redact, secrets_in
from rune_engine.privacy.structures import redact_json, redact_name

__all__ = [
    "Redacted",
    "RedactingFormatter",
    "is_plain_name",
    "is_plainly_clean",
    "redact",
    "redact_json",
    "redact_name",
    "secrets_in",
]
