"""S30, forgetting: a session's or a project's text is erased, and what learnt from it retired.

`scope` finds what depends on what, `erase` does it in one transaction, `traces` looks for what is
left in the home's files.
"""

from __future__ import annotations

from rune_engine.forgetting.erase import Forgetting

__all__ = ["Forgetting"]
