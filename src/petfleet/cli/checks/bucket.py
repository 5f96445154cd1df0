"""Looking through a bucket for what is not as petfleet leaves it, and setting aside what is no fleet. Blocking."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from petfleet._backends.files.paths import FLEET_FILE
from petfleet._backends.objects import lineage
from petfleet._backends.objects.backend import ObjectBackend, tombstone
from petfleet._backends.objects.bucket import Bucket, ConflictError, Found, Listed
from petfleet._backends.objects.lineage import Lineage, Writer
from petfleet._model.errors import InvalidNameError
from petfleet.cli.checks import content
from petfleet.cli.checks.finding import Finding, reason
from petfleet.cli.roots import map_concurrently

_WAY_OUT: Final = "see what these credentials allow, and whether the store answers"


class _Checked(NamedTuple):
    """What is wrong with an object, whether it says that there is no fleet, and whether others wrote it."""

    findings: list[Finding]
    deleted: bool = False
    foreign: bool = False


def check(place: ObjectBackend, *, repair: bool, count: Counter[str]) -> Iterator[list[Finding]]:
    """Yield what is wrong with each user's object, in the order of the listing: mostly an empty list.

    Objects that are no user's fleet.toml are left alone, and not told of.

    Args:
        place: the bucket.
        repair: whether to set aside objects that mean no fleet; nothing else is touched.
        count: in which is counted how many say that a fleet was ``deleted``, and how many are ``foreign``: without what
            petfleet notes beside each object that it writes.

    Raises:
        OSError: the bucket cannot be listed. Any other refusal is a finding.
    """
    bucket = Bucket(str(place), {})
    invalid: list[Finding] = []
    count.update(deleted=0, foreign=0)

    def on_skipped(name: str, error: Exception) -> None:
        assert isinstance(error, InvalidNameError)
        message = f"{error.rule}: no store takes it; copy it to another name, and its user_id, and remove it"
        invalid.append(Finding("invalid-name", _where(place, name), message, None))

    def check_one(each: tuple[str, Listed]) -> _Checked:
        return _check(place, bucket, each[0], repair=repair)  # what is as short as "no fleet" is read too

    for checked in map_concurrently(place, check_one, place.listed(on_skipped)):
        count["deleted"] += checked.deleted
        count["foreign"] += checked.foreign
        yield checked.findings
    for finding in invalid:
        yield [finding]


def set_aside(bucket: Bucket, user_id: str, found: Found) -> str:
    """Put a copy of an object beside it, then one that says "no fleet" in its place, and return the copy's key.

    The object is replaced only if it is still the one that was found. A crash leaves it as it was, perhaps with a copy.

    Args:
        found: the object, whole.

    Raises:
        ConflictError: it was changed since; there may be a copy of what was found.
        OSError: the store refused, or did not answer: the object is what it was, or says "no fleet".
    """
    assert found.data is not None
    key = f"{user_id}/{FLEET_FILE}"
    note = lineage.followed(Lineage.of(found.note), Writer().next_commit()).note()
    # A name that no other repair takes: of the two copies, one might be of another object.
    copy = f"{key}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
    bucket.put(copy, found.data, note, None)
    bucket.put(key, tombstone(), note, found.version)
    return copy


def _check(place: ObjectBackend, bucket: Bucket, user_id: str, *, repair: bool) -> _Checked:
    where = _where(place, user_id)
    try:
        found, state = place.stored(user_id)
    except OSError as error:
        return _Checked([Finding("unreadable", where, f"{reason(error)}: {_WAY_OUT}", user_id)])
    if found is None:
        return _Checked([])  # gone since it was listed
    findings = list(content.found(where, user_id, state, found.data))
    if repair and state.overwritable:
        findings = [_repaired(bucket, finding, found) for finding in findings]
    return _Checked(findings, state.absent, Lineage.of(found.note) is None)


def _repaired(bucket: Bucket, finding: Finding, found: Found) -> Finding:
    if found.data is None:
        return finding.but("it is too large to be copied: move it away by hand")
    assert finding.user_id is not None
    try:
        aside = set_aside(bucket, finding.user_id, found)
    except ConflictError:
        return finding.but("others changed it meanwhile; a copy of what it was may be beside it: check again")
    except OSError as error:
        return finding.but(reason(error))
    return finding._replace(repaired=f"set aside as {aside}")


def _where(place: ObjectBackend, name: str) -> str:
    return f"{place}/{name}/{FLEET_FILE}"
