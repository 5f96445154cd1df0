"""`petfleet check` in a bucket: what is found there, and what a repair does by compare-and-swap."""

from __future__ import annotations

import errno
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import obstore
import pytest
from obstore.store import S3Store

from petfleet import ObjectBackend, PetFleet, dumps
from petfleet._backends.objects.backend import TOMBSTONE, TOMBSTONE_BYTES
from petfleet._backends.objects.bucket import Bucket, ConflictError, UnansweredError
from petfleet.cli.checks import bucket
from petfleet.cli.checks.finding import Finding
from tests.cli.conftest import MIRA, REX, Place
from tests.cli.roots import fit
from tests.cli.running import Done, petfleet
from tests.support.backends import ObjectHome
from tests.support.seaweedfs import Weed

TRIED = "object storage; whether it honours conditions is not tried, since that takes a write"


def found(place: Place, *, repair: bool = False) -> dict[str, Finding]:
    """Return what a check finds, by the kind."""
    findings = fit(bucket.check(ObjectBackend(place.root), repair=repair, count=Counter()))
    return {finding.kind: finding for finding in findings}


def there(place: Place, weed: Weed) -> S3Store:
    """Return the bucket, as another program sees it."""
    return S3Store(weed.bucket, prefix=place.root.removeprefix(f"s3://{weed.bucket}/"), **weed.options())


def objects(place: Place, weed: Weed) -> dict[str, bytes]:
    """Return all that is in the bucket there."""
    store = there(place, weed)
    keys = [each["path"] for chunk in obstore.list(store) for each in chunk]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are put during the test, by way of petfleet."""
    keys: list[str] = []
    put = Bucket.put

    def noted(bucket: Bucket, key: str, *arguments: Any) -> Any:
        keys.append(key)
        return put(bucket, key, *arguments)

    monkeypatch.setattr(Bucket, "put", noted)
    return keys


def test_a_healthy_bucket(bucket: Place, run: Callable[..., Done]) -> None:
    """Exit code 0; how much was looked at, how many fleets are deleted ones, and what others have written."""
    run("add", "ada", "mira", "--root", bucket.root)
    assert petfleet("check", "--root", f"{bucket.root}/").out == (
        f"{bucket.root}/: {TRIED}\n1 entry checked: nothing wrong\n"
    )
    run("add", "eve", "tom", "--root", bucket.root)
    run("delete", "eve", "--yes", "--root", bucket.root)
    bucket.put("bob", dumps(PetFleet("bob")))
    assert run("check", "--root", bucket.root).out == (
        f"{bucket.root}: {TRIED}\n3 entries checked: nothing wrong\n"
        "deleted fleets: 1; written by other programs than petfleet: 1\n"
    )
    assert run("check", "--json", "--root", bucket.root).values == [
        {"surroundings": {"object_storage": bucket.root}},
        {"summary": {"entries": 3, "findings": 0, "repaired": 0, "deleted": 1, "foreign": 1}},
    ]


def test_all_that_is_wrong_is_found_and_nothing_is_written(
    bucket: Place, weed: Weed, run: Callable[..., Done], changes: list[str]
) -> None:
    """Broken fleets, those of others, pets that do not fit, names of no users; not what is no fleet of ours."""
    bucket.put("ada", dumps(PetFleet("ada", [MIRA], "rex")))
    bucket.put("bob", dumps(PetFleet("bob", [REX, REX], "rex")))
    bucket.put("eve", dumps(PetFleet("ada", [MIRA])))
    bucket.put("pip", "user_id = ")
    bucket.put("x::y", dumps(PetFleet("x::y")))
    for key in ("notes.txt", "pip/notes.txt", "a/b/fleet.toml", "fleet.toml"):
        obstore.put(there(bucket, weed), key, b"not a user")
    before = objects(bucket, weed)
    out = run("check", "--root", bucket.root, code=1).out
    first, *lines = out.splitlines()
    assert first == f"{bucket.root}: {TRIED}"
    assert [line for line in lines if ": " in line][:5] == [
        "active-pet-missing: ada/fleet.toml: active_pet 'rex' is not in the fleet: switch to a pet that is",
        "duplicate-name: bob/fleet.toml: more than one pet of the name 'rex': every call means the first; "
        "rename or remove the others",
        "foreign-user-id: eve/fleet.toml, line 1: expected user_id = 'eve', found 'ada': "
        "move it to the user whose it is, or away; petfleet check --repair leaves it alone",
        "unparsable: pip/fleet.toml, line 1, column 11: expected valid TOML (Invalid value): "
        "mend it by hand, or petfleet check --repair sets it aside",
        "invalid-name: x::y/fleet.toml: a user id must not contain '::' or end in ':', or two memory keys could be "
        "the same: no store takes it; copy it to another name, and its user_id, and remove it",
    ]
    assert "5 entries checked: 5 findings" in lines
    where = f"{bucket.root}/eve/fleet.toml"
    findings = [value["finding"] for value in run("check", "--json", "--root", bucket.root, code=1).values[1:-1]]
    assert [one["path"] for one in findings if one["user_id"] == "eve"] == [where]
    assert (changes, objects(bucket, weed)) == ([], before)


def test_a_repair_sets_aside_what_is_no_fleet(bucket: Place, weed: Weed, run: Callable[..., Done]) -> None:
    """Under another name, byte for byte; nothing else is touched, and the user may begin anew."""
    bucket.put("ada", "user_id = ")
    bucket.put("eve", dumps(PetFleet("bob", [MIRA])))
    bucket.put("bob", dumps(PetFleet("bob", [REX, REX])))
    before = objects(bucket, weed)
    out = run("check", "--repair", "--root", bucket.root, code=1).out
    aside = re.search(r"unparsable: ada/fleet\.toml, line 1, column 11: set aside as (\S+) \(it was: expected ", out)
    assert aside
    assert re.fullmatch(r"ada/fleet\.toml\.corrupt-\d{8}T\d{6}Z-[0-9a-f]{6}", aside[1])
    assert "3 entries checked: 3 findings, 1 repaired\n" in out
    after = objects(bucket, weed)
    assert TOMBSTONE.fullmatch(after.pop("ada/fleet.toml"))
    del before["ada/fleet.toml"]
    assert after == {**before, aside[1]: b"user_id = "}
    assert "unparsable" not in found(bucket)
    run("add", "ada", "mira", "--root", bucket.root)
    assert bucket.fleet("ada").active_pet == "mira"


def test_a_repair_does_not_drop_what_others_write_meanwhile(
    bucket: Place, weed: Weed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is replaced only if it is what was found to be broken: their fleet stands."""
    bucket.put("ada", "user_id = ")
    mended = dumps(PetFleet("ada", [MIRA]))
    put = Bucket.put

    def overtaken(self: Bucket, key: str, *arguments: Any) -> Any:
        if key != "ada/fleet.toml":
            bucket.put("ada", mended)  # while the copy is made
        return put(self, key, *arguments)

    monkeypatch.setattr(Bucket, "put", overtaken)
    finding = found(bucket, repair=True)["unparsable"]
    assert finding.repaired is None
    assert finding.message.endswith(
        "; not repaired: others changed it meanwhile; a copy of what it was may be beside it: check again"
    )
    assert bucket.text("ada") == mended
    assert sorted(objects(bucket, weed).values()) == sorted([mended.encode(), b"user_id = "])


@pytest.mark.parametrize("key", ["ada/fleet.toml.corrupt-", "ada/fleet.toml"])
def test_a_repair_that_is_refused(bucket: Place, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """What the store says; without a copy the object is not touched."""
    bucket.put("ada", "user_id = ")
    put = Bucket.put

    def refused(self: Bucket, name: str, *arguments: Any) -> Any:
        if name.startswith(key):
            raise UnansweredError(errno.EIO, "the answer was lost", f"{bucket.root}/{name}")
        return put(self, name, *arguments)

    monkeypatch.setattr(Bucket, "put", refused)
    finding = found(bucket, repair=True)["unparsable"]
    assert finding.message.endswith("; not repaired: the answer was lost")
    assert bucket.text("ada") == "user_id = "


def test_what_is_too_large_is_not_set_aside(bucket: Place, weed: Weed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not read whole, and so could not be copied."""
    monkeypatch.setattr("petfleet._toml.limits.MAX_BYTES", 100)
    bucket.put("ada", "# " + "x" * 200)
    before = objects(bucket, weed)
    finding = found(bucket, repair=True)["unparsable"]
    assert finding.message == (
        "expected at most 100 bytes, not 202: mend it by hand, or petfleet check --repair sets it aside; "
        "not repaired: it is too large to be copied: move it away by hand"
    )
    assert objects(bucket, weed) == before


def test_a_lost_put_that_comes_after_a_repair_is_refused(bucket: Place, object_home: ObjectHome) -> None:
    """What was set aside is followed by an object of another version, as after any commit."""
    bucket.put("ada", "user_id = ")
    before = Bucket(bucket.root, {}).get("ada/fleet.toml", 100)
    assert before is not None
    assert found(bucket, repair=True)["unparsable"].repaired
    with pytest.raises(ConflictError):
        Bucket(bucket.root, {}).put("ada/fleet.toml", b"late", "note", before.version)
    assert object_home.read("ada") is None


def test_an_object_that_cannot_be_read(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is a finding; the others are checked."""
    bucket.put("ada", "user_id = ")
    bucket.put("bob", dumps(PetFleet("bob")))
    get = Bucket.get

    def refused(self: Bucket, key: str, *arguments: Any) -> Any:
        if key == "bob/fleet.toml":
            raise PermissionError(errno.EACCES, "not for you", f"{bucket.root}/{key}")
        return get(self, key, *arguments)

    monkeypatch.setattr(Bucket, "get", refused)
    findings = found(bucket)
    assert set(findings) == {"unparsable", "unreadable"}
    assert findings["unreadable"] == Finding(
        "unreadable",
        f"{bucket.root}/bob/fleet.toml",
        "not for you: see what these credentials allow, and whether the store answers",
        "bob",
    )


def test_who_is_deleted_is_left_out_and_counted(bucket: Place, run: Callable[..., Done]) -> None:
    """The listing tells them by their size; what only has that size is a finding."""
    run("add", "ada", "mira", "--root", bucket.root)
    run("delete", "ada", "--yes", "--root", bucket.root)
    bucket.put("bob", dumps(PetFleet("bob")))
    assert run("list", "--root", bucket.root).out.count("\n") == 2
    assert run("export", "/dev/null", "--root", bucket.root).err == "1 exported\n"
    assert "deleted fleets: 1; written by" in run("check", "--root", bucket.root).out
    bucket.put("eve", "x" * TOMBSTONE_BYTES)
    assert list(found(bucket)) == ["unparsable"]
    bucket_of_one = bucket.beside("one")
    run("add", "ada", "mira", "--root", bucket_of_one.root)
    run("delete", "ada", "--yes", "--root", bucket_of_one.root)
    assert run("list", "--root", bucket_of_one.root) == ("", "")


def test_what_goes_while_it_is_checked_is_no_finding(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when the bucket was listed."""
    bucket.put("ada", "user_id = ")
    monkeypatch.setattr(Bucket, "get", lambda *_: None)
    assert found(bucket) == {}
