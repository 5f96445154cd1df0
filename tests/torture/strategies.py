"""Strategies of the random walks: few names, so that calls meet, and values that are hard to serialise."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from tests.torture.model import (
    Add,
    Append,
    Call,
    Delete,
    Fleet,
    Load,
    Misuse,
    Overwrite,
    Peek,
    Pet,
    Remove,
    Replace,
    Save,
    Switch,
    Touch,
)

NAMES: Final = st.sampled_from(["mira", "kira", "ö x"])
_SECONDS: Final = st.integers(-(2**63), 2**63 - 1)
_STAMPS: Final = st.integers(0, 2**40)
_EXTRAS: Final = st.sampled_from(
    ["{}", '{"mood": "calm"}', '{"mood": 1}', '{"mood": true}', '{"by": {"n": 1.5, "tags": ["a", "ü"]}}']
)
PETS: Final = st.builds(
    Pet, NAMES, st.sampled_from(["friend", "", 'a "b" \\ c', "x\ny"]), st.just("p"), _SECONDS, _EXTRAS
)
_ACTIVES: Final = st.sampled_from([None, "mira", "nobody"])
FLEETS: Final = st.builds(Fleet, st.lists(PETS, max_size=3).map(tuple), _ACTIVES, _EXTRAS)
CHANGES: Final[st.SearchStrategy[Call]] = st.one_of(
    st.builds(Add, PETS),
    st.builds(Switch, NAMES),
    st.builds(Remove, NAMES),
    st.builds(Touch, st.none() | NAMES, _SECONDS),
    st.builds(Append, NAMES, _STAMPS),
)
CALLS: Final[st.SearchStrategy[Call]] = st.one_of(
    CHANGES,
    st.just(Load()),
    st.just(Peek()),
    st.builds(Misuse, st.sampled_from([None, "RefusedError", "RuntimeError", "TypeError", "ValueError"])),
    st.builds(Save, FLEETS),
    st.builds(Replace, FLEETS, st.just(Fleet()) | FLEETS),
    st.builds(Overwrite, FLEETS),
    st.just(Delete()),
)
