"""Objects under one prefix of a bucket: obstore's blocking calls, and what their errors mean. Knows no fleets."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from obstore.store import S3Store

_NOTE: Final = "petfleet"  # the key of the metadata
_DEFAULT_TIMEOUT: Final = timedelta(seconds=10)
# A gateway that restarts is waited for, but not for the three minutes that are obstore's default.
_READ_RETRIES: Final = {
    "max_retries": 10,
    "backoff": {"init_backoff": timedelta(milliseconds=50), "max_backoff": timedelta(seconds=1), "base": 2},
    "retry_timeout": timedelta(seconds=5),
}
# What obstore reads from the environment only where no client options are given, and so never beside ours.
_ENVIRONMENTS: Final = {"s3": "AWS", "gs": "GOOGLE", "az": "AZURE"}
_CLIENT_OPTIONS: Final = (
    *("allow_http", "allow_invalid_certificates", "connect_timeout", "http1_only", "http2_only", "pool_idle_timeout"),
    *("pool_max_idle_per_host", "proxy_ca_certificate", "proxy_excludes", "proxy_url", "read_timeout", "timeout"),
    "user_agent",
)
_STATUS: Final = re.compile(r"s - Server returned non-2xx status code: (\d{3})")
_DURATION: Final = re.compile(r" in [0-9.]+[nµm]?s(, after \d+ retries, max_retries: \d+, retry_timeout: \w+)?(?= - )")
# Each with what no key can hold, since keys stand in most messages: an angle bracket and a slash, an end of line.
_NO_BUCKET: Final = re.compile("<Code>(NoSuchBucket|ContainerNotFound)</Code>")
_NO_CONNECTION: Final = re.compile(r"\n +kind: Connect,\n")
_CONFLICT: Final = 409  # S3: another conditional request was at it
_FORBIDDEN: Final = (401, 403)
_NOT_IMPLEMENTED: Final = 501  # a header that the store does not know: so it wrote nothing
_NOT_FINAL: Final = (408, 425, 429)  # client errors that say nothing about the request itself

_used_in: int | None = None  # the process whose threads obstore has started


class Version(NamedTuple):
    """Which state of an object; stores use the one, the other or both."""

    e_tag: str | None
    version: str | None


class Found(NamedTuple):
    """An object.

    Attributes:
        data: its bytes; None if they are more than were asked for.
        size: their number.
        version: its version.
        note: what was noted beside it.
        modified: when it was written, in Unix time, by the store's clock.
    """

    data: bytes | None
    size: int
    version: Version
    note: str | None
    modified: float


class Listed(NamedTuple):
    """What a listing tells of an object."""

    key: str
    size: int
    version: Version


class UnchangedError(Exception):
    """The object is still the one that is known."""


class ConflictError(Exception):
    """The object is not the one to be replaced: by this request nothing was written."""


class UnsentError(OSError):
    """There was no connection: nothing was written."""


class UnansweredError(OSError):
    """There was no answer, or none that says: it may have been written, and may still be."""


class Bucket:
    """The objects under one URL, such as ``s3://bucket/prefix``. May be used from any thread.

    Args:
        url: of the scheme s3, gs or az.
        options: for obstore's ``from_url``.

    Raises:
        ModuleNotFoundError: obstore is not installed.
        ValueError: the URL or an option means nothing to obstore.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ObjectBackend needs obstore: pip install 'petfleet[objects]'", name="obstore"
            ) from error
        scheme, separator, rest = url.partition("://")
        if scheme not in _ENVIRONMENTS or not separator or not rest.strip("/"):
            raise ValueError(f"url must be like s3://bucket/prefix, gs://... or az://..., not {url!r}")
        if set(rest) & set("?#%") or {".", ".."} & set(rest.split("/")):
            raise ValueError(f"url must have no '?', '#', '%' or '..' in it, or it would mean another: {url!r}")
        self.url: str = url.rstrip("/")
        self._obstore = obstore
        given = dict(options)
        reads = {**_READ_RETRIES, **given.pop("retry_config", {})}
        client = {"timeout": _DEFAULT_TIMEOUT, **_from_environment(scheme), **given.pop("client_options", {})}
        try:
            self._reads: S3Store = from_url(self.url, client_options=client, retry_config=reads, **given)  # type: ignore[call-overload] # the options are the caller's
            # A put that the library repeated by itself could find the outcome of its own first try: we do it, and look.
            once = {**reads, "max_retries": 0}
            self._puts: S3Store = from_url(self.url, client_options=client, retry_config=once, **given)  # type: ignore[call-overload] # the options are the caller's
        except obstore.exceptions.BaseError as error:
            raise ValueError(f"{self.url}: {_text(error)}") from error

    def get(self, key: str, most: int, known: Version | None = None) -> Found | None:
        """Return the object, without its bytes if they are more than ``most``; None if there is none.

        Raises:
            UnchangedError: it is the one that is ``known``.
            OSError: it could not be read; if there is no such bucket, FileNotFoundError.
        """
        self._begin(key)
        try:
            options: Any = {} if known is None or known.e_tag is None else {"if_none_match": known.e_tag}
            answer = self._obstore.get(self._reads, key, options=options)
            size = answer.meta["size"]
            data = None if size > most else bytes(answer.bytes())
        except self._obstore.exceptions.NotModifiedError:
            raise UnchangedError from None
        except FileNotFoundError as error:
            if _NO_BUCKET.search(str(error)):
                raise self._os_error(error, key) from error
            return None
        except self._obstore.exceptions.BaseError as error:
            raise self._os_error(error, key) from error
        version = Version(answer.meta["e_tag"], answer.meta["version"])
        return Found(data, size, version, answer.attributes.get(_NOTE), answer.meta["last_modified"].timestamp())

    def put(self, key: str, data: bytes, note: str, replacing: Version | None) -> Version:
        """Put an object in the place of that version of it, or of none, and return its new version.

        Raises:
            ConflictError: something else is there; nothing was written.
            UnansweredError: it may have been written, and may still be.
            OSError: nothing was written (UnsentError: for want of a connection).
        """
        self._begin(key)
        mode: Any = "create"
        if replacing is not None:
            mode = {name: value for name, value in replacing._asdict().items() if value is not None}
        try:
            put = self._obstore.put(self._puts, key, data, attributes={_NOTE: note}, mode=mode)
        except NotImplementedError as error:  # conditions are switched off, perhaps by the environment
            raise OSError(errno.ENOTSUP, _text(error), f"{self.url}/{key}") from error
        except (FileNotFoundError, self._obstore.exceptions.BaseError) as error:
            raise self._put_error(error, key) from error
        return Version(put["e_tag"], put["version"])

    def list(self) -> Iterator[Listed]:
        """Yield what the store's listing tells of each object under the URL.

        Raises:
            OSError: they could not be listed.
        """
        self._begin("")
        try:
            for chunk in self._obstore.list(self._reads):
                for each in chunk:
                    yield Listed(each["path"], each["size"], Version(each["e_tag"], each["version"]))
        except (FileNotFoundError, self._obstore.exceptions.BaseError) as error:
            raise self._os_error(error, "") from error

    def _begin(self, key: str) -> None:
        global _used_in
        if _used_in is None:
            _used_in = os.getpid()
        elif _used_in != os.getpid():
            # It would wait for threads that only the parent has, for ever.
            raise OSError(
                errno.ENOTSUP,
                "obstore cannot be used in a process forked from one that has used it: start processes by spawn, or "
                "fork before the first call",
                f"{self.url}/{key}",
            )

    def _put_error(self, error: Exception, key: str) -> Exception:
        known = self._obstore.exceptions
        status = _status(error)
        if not status and _NO_CONNECTION.search(str(error)):
            return self._os_error(error, key, UnsentError)
        if _NO_BUCKET.search(str(error)):
            return self._os_error(error, key)
        # No such object: there is none to be replaced.
        conflicts = (known.AlreadyExistsError, known.PreconditionError, FileNotFoundError)
        if isinstance(error, conflicts) or status == _CONFLICT:
            return ConflictError()
        if status == _NOT_IMPLEMENTED or "Received redirect without LOCATION" in _text(error):
            return self._os_error(error, key)
        if isinstance(error, known.NotSupportedError) or (400 <= status < 500 and status not in _NOT_FINAL):
            return self._os_error(error, key)
        return self._os_error(error, key, UnansweredError)

    def _os_error(self, error: Exception, key: str, kind: type[OSError] = OSError) -> OSError:
        number = errno.EIO
        if _status(error) in _FORBIDDEN:
            number = errno.EACCES
        elif _NO_BUCKET.search(str(error)):
            number = errno.ENOENT
        return kind(number, _text(error), f"{self.url}/{key}".rstrip("/"))


def _from_environment(scheme: str) -> dict[str, str]:
    """Return the client options that the environment holds, like AWS_ALLOW_HTTP."""
    named = ((name, os.environ.get(f"{_ENVIRONMENTS[scheme]}_{name.upper()}")) for name in _CLIENT_OPTIONS)
    return {name: value for name, value in named if value is not None}


def _status(error: Exception) -> int:
    """Return the HTTP status that the store answered; 0 if none came."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def _text(error: Exception) -> str:
    """Return what an error of obstore says, in one line, without the Rust objects and the durations that it adds."""
    # To those who watch, an error that is told anew by its duration would be another one at each look.
    return _DURATION.sub("", " ".join(str(error).partition("\n\nDebug source:")[0].split()))
