"""Checks all objects of a bucket, and sets aside objects that are not fleets. Blocking."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from petfleet._backends.objects import lineage
from petfleet._backends.objects.backend import ObjectBackend, tombstone
from petfleet._backends.objects.bucket import Bucket, ConflictError, Found, Listed
from petfleet._backends.objects.lineage import Lineage, Writer
from petfleet._cli.checks import content
from petfleet._cli.checks.finding import Finding, reason
from petfleet._cli.roots import map_concurrently
from petfleet._model.errors import InvalidNameError
from petfleet._model.names import FLEET_FILE

_WAY_OUT: Final = "see what these credentials allow, and whether the store answers"


class _Checked(NamedTuple):
    """What is wrong with an object, whether its fleet is deleted, and whether another program wrote it."""

    findings: list[Finding]
    deleted: bool = False
    foreign: bool = False


def check(backend: ObjectBackend, *, repair: bool, count: Counter[str]) -> Iterator[list[Finding]]:
    """Yield what is wrong with each user's object, in the order of the listing: mostly an empty list.

    Objects that are not a user's fleet.toml are ignored.

    Args:
        backend: the bucket.
        repair: whether to set aside objects that are not fleets. It changes nothing else.
        count: receives the number of ``deleted`` fleets, and of ``foreign`` objects: those without the metadata that
            petfleet writes.

    Raises:
        OSError: the bucket cannot be listed. Other refusals are findings.
    """
    invalid: list[Finding] = []
    count.update(deleted=0, foreign=0)

    def on_skipped(name: str, error: Exception) -> None:
        assert isinstance(error, InvalidNameError)
        message = f"{error.rule}: no store takes it; copy it to another name, and its user_id, and remove it"
        invalid.append(Finding("invalid-name", _url(backend, name), message, None))

    def check_one(each: tuple[str, Listed]) -> _Checked:
        # Small objects are read too: a listing cannot tell a deleted fleet from other text of that length.
        return _check(backend, each[0], repair=repair)

    for checked in map_concurrently(backend, check_one, backend.listed(on_skipped)):
        count["deleted"] += checked.deleted
        count["foreign"] += checked.foreign
        yield checked.findings
    for finding in invalid:
        yield [finding]


def set_aside(bucket: Bucket, user_id: str, found: Found) -> str:
    """Copy an object to a name beside it, replace it by a tombstone, and return the copy's key.

    The object is replaced only if it is still the one that was found. A crash leaves it as it was, perhaps with a copy.

    Args:
        bucket: the bucket.
        user_id: the object's user.
        found: the object with all its data.

    Raises:
        ConflictError: it has changed since; there may be a copy of what was found.
        OSError: the store refused, or did not answer: the object is as it was, or is a tombstone.
    """
    assert found.data is not None
    key = f"{user_id}/{FLEET_FILE}"
    note = lineage.followed(Lineage.of(found.note), Writer().next_commit()).note()
    # A name that no other repair uses: two repairs may have found different objects.
    copy = f"{key}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"
    bucket.put(copy, found.data, note, None)
    bucket.put(key, tombstone(), note, found.version)
    return copy


def _check(backend: ObjectBackend, user_id: str, *, repair: bool) -> _Checked:
    url = _url(backend, user_id)
    try:
        found, state = backend.stored(user_id)
    except OSError as error:
        return _Checked([Finding("unreadable", url, f"{reason(error)}: {_WAY_OUT}", user_id)])
    if found is None:
        return _Checked([])  # deleted after it was listed
    findings = list(content.check_state(url, user_id, state, found.data))
    if repair and state.overwritable:
        findings = [_repair(backend.bucket, finding, found) for finding in findings]
    return _Checked(findings, state.absent, Lineage.of(found.note) is None)


def _repair(bucket: Bucket, finding: Finding, found: Found) -> Finding:
    if found.data is None:
        return finding.not_repaired("it is too large to be copied: move it away by hand")
    assert finding.user_id is not None
    try:
        aside = set_aside(bucket, finding.user_id, found)
    except ConflictError:
        return finding.not_repaired("others changed it meanwhile; a copy of what it was may be beside it: check again")
    except OSError as error:
        return finding.not_repaired(reason(error))
    return finding._replace(repaired=f"set aside as {aside}")


def _url(backend: ObjectBackend, name: str) -> str:
    return f"{backend}/{name}/{FLEET_FILE}"
