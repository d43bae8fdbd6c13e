"""Log lines without secrets."""

from __future__ import annotations

import logging

from rune_engine.privacy.redaction import redact


class RedactingFormatter(logging.Formatter):
    """Formats a record as usual, its traceback too, and replaces the secrets in the outcome."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record)).text
