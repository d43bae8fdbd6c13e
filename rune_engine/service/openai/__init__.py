"""S4, S28: the local model and its memories behind the API that OpenAI's clients speak.

One application of its own: on a loopback port, behind a key, and with nothing else of the engine.
"""

from __future__ import annotations
