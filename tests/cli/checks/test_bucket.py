"""`petfleet check` in a bucket: what it finds, and how it repairs by compare-and-swap."""

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
from petfleet._cli.checks import bucket
from petfleet._cli.checks.finding import Finding
from tests.cli.check_helpers import printable_findings
from tests.cli.conftest import MIRA, REX, CommandRoot
from tests.cli.running import Done, petfleet
from tests.support.backends import ObjectStorage
from tests.support.seaweedfs import SeaweedFS

TRIED = "object storage; whether it honours conditions is not tried, since that takes a write"


def found(any_root: CommandRoot, *, repair: bool = False) -> dict[str, Finding]:
    """Return the findings of a check by their kind."""
    findings = printable_findings(bucket.check(ObjectBackend(any_root.argument), repair=repair, count=Counter()))
    return {finding.kind: finding for finding in findings}


def open_bucket(any_root: CommandRoot, seaweedfs: SeaweedFS) -> S3Store:
    """Return the bucket, as another program sees it."""
    return S3Store(
        seaweedfs.bucket, prefix=any_root.argument.removeprefix(f"s3://{seaweedfs.bucket}/"), **seaweedfs.options()
    )


def objects(any_root: CommandRoot, seaweedfs: SeaweedFS) -> dict[str, bytes]:
    """Return all objects under the prefix."""
    store = open_bucket(any_root, seaweedfs)
    keys = [each["path"] for chunk in obstore.list(store) for each in chunk]
    return {key: bytes(obstore.get(store, key).bytes()) for key in keys}


@pytest.fixture
def put_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that petfleet puts during the test."""
    keys: list[str] = []
    put = Bucket.put

    def noted(bucket: Bucket, key: str, *arguments: Any) -> Any:
        keys.append(key)
        return put(bucket, key, *arguments)

    monkeypatch.setattr(Bucket, "put", noted)
    return keys


def test_a_healthy_bucket(bucket: CommandRoot, run: Callable[..., Done]) -> None:
    """The exit code is 0; the summary counts all users, deleted fleets, and objects that other programs wrote."""
    run("add", "ada", "mira", "--root", bucket.argument)
    assert petfleet("check", "--root", f"{bucket.argument}/").out == (
        f"{bucket.argument}/: {TRIED}\n1 entry checked: nothing wrong\n"
    )
    run("add", "eve", "tom", "--root", bucket.argument)
    run("delete", "eve", "--yes", "--root", bucket.argument)
    bucket.put("bob", dumps(PetFleet("bob")))
    assert run("check", "--root", bucket.argument).out == (
        f"{bucket.argument}: {TRIED}\n3 entries checked: nothing wrong\n"
        "deleted fleets: 1; written by other programs than petfleet: 1\n"
    )
    assert run("check", "--json", "--root", bucket.argument).values == [
        {"surroundings": {"object_storage": bucket.argument}},
        {"summary": {"entries": 3, "findings": 0, "repaired": 0, "deleted": 1, "foreign": 1}},
    ]


def test_a_check_finds_everything_and_writes_nothing(
    bucket: CommandRoot, seaweedfs: SeaweedFS, run: Callable[..., Done], put_keys: list[str]
) -> None:
    """It finds broken, foreign and inconsistent fleets and invalid user ids, and ignores other objects."""
    bucket.put("ada", dumps(PetFleet("ada", [MIRA], "rex")))
    bucket.put("bob", dumps(PetFleet("bob", [REX, REX], "rex")))
    bucket.put("eve", dumps(PetFleet("ada", [MIRA])))
    bucket.put("pip", "user_id = ")
    bucket.put("x::y", dumps(PetFleet("x::y")))
    for key in ("notes.txt", "pip/notes.txt", "a/b/fleet.toml", "fleet.toml"):
        obstore.put(open_bucket(bucket, seaweedfs), key, b"not a user")
    before = objects(bucket, seaweedfs)
    out = run("check", "--root", bucket.argument, code=1).out
    first, *lines = out.splitlines()
    assert first == f"{bucket.argument}: {TRIED}"
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
    where = f"{bucket.argument}/eve/fleet.toml"
    findings = [value["finding"] for value in run("check", "--json", "--root", bucket.argument, code=1).values[1:-1]]
    assert [one["path"] for one in findings if one["user_id"] == "eve"] == [where]
    assert (put_keys, objects(bucket, seaweedfs)) == ([], before)


def test_a_repair_sets_aside_a_broken_fleet(
    bucket: CommandRoot, seaweedfs: SeaweedFS, run: Callable[..., Done]
) -> None:
    """The bytes get another name, nothing else changes, and the user can start a new fleet."""
    bucket.put("ada", "user_id = ")
    bucket.put("eve", dumps(PetFleet("bob", [MIRA])))
    bucket.put("bob", dumps(PetFleet("bob", [REX, REX])))
    before = objects(bucket, seaweedfs)
    out = run("check", "--repair", "--root", bucket.argument, code=1).out
    aside = re.search(r"unparsable: ada/fleet\.toml, line 1, column 11: set aside as (\S+) \(it was: expected ", out)
    assert aside
    assert re.fullmatch(r"ada/fleet\.toml\.corrupt-\d{8}T\d{6}Z-[0-9a-f]{6}", aside[1])
    assert "3 entries checked: 3 findings, 1 repaired\n" in out
    after = objects(bucket, seaweedfs)
    assert TOMBSTONE.fullmatch(after.pop("ada/fleet.toml"))
    del before["ada/fleet.toml"]
    assert after == {**before, aside[1]: b"user_id = "}
    assert "unparsable" not in found(bucket)
    run("add", "ada", "mira", "--root", bucket.argument)
    assert bucket.fleet("ada").active_pet == "mira"


def test_a_repair_does_not_drop_a_concurrent_write(
    bucket: CommandRoot, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The object is replaced only if it is still the broken one."""
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
    assert sorted(objects(bucket, seaweedfs).values()) == sorted([mended.encode(), b"user_id = "])


@pytest.mark.parametrize("key", ["ada/fleet.toml.corrupt-", "ada/fleet.toml"])
def test_a_repair_that_is_refused(bucket: CommandRoot, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """The finding says why; without a copy the object stays as it is."""
    bucket.put("ada", "user_id = ")
    put = Bucket.put

    def refused(self: Bucket, name: str, *arguments: Any) -> Any:
        if name.startswith(key):
            raise UnansweredError(errno.EIO, "the answer was lost", f"{bucket.argument}/{name}")
        return put(self, name, *arguments)

    monkeypatch.setattr(Bucket, "put", refused)
    finding = found(bucket, repair=True)["unparsable"]
    assert finding.message.endswith("; not repaired: the answer was lost")
    assert bucket.text("ada") == "user_id = "


def test_an_object_too_large_is_not_set_aside(
    bucket: CommandRoot, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not read completely, so it cannot be copied."""
    monkeypatch.setattr("petfleet._toml.limits.MAX_BYTES", 100)
    bucket.put("ada", "# " + "x" * 200)
    before = objects(bucket, seaweedfs)
    finding = found(bucket, repair=True)["unparsable"]
    assert finding.message == (
        "expected at most 100 bytes, not 202: mend it by hand, or petfleet check --repair sets it aside; "
        "not repaired: it is too large to be copied: move it away by hand"
    )
    assert objects(bucket, seaweedfs) == before


def test_a_late_put_after_a_repair_is_refused(bucket: CommandRoot, object_storage: ObjectStorage) -> None:
    """A repair changes the version of the object, like any commit."""
    bucket.put("ada", "user_id = ")
    before = Bucket(bucket.argument, {}).get("ada/fleet.toml", 100)
    assert before is not None
    assert found(bucket, repair=True)["unparsable"].repaired
    with pytest.raises(ConflictError):
        Bucket(bucket.argument, {}).put("ada/fleet.toml", b"late", "note", before.version)
    assert object_storage.read("ada") is None


def test_an_object_that_cannot_be_read(bucket: CommandRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding, and the other objects are checked."""
    bucket.put("ada", "user_id = ")
    bucket.put("bob", dumps(PetFleet("bob")))
    get = Bucket.get

    def refused(self: Bucket, key: str, *arguments: Any) -> Any:
        if key == "bob/fleet.toml":
            raise PermissionError(errno.EACCES, "not for you", f"{bucket.argument}/{key}")
        return get(self, key, *arguments)

    monkeypatch.setattr(Bucket, "get", refused)
    findings = found(bucket)
    assert set(findings) == {"unparsable", "unreadable"}
    assert findings["unreadable"] == Finding(
        "unreadable",
        f"{bucket.argument}/bob/fleet.toml",
        "not for you: see what these credentials allow, and whether the store answers",
        "bob",
    )


def test_deleted_fleets_are_counted_and_not_listed(bucket: CommandRoot, run: Callable[..., Done]) -> None:
    """The listing shows them by their size; another object of that size is a finding."""
    run("add", "ada", "mira", "--root", bucket.argument)
    run("delete", "ada", "--yes", "--root", bucket.argument)
    bucket.put("bob", dumps(PetFleet("bob")))
    assert run("list", "--root", bucket.argument).out.count("\n") == 2
    assert run("export", "/dev/null", "--root", bucket.argument).err == "1 exported\n"
    assert "deleted fleets: 1; written by" in run("check", "--root", bucket.argument).out
    bucket.put("eve", "x" * TOMBSTONE_BYTES)
    assert list(found(bucket)) == ["unparsable"]
    bucket_of_one = bucket.beside("one")
    run("add", "ada", "mira", "--root", bucket_of_one.argument)
    run("delete", "ada", "--yes", "--root", bucket_of_one.argument)
    assert run("list", "--root", bucket_of_one.argument) == ("", "")


def test_an_object_deleted_during_the_check_is_no_finding(bucket: CommandRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """It still existed when the bucket was listed."""
    bucket.put("ada", "user_id = ")
    monkeypatch.setattr(Bucket, "get", lambda *_: None)
    assert found(bucket) == {}
