"""`petfleet watch`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import anyio
import pexpect
import pytest

from petfleet import ObjectBackend, PetFleet, dumps
from petfleet._cli.commands import watch
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import Done, petfleet, put, rest, terminal
from tests.conftest import pet
from tests.support.backends import FileStorage

TWO = PetFleet("u", [MIRA, REX], "mira")


@pytest.mark.parametrize(
    ("after", "what"),
    [
        (TWO.with_active("rex"), "rex is active"),
        (PetFleet("u", [MIRA, REX]), "none is active"),
        (TWO.with_pet(pet("tom")), "+ tom"),
        (TWO.without_pet("mira"), "- mira, rex is active"),
        (TWO.with_last_active("rex", 5), "rex touched"),
        (TWO.with_replaced("rex", pet("rex", role="cook")), "rex changed"),
        (PetFleet("u", [REX, MIRA], "mira"), "changed"),
    ],
)
def test_describe(after: PetFleet, what: str) -> None:
    """It names the change in a few words."""
    assert watch.describe(TWO, after) == what


def test_the_same_error_again_is_no_change() -> None:
    """This happens when a broken file is only touched."""
    assert watch._same(OSError("broken"), OSError("broken"))
    assert not watch._same(OSError("broken"), OSError("gone"))
    assert not watch._same(TWO, OSError("broken"))


def test_watching_a_user(any_root: CommandRoot, run: Callable[..., Done]) -> None:
    """It prints each change by others, broken files and deletions, until Ctrl-C."""
    often = () if isinstance(any_root.storage, FileStorage) else ("--interval", 0.05)
    with terminal("watch", "ada", "--root", any_root.argument, *often) as session:
        session.expect(r"ada: 2 pets, mira is active\r\n")
        run("switch", "ada", "rex", "--root", any_root.argument)
        session.expect(r"ada: rex is active\r\n")
        run("add", "ada", "tom", "--root", any_root.argument)
        session.expect(r"ada: \+ tom\r\n")
        any_root.put("ada", "user_id = ")
        session.expect(r"ada: \S+fleet.toml, line 1, column 11: expected")
        run("delete", "ada", "--yes", "--root", any_root.argument, code=1)
        any_root.put("ada", dumps(PetFleet("ada", [MIRA])))
        session.expect(r"ada: 1 pet, none is active\r\n")
        run("delete", "ada", "--yes", "--root", any_root.argument)
        session.expect(r"ada: - mira\r\n")
        run("add", "ada", "rex", "--root", any_root.argument)
        session.expect(r"ada: \+ rex, rex is active\r\n")
        session.sendintr()
        printed, code = rest(session)
    assert (code, "interrupted" in printed, "Traceback" in printed) == (130, True, False)


def test_watching_all(two_pets_root: Path) -> None:
    """It prints users that are added, changed and deleted, but not writes that change nothing."""
    with terminal("watch", "--json", "--root", two_pets_root) as session:
        for role in itertools.count():  # it does not say when it has begun
            put(two_pets_root, "eve", dumps(PetFleet("eve", [pet("mira", role=f"{role}")])))
            if session.expect([r'"user_id": "eve"', pexpect.TIMEOUT], timeout=0.5) == 0:
                break
        petfleet("add", "new", "mira", "--root", two_pets_root)
        session.expect(r'"user_id": "new", "pets": \[\{"pet_name": "mira"')
        put(two_pets_root, "eve", "user_id = ")
        session.expect(r'"user_id": "eve", "error": "FleetFormatError", "message": "\S+, line 1, column 11')
        petfleet("delete", "new", "--yes", "--root", two_pets_root)
        session.expect(r'"user_id": "new", "pets": \[\]')
        (two_pets_root / "notes.txt").write_text("no user\n")
        petfleet("check", "--root", two_pets_root, code=1)
        two_pets_root.rename(two_pets_root.parent / "away")
        petfleet("add", "zoe", "tom", "--root", two_pets_root)
        session.expect(r'"user_id": "(\w+)", "pets": \[\{"pet_name": "tom"')
        assert session.match.group(1) == "zoe"  # type: ignore[union-attr]
        session.sendintr()
        assert rest(session)[1] == 130


def test_watching_all_of_a_bucket(bucket: CommandRoot, run: Callable[..., Done]) -> None:
    """It prints users that are added, changed, broken and deleted, but no other objects."""
    with terminal("watch", "--json", "--interval", 0.05, "--root", bucket.argument) as session:
        for role in itertools.count():  # it does not say when it has begun
            bucket.put("eve", dumps(PetFleet("eve", [pet("mira", role=f"{role}")])))
            if session.expect([r'"user_id": "eve"', pexpect.TIMEOUT], timeout=0.5) == 0:
                break
        run("add", "new", "mira", "--root", bucket.argument)
        session.expect(r'"user_id": "new", "pets": \[\{"pet_name": "mira"')
        bucket.put("eve", "user_id = ")
        session.expect(r'"user_id": "eve", "error": "FleetFormatError", "message": "\S+, line 1, column 11')
        run("delete", "new", "--yes", "--root", bucket.argument)
        session.expect(r'"user_id": "new", "pets": \[\]')
        bucket.put("x::y", "no user")
        bucket.put("eve", dumps(PetFleet("eve", [pet("tom")])))
        session.expect(r'"user_id": "eve", "pets": \[\{"pet_name": "tom"')
        bucket.storage.remove("eve")
        session.expect(r'"user_id": "eve", "pets": \[\]')
        run("add", "zoe", "tom", "--root", bucket.argument)
        session.expect(r'"user_id": "(\w+)", "pets": \[\{"pet_name": "tom"')
        assert session.match.group(1) == "zoe"  # type: ignore[union-attr]
        session.sendintr()
        assert rest(session)[1] == 130


async def test_an_outage_of_a_watched_bucket(
    bucket: CommandRoot, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported once, and changes during the outage are reported after it."""
    backend = ObjectBackend(bucket.argument, poll_seconds=0.001)
    listed = ObjectBackend.listed
    looks = itertools.count()

    def away(polled: ObjectBackend) -> object:
        look = next(looks)
        if look in (1, 2, 4):
            raise OSError(5, f"no answer to {look}", bucket.argument)
        if look == 3:
            bucket.put("ada", dumps(PetFleet("ada")))
        return listed(polled)

    monkeypatch.setattr(ObjectBackend, "listed", away)
    told = watch._polled(backend, json=False)
    assert [await anext(told), await anext(told)] == [{"ada"}, set()]
    await told.aclose()
    assert capsys.readouterr().err.splitlines() == [
        f"petfleet: {bucket.argument}: no answer to {look}: trying on" for look in (1, 4)
    ]


def test_watching_all_where_the_system_refuses(
    two_pets_root: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the reason, such as the system's limits, and what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", refuse)
    error = run("watch", "--root", two_pets_root, code=1).err
    assert "are not told (OSError('OS file watch limit reached')): see that its names are UTF-8 and that" in error


def test_a_root_that_is_moved_away_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come back."""

    async def come_back(seconds: float) -> None:
        await anyio.Path(root).mkdir()

    async def told() -> set[str] | None:
        return await anext(watch._notified(str(root)))

    monkeypatch.setattr("petfleet._cli.commands.watch.anyio.sleep", come_back)
    assert anyio.run(told) is None
    assert root.exists()
