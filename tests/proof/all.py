"""All parts of the proof, in the order in which they are shown."""

from __future__ import annotations

from tests.proof.parts import Part

PARTS: tuple[Part, ...] = ()
