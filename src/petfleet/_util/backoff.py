"""How long to wait before another try."""

from __future__ import annotations

import random
from typing import Final

_FIRST: Final = 0.002  # seconds, at most, before the first retry
_LONGEST: Final = 0.5


def random_rest(number: int) -> float:
    """Return a random number of seconds to rest before another try, on average longer after each one.

    Random, since writers with equal rests would meet again and again.

    Args:
        number: how many tries have failed before, from 0.
    """
    return random.uniform(0, min(_FIRST * 2.0 ** min(number, 8), _LONGEST))
