"""The gate's arithmetic needs numpy, its runs torch, too."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
