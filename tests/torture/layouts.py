"""Fleet files as others write them: valid, and laid out in no way that petfleet would."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from tests.torture.model import Fleet, Pet


def _inline(user_id: str, fleet: Fleet) -> str:
    pets = "".join(f"\n  {_value(_keys(pet))}, # a pet" for pet in fleet.pets)
    lines = [f"user_id = {_value(user_id)} # by hand", f"pets = [{pets}\n]"]
    return "\n".join([*lines, *(f"{key} = {value}" for key, value in _head(fleet))])


def _tables(user_id: str, fleet: Fleet) -> str:
    lines = ["# fleet", "", *(f"{key}={value}" for key, value in _head(fleet)), f"'user_id' = {_value(user_id)}"]
    if not fleet.pets:
        lines.append("pets=[ ]")
    for pet in fleet.pets:
        keys = (f"  {_value(key)} = {_value(value)}" for key, value in reversed(_keys(pet).items()))
        lines += ["", "  [[ pets ]]", *keys]
    return "\n".join(lines)


def _windows(user_id: str, fleet: Fleet) -> str:
    return "\ufeff" + _tables(user_id, fleet).replace("\n", "\r\n") + "\r\n"


def _head(fleet: Fleet) -> list[tuple[str, str]]:
    active = [] if fleet.active is None else [("active_pet", _value(fleet.active))]
    return [*((key, _value(value)) for key, value in json.loads(fleet.extra).items()), *active]


def _keys(pet: Pet) -> dict[str, Any]:
    own = {"pet_name": pet.name, "role": pet.role, "manifest_path": pet.path, "last_active": pet.last_active}
    return {**own, **json.loads(pet.extra)}


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_value(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


LAYOUTS: Final[dict[str, Callable[[str, Fleet], str]]] = {"inline": _inline, "tables": _tables, "windows": _windows}
