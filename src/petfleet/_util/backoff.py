"""How long to wait before another try."""

from __future__ import annotations

import random
from typing import Final

_FIRST: Final = 0.002  # seconds, at most, before the first of them
_LONGEST: Final = 0.5


def random_rest(number: int) -> float:
    """Return some seconds to wait before the try of that number, from 0: the longer on average, the more there were.

    Random, since with equal rests those who met once would meet again and again.
    """
    return random.uniform(0, min(_FIRST * 2.0 ** min(number, 8), _LONGEST))
