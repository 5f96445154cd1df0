"""All parts of the torture, in the order in which they are shown."""

from __future__ import annotations

from typing import Final

from tests.torture import cuts, faults, histories, hostile, interference, kill, objects, states, walks
from tests.torture.parts import Part

PARTS: Final[tuple[Part, ...]] = (
    faults.PART,
    kill.PART,
    states.PART,
    cuts.PART,
    histories.PART,
    walks.PART,
    objects.PART,
    hostile.PART,
    interference.PART,
)
