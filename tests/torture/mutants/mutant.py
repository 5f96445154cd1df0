"""What a mutant is."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A protection, and how to take it out.

    Attributes:
        protection: what it keeps true.
        module: where it is, from the library's directory.
        found: the text that stands there, once.
        instead: what is put in its place.
        test: what must fail then.
    """

    protection: str
    module: str
    found: str
    instead: str
    test: str
