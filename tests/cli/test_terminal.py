"""The command line on a terminal of its own: list, check and watch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import anyio
import pexpect
import pytest

from petfleet import ObjectBackend, PetFleet, dumps
from petfleet.cli.commands import watch
from tests.cli.conftest import MIRA, Place
from tests.cli.running import Done, petfleet, put, rest, terminal
from tests.conftest import pet
from tests.support.backends import FileHome

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def plain(text: str) -> list[str]:
    """Return the lines that are seen in the end."""
    return ESCAPES.sub("", text).splitlines()


def test_a_list(kennel: Path) -> None:
    """A bold header, a line a user, and how many they are."""
    with terminal("list", "--root", kennel) as session:
        printed, code = rest(session)
    assert code == 0
    assert printed.startswith("\x1b[1mUSER  PETS  ACTIVE  LAST CHANGE\x1b[0m\r\n")
    lines = plain(printed)
    assert sorted(line.split()[0] for line in lines[1:3]) == ["ada", "bob"]
    assert lines[3:] == ["2 users"]


def test_a_list_with_a_broken_fleet(kennel: Path) -> None:
    """It is counted, and exit code 1."""
    put(kennel, "bob", "")
    with terminal("list", "--root", kennel) as session:
        printed, code = rest(session)
    assert (plain(printed)[-1], code) == ("2 users, 1 broken", 1)


def test_a_long_list(root: Path) -> None:
    """Its lines go above a bar, which is gone in the end."""
    for number in range(1200):
        put(root, f"user-{number}", dumps(PetFleet(f"user-{number}")))
    with terminal("list", "--root", root) as session:
        printed, code = rest(session)
    assert code == 0
    assert len(set(re.findall(r"user-\d+", printed))) == 1200
    assert re.search(r"users .*/1200", printed)
    assert plain(printed)[-1] == "1,200 users"


def test_a_check(kennel: Path) -> None:
    """Findings are red, what is repaired is green; with little to do there is no bar."""
    path = put(kennel, "bob", "user_id = ")
    with terminal("check", "--repair", "--root", kennel, columns=40) as session:
        printed, code = rest(session)
    assert code == 1
    # In one line, however narrow.
    assert f"\x1b[32munparsable\x1b[0m: bob/fleet.toml, line 1, column 11: set aside as {path}.corrupt-" in printed
    assert plain(printed)[-1] == "4 entries checked: 1 finding, 1 repaired"
    put(kennel, "eve", dumps(PetFleet("eve", [MIRA], "rex")))
    with terminal("check", "--root", kennel) as session:
        printed, code = rest(session)
    assert code == 1
    assert "\x1b[31mactive-pet-missing\x1b[0m: " in printed
    assert plain(printed)[-2] == "5 entries checked: 1 finding"


def test_a_delete_asks(kennel: Path) -> None:
    """No is no, yes is yes."""
    for answer, code, line in (("n", 1, "petfleet: not done: you did not say yes"), ("y", 0, "ada: deleted")):
        with terminal("delete", "ada", "--root", kennel) as session:
            session.expect_exact("Delete ada: 2 pets, mira is active? There is no way back [y/N]: ")
            session.sendline(answer)
            printed, found = rest(session)
        assert (plain(printed)[-1], found) == (line, code)
    assert not (kennel / "ada").exists()


def test_watching_a_user(place: Place, run: Callable[..., Done]) -> None:
    """Each change by others in a line, a broken file and a deletion too, until Ctrl-C."""
    often = () if isinstance(place.home, FileHome) else ("--interval", 0.05)
    with terminal("watch", "ada", "--root", place.root, *often) as session:
        session.expect(r"ada: 2 pets, mira is active\r\n")
        run("switch", "ada", "rex", "--root", place.root)
        session.expect(r"ada: rex is active\r\n")
        run("add", "ada", "tom", "--root", place.root)
        session.expect(r"ada: \+ tom\r\n")
        place.put("ada", "user_id = ")
        session.expect(r"ada: \S+fleet.toml, line 1, column 11: expected")
        run("delete", "ada", "--yes", "--root", place.root, code=1)
        place.put("ada", dumps(PetFleet("ada", [MIRA])))
        session.expect(r"ada: 1 pet, none is active\r\n")
        run("delete", "ada", "--yes", "--root", place.root)
        session.expect(r"ada: - mira\r\n")
        run("add", "ada", "rex", "--root", place.root)
        session.expect(r"ada: \+ rex, rex is active\r\n")
        session.sendintr()
        printed, code = rest(session)
    assert (code, "interrupted" in printed, "Traceback" in printed) == (130, True, False)


def test_watching_all(kennel: Path) -> None:
    """Users who come, change and go; a change that leaves a fleet as it was is none."""
    with terminal("watch", "--json", "--root", kennel) as session:
        for role in itertools.count():  # it does not say when it has begun
            put(kennel, "eve", dumps(PetFleet("eve", [pet("mira", role=f"{role}")])))
            if session.expect([r'"user_id": "eve"', pexpect.TIMEOUT], timeout=0.5) == 0:
                break
        petfleet("add", "new", "mira", "--root", kennel)
        session.expect(r'"user_id": "new", "pets": \[\{"pet_name": "mira"')
        put(kennel, "eve", "user_id = ")
        session.expect(r'"user_id": "eve", "error": "FleetFormatError", "message": "\S+, line 1, column 11')
        petfleet("delete", "new", "--yes", "--root", kennel)
        session.expect(r'"user_id": "new", "pets": \[\]')
        (kennel / "notes.txt").write_text("no user\n")
        petfleet("check", "--root", kennel, code=1)
        kennel.rename(kennel.parent / "away")
        petfleet("add", "zoe", "tom", "--root", kennel)
        session.expect(r'"user_id": "(\w+)", "pets": \[\{"pet_name": "tom"')
        assert session.match.group(1) == "zoe"  # type: ignore[union-attr]
        session.sendintr()
        assert rest(session)[1] == 130


def test_watching_all_of_a_bucket(bucket: Place, run: Callable[..., Done]) -> None:
    """Users who come, change, break and go; objects that are no fleets are not told of."""
    with terminal("watch", "--json", "--interval", 0.05, "--root", bucket.root) as session:
        for role in itertools.count():  # it does not say when it has begun
            bucket.put("eve", dumps(PetFleet("eve", [pet("mira", role=f"{role}")])))
            if session.expect([r'"user_id": "eve"', pexpect.TIMEOUT], timeout=0.5) == 0:
                break
        run("add", "new", "mira", "--root", bucket.root)
        session.expect(r'"user_id": "new", "pets": \[\{"pet_name": "mira"')
        bucket.put("eve", "user_id = ")
        session.expect(r'"user_id": "eve", "error": "FleetFormatError", "message": "\S+, line 1, column 11')
        run("delete", "new", "--yes", "--root", bucket.root)
        session.expect(r'"user_id": "new", "pets": \[\]')
        bucket.put("x::y", "no user")
        bucket.put("eve", dumps(PetFleet("eve", [pet("tom")])))
        session.expect(r'"user_id": "eve", "pets": \[\{"pet_name": "tom"')
        bucket.home.remove("eve")
        session.expect(r'"user_id": "eve", "pets": \[\]')
        run("add", "zoe", "tom", "--root", bucket.root)
        session.expect(r'"user_id": "(\w+)", "pets": \[\{"pet_name": "tom"')
        assert session.match.group(1) == "zoe"  # type: ignore[union-attr]
        session.sendintr()
        assert rest(session)[1] == 130


async def test_a_bucket_that_is_away_for_a_while_is_watched_on(
    bucket: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once; what happened meanwhile is told when it is back."""
    place = ObjectBackend(bucket.root, poll_seconds=0.001)
    listed = ObjectBackend.listed
    looks = itertools.count()

    def away(backend: ObjectBackend) -> object:
        look = next(looks)
        if look in (1, 2, 4):
            raise OSError(5, f"no answer to {look}", bucket.root)
        if look == 3:
            bucket.put("ada", dumps(PetFleet("ada")))
        return listed(backend)

    monkeypatch.setattr(ObjectBackend, "listed", away)
    told = watch._polled(place)
    assert [await anext(told), await anext(told)] == [{"ada"}, set()]
    await told.aclose()
    assert capsys.readouterr().err.splitlines() == [
        f"petfleet: {bucket.root}: no answer to {look}: trying on" for look in (1, 4)
    ]


def test_how_far_a_bucket_is_done(bucket: Place) -> None:
    """How much there is to do is not known, and not asked for."""
    for number in range(3):
        bucket.put(f"user-{number}", dumps(PetFleet(f"user-{number}")))
    with terminal("list", "--root", bucket.root) as session:
        printed, code = rest(session)
    assert code == 0
    assert re.search(r"users .*3/\?", printed)
    assert plain(printed)[-1] == "3 users"


def test_watching_all_where_nothing_is_told(
    kennel: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's limits, say: what is wrong and what to do."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.awatch", refuse)
    error = run("watch", "--root", kennel, code=1).err
    assert "are not told (OSError('OS file watch limit reached')): see that its names are UTF-8 and that" in error


def test_a_root_that_is_away_is_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Moved away, it may come back."""

    async def come_back(seconds: float) -> None:
        await anyio.Path(root).mkdir()

    async def told() -> set[str] | None:
        return await anext(watch._told(str(root)))

    monkeypatch.setattr("petfleet.cli.commands.watch.anyio.sleep", come_back)
    assert anyio.run(told) is None
    assert root.exists()
