"""All parts of the proof, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from tests.proof import cuts, faults, histories, hostile, interference, kill, machine, states
from tests.proof.parts import Part

PARTS: Final[tuple[Part, ...]] = (
    faults.PART,
    kill.PART,
    states.PART,
    cuts.PART,
    histories.PART,
    machine.PART,
    hostile.PART,
    interference.PART,
)
