"""A pet, and the texts that the tests of reading and writing build on."""

from __future__ import annotations

from petfleet import PetHandle

MIRA = PetHandle("mira", "friend", "pets/mira.toml", 7)
HEAD = 'user_id = "ada"\n'
BLOCK = '\n[[pets]]\npet_name = "mira"\nrole = "friend"\nmanifest_path = "pets/mira.toml"\nlast_active = 7\n'
ONE = HEAD + BLOCK
